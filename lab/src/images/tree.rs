//! A file tree in memory: what a package brings, what a layer will hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::Arc,
};

/// Folders at the root that are links into `usr` on a merged-/usr Debian.
pub(super) const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// More links than this on one path are a loop (Linux' own limit).
const MAX_LINKS: usize = 40;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A folder.
    Folder,
    /// A regular file with its bytes.
    File(Arc<[u8]>),
    /// A symbolic link with its target.
    Link(String),
}

/// A node and what the file system keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub node: Node,
    /// Permission bits, e.g. `0o755`.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
}

impl Entry {
    /// A folder of root that all may read.
    pub fn folder(mtime: u64) -> Self {
        Self {
            node: Node::Folder,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime,
        }
    }

    /// A file of root that all may read.
    pub fn file(bytes: impl Into<Arc<[u8]>>, mtime: u64) -> Self {
        Self {
            node: Node::File(bytes.into()),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime,
        }
    }

    /// A program of root that all may run.
    pub fn program(bytes: impl Into<Arc<[u8]>>, mtime: u64) -> Self {
        Self {
            mode: 0o755,
            ..Self::file(bytes, mtime)
        }
    }

    /// A symbolic link.
    pub fn link(target: impl Into<String>, mtime: u64) -> Self {
        Self {
            node: Node::Link(target.into()),
            mode: 0o777,
            uid: 0,
            gid: 0,
            mtime,
        }
    }
}

/// Entries by path, in the order of their paths. Paths have no leading or trailing slash and are those of a merged
/// /usr: `lib/x` of an older package is `usr/lib/x` here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<String, Entry>);

/// `./lib64/ld.so` → `usr/lib64/ld.so`; resolves `.` and `..` by the text alone.
pub(super) fn canonical(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    if parts.len() > 1 && parts.first().is_some_and(|first| MERGED.contains(first)) {
        parts.insert(0, "usr");
    }
    parts.join("/")
}

impl Tree {
    /// Puts an entry at a path; what was there before is gone.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        self.0.insert(canonical(path), entry);
    }

    /// What stands exactly at this path, links not followed.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// All entries in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The bytes of a regular file at exactly this path.
    pub fn bytes(&self, path: &str) -> Option<&Arc<[u8]>> {
        match &self.get(path)?.node {
            Node::File(bytes) => Some(bytes),
            Node::Folder | Node::Link(_) => None,
        }
    }

    /// Where a path leads when every link on the way is followed, and the links that were followed. `None` when it
    /// leads nowhere.
    pub fn resolve(&self, path: &str) -> Option<(String, Vec<String>)> {
        let mut links = Vec::new();
        let mut current = canonical(path);
        'restart: for _ in 0..MAX_LINKS {
            let mut end = 0;
            loop {
                end = current
                    .get(end..)
                    .and_then(|rest| rest.find('/'))
                    .map_or(current.len(), |slash| end + slash);
                let prefix = current.get(..end)?;
                if let Some(Node::Link(target)) = self.get(prefix).map(|entry| &entry.node) {
                    let rest = current.get(end..)?;
                    let joined = match target.strip_prefix('/') {
                        Some(absolute) => format!("{absolute}{rest}"),
                        None => format!("{}/{target}{rest}", parent(prefix)),
                    };
                    links.push(prefix.to_owned());
                    current = canonical(&joined);
                    continue 'restart;
                }
                if end == current.len() {
                    return self.0.contains_key(&current).then_some((current, links));
                }
                end += 1;
            }
        }
        None
    }

    /// Adds the folders that entries stand in, and the links of a merged /usr, where they are missing.
    pub fn complete(&mut self, mtime: u64) {
        let mut missing = BTreeSet::new();
        for path in self.0.keys() {
            let mut folder = parent(path);
            while !folder.is_empty() && !self.0.contains_key(folder) {
                missing.insert(folder.to_owned());
                folder = parent(folder);
            }
        }
        for path in missing {
            self.0.insert(path, Entry::folder(mtime));
        }
        for alias in MERGED {
            let target = format!("usr/{alias}");
            if self.0.contains_key(&target) {
                self.0.insert(alias.to_owned(), Entry::link(target, mtime));
            }
        }
    }

    /// The newest time of any entry; 0 for an empty tree.
    pub fn newest(&self) -> u64 {
        self.0.values().map(|entry| entry.mtime).max().unwrap_or(0)
    }

    /// Reads a tar stream. A hard link becomes a copy; devices are left out, as containers bring their own.
    pub fn from_tar(reader: impl Read) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let header = entry.header().clone();
            let node = match header.entry_type() {
                tar::EntryType::Directory => Node::Folder,
                tar::EntryType::Symlink => Node::Link(link_name(&entry)?),
                tar::EntryType::Link => {
                    let target = canonical(&link_name(&entry)?);
                    let bytes = tree.bytes(&target).cloned();
                    Node::File(bytes.ok_or_else(|| {
                        io::Error::other(format!(
                            "{path} is a hard link to {target}, which is not before it"
                        ))
                    })?)
                }
                tar::EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    Node::File(bytes.into())
                }
                _ => continue,
            };
            let entry = Entry {
                node,
                mode: header.mode()? & 0o7777,
                uid: header.uid()?,
                gid: header.gid()?,
                mtime: header.mtime()?,
            };
            let path = canonical(&path);
            if !path.is_empty() {
                tree.0.insert(path, entry);
            }
        }
        Ok(tree)
    }
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<String> {
    let name = entry
        .link_name_bytes()
        .ok_or_else(|| io::Error::other("a link without a target"))?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// The folder of a path; empty at the root.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_split_usr_become_those_of_a_merged_one() {
        assert_eq!(canonical("./lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(canonical("/usr/lib/x/../y"), "usr/lib/y");
        assert_eq!(canonical("library/x"), "library/x");
        assert_eq!(canonical("/bin/"), "bin");
    }

    #[test]
    fn links_in_folders_and_at_the_end_are_followed_and_told() {
        let mut tree = Tree::default();
        tree.insert("usr/share/doc/gcc-12-base/copyright", Entry::file(*b"GPL", 1));
        tree.insert("usr/share/doc/libgcc-s1", Entry::link("gcc-12-base", 1));
        tree.insert("usr/lib64/ld.so.2", Entry::link("/lib/x/ld.so", 1));
        tree.insert("lib/x/ld.so", Entry::file(*b"elf", 1));
        assert_eq!(
            tree.resolve("usr/share/doc/libgcc-s1/copyright"),
            Some((
                "usr/share/doc/gcc-12-base/copyright".into(),
                vec!["usr/share/doc/libgcc-s1".into()]
            ))
        );
        assert_eq!(
            tree.resolve("/lib64/ld.so.2"),
            Some(("usr/lib/x/ld.so".into(), vec!["usr/lib64/ld.so.2".into()]))
        );
        assert_eq!(tree.resolve("usr/lib/y"), None);
    }

    #[test]
    fn a_loop_of_links_leads_nowhere() {
        let mut tree = Tree::default();
        tree.insert("a", Entry::link("b", 1));
        tree.insert("b", Entry::link("a", 1));
        assert_eq!(tree.resolve("a"), None);
    }

    #[test]
    fn folders_and_merged_links_are_added() {
        let mut tree = Tree::default();
        tree.insert("bin/dash", Entry::program(*b"x", 5));
        tree.complete(7);
        let paths: Vec<_> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["bin", "usr", "usr/bin", "usr/bin/dash"]);
        assert_eq!(tree.newest(), 7);
    }
}
