//! `images/debian-<architecture>.lock`: which version of each Debian package the images are made of.
//!
//! The lock makes a build the same tomorrow as long as the mirror still has those versions. A mirror keeps one version
//! per suite, so after a security update it may not: the build then takes what the mirror has, says so, and writes the
//! true versions into the SBOM; `--locked` refuses instead.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::error::Error;

/// The suite that all packages come from. The programs need a glibc at least as new as the one they were linked with,
/// which is checked by symbol version.
pub(super) const SUITE: &str = "bookworm";

/// One package as a file: its name, version and content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Locked {
    /// Debian's name.
    pub name: String,
    /// Debian's version, with epoch and revision.
    pub version: String,
    /// SHA-256 of the `.deb` file, in hex.
    pub sha256: String,
}

/// Locked packages by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageLock(BTreeMap<String, Locked>);

impl PackageLock {
    /// Where the lock of an architecture stands.
    pub fn path(images: &Path, architecture: &str) -> PathBuf {
        images.join(format!("debian-{architecture}.lock"))
    }

    /// Reads a lock. No file is an empty lock: an architecture nobody has built for yet.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let mut packages = Self::default();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        {
            let mut words = line.split_whitespace();
            let (Some(name), Some(version), Some(sha256), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                let reason = format!("{line:?} is not `name version sha256`");
                return Err(Error::Recipe {
                    path: path.to_owned(),
                    reason,
                });
            };
            packages.insert(Locked {
                name: name.to_owned(),
                version: version.to_owned(),
                sha256: sha256.to_owned(),
            });
        }
        Ok(packages)
    }

    /// Puts a package in, in place of another version of it.
    pub fn insert(&mut self, package: Locked) {
        self.0.insert(package.name.clone(), package);
    }

    /// The locked packages of these names; `None` when one is not locked.
    pub fn select(&self, names: &[String]) -> Option<Vec<Locked>> {
        names.iter().map(|name| self.0.get(name).cloned()).collect()
    }

    /// What of `found` is not as locked, in words; `None` when all is.
    pub fn differences(&self, found: &[Locked]) -> Option<String> {
        let mut words = String::new();
        for package in found {
            let separator = if words.is_empty() { "" } else { ", " };
            match self.0.get(&package.name) {
                Some(locked) if locked == package => {}
                Some(locked) if locked.version == package.version => {
                    let _ = write!(
                        words,
                        "{separator}{} {} with other content",
                        package.name, package.version
                    );
                }
                Some(locked) => {
                    let _ = write!(
                        words,
                        "{separator}{} {} instead of {}",
                        package.name, package.version, locked.version
                    );
                }
                None => {
                    let _ = write!(
                        words,
                        "{separator}{} {} not locked",
                        package.name, package.version
                    );
                }
            }
        }
        (!words.is_empty()).then_some(words)
    }

    /// The file's text, sorted by name.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# Debian {SUITE} packages that the images are made of: name, version, SHA-256 of the file.\n\
             # Written by `mim-lab images --update-packages`.\n"
        );
        for package in self.0.values() {
            let _ = writeln!(text, "{} {} {}", package.name, package.version, package.sha256);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, sha256: &str) -> Locked {
        Locked {
            name: name.into(),
            version: version.into(),
            sha256: sha256.into(),
        }
    }

    #[test]
    fn a_lock_reads_back_as_written_and_sorted() {
        let mut lock = PackageLock::default();
        lock.insert(package("zlib1g", "1:1.2", "aa"));
        lock.insert(package("libc6", "2.36-9+deb12u14", "bb"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        fs::write(&path, lock.to_text()).unwrap();
        assert_eq!(PackageLock::read(&path).unwrap(), lock);
        assert!(lock.to_text().find("libc6").unwrap() < lock.to_text().find("zlib1g").unwrap());
        assert_eq!(
            PackageLock::read(&folder.path().join("none")).unwrap(),
            PackageLock::default()
        );
    }

    #[test]
    fn a_damaged_line_is_refused_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        fs::write(&path, "libc6 2.36\n").unwrap();
        let error = PackageLock::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("x.lock") && error.contains("libc6 2.36"),
            "{error}"
        );
    }

    #[test]
    fn drift_is_told_in_words() {
        let mut lock = PackageLock::default();
        lock.insert(package("libc6", "1", "aa"));
        assert_eq!(lock.differences(&[package("libc6", "1", "aa")]), None);
        assert_eq!(
            lock.differences(&[package("libc6", "2", "bb"), package("x", "1", "cc")])
                .unwrap(),
            "libc6 2 instead of 1, x 1 not locked"
        );
        assert_eq!(
            lock.differences(&[package("libc6", "1", "bb")]).unwrap(),
            "libc6 1 with other content"
        );
        assert_eq!(lock.select(&["libc6".into(), "x".into()]), None);
    }
}
