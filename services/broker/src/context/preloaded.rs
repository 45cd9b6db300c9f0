//! Contexts that are there before anybody asks: a list of URLs, each with a file of a mounted folder. They win over
//! fetching, so a city without a way out works, and are followed as they change.
//!
//! Only the list and what tells that a file has changed are kept here. A file is read when its context is used, and
//! takes memory as a fetched document does.

use crate::context::core::is_core;
use crate::context::fetch::MAX_DOCUMENT;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;
use url::Url;

/// How many contexts a list may have.
const MAX_ENTRIES: usize = 256;

/// One of the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// The URL by which clients name the context.
    pub url: String,
    /// Its document: a path inside the folder.
    pub file: PathBuf,
}

/// What tells that a file has changed: when, its size, and which file it is. A mounted `ConfigMap` changes by a link to
/// other files.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Option<SystemTime>, u64, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    path: PathBuf,
    /// `None` while there is no such file.
    stamp: Option<Stamp>,
}

/// The files by URL, as they were when last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preloaded(HashMap<String, File>);

impl Preloaded {
    /// Of a list, with what is wrong in it. What is wrong is left out: it keeps no other context from being there.
    #[must_use]
    pub fn of(folder: &Path, entries: &[Entry]) -> (Self, Vec<String>) {
        let (mut files, mut wrong) = (HashMap::new(), Vec::new());
        for entry in entries {
            match read(entry) {
                Ok(_) if files.len() >= MAX_ENTRIES => {
                    wrong.push(format!(
                        "{}: the list has more than {MAX_ENTRIES} contexts",
                        entry.url
                    ));
                }
                Ok(url) => {
                    let path = folder.join(&entry.file);
                    if files.insert(url, File { path, stamp: None }).is_some() {
                        wrong.push(format!(
                            "{}: it is in the list twice; the last one counts",
                            entry.url
                        ));
                    }
                }
                Err(why) => wrong.push(format!("{}: {why}", entry.url)),
            }
        }
        (Self(files), wrong)
    }

    /// Looks at the files; says whether one has come or is another one than before. One that has gone is no news: what is
    /// in memory of it is better than nothing.
    pub async fn look(&mut self) -> bool {
        let mut news = false;
        for file in self.0.values_mut() {
            let stamp = stamp(&file.path).await;
            news |= stamp.is_some() && stamp != file.stamp;
            file.stamp = stamp;
        }
        news
    }

    /// The file of a URL.
    #[must_use]
    pub fn file(&self, url: &str) -> Option<&Path> {
        self.0.get(url).map(|file| file.path.as_path())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// URLs whose file is not there, in order.
    #[must_use]
    pub fn missing(&self) -> Vec<&str> {
        let missing = self.0.iter().filter(|(_, file)| file.stamp.is_none());
        let mut urls: Vec<&str> = missing.map(|(url, _)| url.as_str()).collect();
        urls.sort_unstable();
        urls
    }
}

/// The URL of an entry as clients' URLs are compared with it.
fn read(entry: &Entry) -> Result<String, String> {
    let url = Url::parse(&entry.url).map_err(|e| format!("it is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it is not an http or https URL".to_owned());
    }
    if is_core(url.as_str()) {
        return Err("the core context is built in".to_owned());
    }
    let mut parts = entry.file.components().peekable();
    if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!(
            "{} is not a path inside the folder of contexts",
            entry.file.display()
        ));
    }
    Ok(url.into())
}

async fn stamp(path: &Path) -> Option<Stamp> {
    let found = tokio::fs::metadata(path)
        .await
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    let inode = std::os::unix::fs::MetadataExt::ino(&found);
    Some(Stamp(found.modified().ok(), found.len(), inode))
}

/// The bytes of a file, or one plain sentence why not.
pub async fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unreadable =
        |error: std::io::Error| format!("its preloaded file {name} cannot be read: {}", error.kind());
    let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
    if size > MAX_DOCUMENT as u64 {
        return Err(format!(
            "its preloaded file {name} is larger than {MAX_DOCUMENT} bytes"
        ));
    }
    tokio::fs::read(path).await.map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(url: &str, file: &str) -> Entry {
        Entry {
            url: url.to_owned(),
            file: file.into(),
        }
    }

    #[test]
    fn what_is_wrong_in_a_list_is_told_and_keeps_no_other_out() {
        let (files, wrong) = Preloaded::of(
            Path::new("/contexts"),
            &[
                entry("https://c.example", "map/a.jsonld"),
                entry("ftp://c.example/b", "b"),
                entry("c", "c"),
                entry("https://c.example/d", "../d"),
                entry("https://c.example/e", "/etc/passwd"),
                entry("https://c.example/f", ""),
                entry(
                    "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld",
                    "g",
                ),
            ],
        );
        assert_eq!(wrong.len(), 6, "{wrong:?}");
        assert_eq!(files.len(), 1);
        assert_eq!(
            files.file("https://c.example/"),
            Some(Path::new("/contexts/map/a.jsonld")),
            "URLs are compared as they are parsed"
        );
    }

    #[test]
    fn a_list_has_an_end() {
        let entries: Vec<_> = (0..=MAX_ENTRIES)
            .map(|n| entry(&format!("https://c.example/{n}"), "a"))
            .collect();
        let (files, wrong) = Preloaded::of(Path::new("/contexts"), &entries);
        assert_eq!((files.len(), wrong.len()), (MAX_ENTRIES, 1));
    }

    #[tokio::test]
    async fn files_that_come_change_and_go_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (mut files, _) = Preloaded::of(folder.path(), &[entry("https://c.example/a", "a")]);
        assert!(!files.look().await);
        assert_eq!(files.missing(), ["https://c.example/a"]);
        for text in ["1", "22"] {
            std::fs::write(&path, text).unwrap();
            assert!(files.look().await && files.missing().is_empty());
            assert!(!files.look().await);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!files.look().await);
        assert_eq!(files.missing(), ["https://c.example/a"]);
        assert!(bytes(&path).await.unwrap_err().contains("cannot be read"));
    }
}
