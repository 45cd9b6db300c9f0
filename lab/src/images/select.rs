//! Which files of the packages go into a base: what the recipe keeps, the libraries that those need, and the licence
//! of every package that gave a file.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    debian::Package,
    elf,
    error::Error,
    recipe::Base,
    tree::{Entry, Node, Tree, canonical},
};

/// Where scanners look for the packages of an image without a package manager.
const STATUS_FOLDER: &str = "var/lib/dpkg/status.d";

/// Where OpenSSL, Go and rustls-native-certs look for authorities.
const CA_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Symbol versions that each library of a base offers, by the library's name.
pub(super) type Libraries = BTreeMap<String, BTreeSet<String>>;

/// The content of a base.
#[derive(Debug)]
pub(super) struct Selection {
    pub tree: Tree,
    /// Indexes of the packages that gave a file.
    pub used: BTreeSet<usize>,
    pub libraries: Libraries,
}

/// Picks the files of a base out of its packages and adds the recipe's own.
pub(super) fn select(base: &Base, packages: &[Package], multiarch: &str) -> Result<Selection, Error> {
    let mut picker = Picker::new(base, packages, multiarch);
    picker.take_kept()?;
    picker.take_needed()?;
    let bundle = picker.ca_bundle()?;
    picker.take_licences()?;
    let libraries = picker.libraries()?;
    let Picker { mut kept, used, .. } = picker;
    let mtime = kept.newest();
    for index in &used {
        if let Some(package) = packages.get(*index) {
            let path = format!("{STATUS_FOLDER}/{}", package.locked.name);
            kept.insert(&path, Entry::file(package.control.as_bytes(), mtime));
        }
    }
    if let Some(bundle) = bundle {
        kept.insert(CA_BUNDLE, Entry::file(bundle, mtime));
    }
    add_own(base, &mut kept, mtime)?;
    kept.complete(mtime);
    Ok(Selection {
        tree: kept,
        used,
        libraries,
    })
}

/// Checks that a program finds all its libraries in a base, with the symbol versions it was linked with: a build host
/// with a newer glibc than the base would else make an image that cannot start.
pub(super) fn check_program(
    path: &str,
    bytes: &[u8],
    libraries: &Libraries,
    base: &str,
) -> Result<(), Error> {
    let links = elf::links(path, bytes)?;
    let incomplete = |needed: String, advice| Error::Incomplete {
        needed,
        by: path.to_owned(),
        base: base.to_owned(),
        advice,
    };
    for name in &links.needed {
        if !libraries.contains_key(name) {
            return Err(incomplete(
                name.clone(),
                "keep this library in the base, or link it statically",
            ));
        }
    }
    for (library, versions) in &links.versions_needed {
        for version in versions {
            if !libraries
                .get(library)
                .is_some_and(|offered| offered.contains(version))
            {
                return Err(incomplete(
                    format!("{version} of {library}"),
                    "the build host's libraries are newer than the image's: build on Debian 12",
                ));
            }
        }
    }
    Ok(())
}

/// Links, files and folders that stand in the recipe itself.
fn add_own(base: &Base, tree: &mut Tree, mtime: u64) -> Result<(), Error> {
    for (path, target) in &base.links {
        tree.insert(path, Entry::link(target.clone(), mtime));
    }
    for (path, text) in &base.files {
        tree.insert(path, Entry::file(text.as_bytes(), mtime));
    }
    for folder in &base.folders {
        let mode = u32::from_str_radix(&folder.mode, 8).map_err(|error| Error::Recipe {
            path: format!("images/bases/{}.yaml", base.name).into(),
            reason: format!("mode {:?} of {} is not octal: {error}", folder.mode, folder.path),
        })?;
        let entry = Entry {
            mode,
            uid: folder.uid,
            gid: folder.gid,
            ..Entry::folder(mtime)
        };
        tree.insert(&folder.path, entry);
    }
    Ok(())
}

struct Picker<'a> {
    base: &'a Base,
    packages: &'a [Package],
    /// Folders where a library may stand, as the loader of this suite searches them without a cache.
    library_folders: [String; 2],
    /// Every file of every package.
    all: Tree,
    /// Index of the package that each path came from.
    owner: BTreeMap<String, usize>,
    kept: Tree,
    used: BTreeSet<usize>,
    /// Kept files whose needs were not looked at yet.
    waiting: Vec<String>,
}

impl<'a> Picker<'a> {
    fn new(base: &'a Base, packages: &'a [Package], multiarch: &str) -> Self {
        let mut all = Tree::default();
        let mut owner = BTreeMap::new();
        for (index, package) in packages.iter().enumerate() {
            for (path, entry) in package.tree.iter() {
                all.insert(path, entry.clone());
                if entry.node != Node::Folder {
                    owner.insert(path.to_owned(), index);
                }
            }
        }
        Self {
            base,
            packages,
            library_folders: [format!("usr/lib/{multiarch}"), "usr/lib".to_owned()],
            all,
            owner,
            kept: Tree::default(),
            used: BTreeSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes what the recipe keeps and does not drop.
    fn take_kept(&mut self) -> Result<(), Error> {
        for pattern in &self.base.keep {
            let folder = pattern.ends_with('/');
            let wanted = canonical(pattern);
            let below = format!("{wanted}/");
            let matching: Vec<String> = self
                .all
                .iter()
                .map(|(path, _)| path)
                .filter(|path| {
                    if folder {
                        path.starts_with(&below)
                    } else {
                        *path == wanted
                    }
                })
                .filter(|path| {
                    !self
                        .base
                        .drop
                        .iter()
                        .any(|drop| path.starts_with(&canonical_start(drop)))
                })
                .map(str::to_owned)
                .collect();
            if matching.is_empty() {
                return Err(Error::Recipe {
                    path: format!("images/bases/{}.yaml", self.base.name).into(),
                    reason: format!("keep: {pattern} is in none of the packages"),
                });
            }
            for path in matching {
                // A folder may hold links to what only an installed system has, as /etc/localtime.
                let leads = self.all.resolve(&path).is_some();
                if leads || !folder {
                    self.take(&path, "the recipe")?;
                }
            }
        }
        Ok(())
    }

    /// Takes one path with the links on its way and what it leads to.
    fn take(&mut self, path: &str, by: &str) -> Result<(), Error> {
        let Some((target, links)) = self.all.resolve(path) else {
            return Err(self.incomplete(path, by, "add the package that has it"));
        };
        for step in links.iter().chain([&target]) {
            let Some(entry) = self.all.get(step) else { continue };
            if self.kept.get(step).is_some() {
                continue;
            }
            let mut entry = entry.clone();
            if entry.node != Node::Folder {
                // Nothing in an image may change who it runs as.
                entry.mode &= 0o777;
            }
            self.kept.insert(step, entry);
            if let Some(index) = self.owner.get(step) {
                self.used.insert(*index);
                self.waiting.push(step.clone());
            }
        }
        Ok(())
    }

    /// Takes loaders and libraries until nothing that was taken needs more.
    fn take_needed(&mut self) -> Result<(), Error> {
        while let Some(path) = self.waiting.pop() {
            let Some(bytes) = self.kept.bytes(&path).filter(|bytes| elf::is_elf(bytes)).cloned() else {
                continue;
            };
            let links = elf::links(&path, &bytes)?;
            if let Some(interpreter) = links.interpreter {
                self.take(&interpreter, &path)?;
            }
            for name in links.needed {
                let Some(library) = self.find_library(&name) else {
                    return Err(self.incomplete(
                        &name,
                        &path,
                        "add the package that has it, or drop the file",
                    ));
                };
                self.take(&library, &path)?;
            }
        }
        Ok(())
    }

    fn find_library(&self, name: &str) -> Option<String> {
        self.library_folders
            .iter()
            .map(|folder| format!("{folder}/{name}"))
            .find(|path| self.all.resolve(path).is_some())
    }

    /// Every package that gave a file gives its licence too.
    fn take_licences(&mut self) -> Result<(), Error> {
        for index in self.used.clone() {
            let Some(package) = self.packages.get(index) else {
                continue;
            };
            let path = format!("usr/share/doc/{}/copyright", package.locked.name);
            self.take(&path, &package.locked.name)?;
        }
        Ok(())
    }

    /// One file of all authorities, in the order of their names, as `update-ca-certificates` writes it.
    fn ca_bundle(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if !self.base.ca_bundle {
            return Ok(None);
        }
        let mut bundle = Vec::new();
        let folder = "usr/share/ca-certificates/";
        // The package's only other files there are folders.
        for (path, _) in self.all.iter().filter(|(path, _)| path.starts_with(folder)) {
            if let Some(bytes) = self.all.bytes(path) {
                bundle.extend_from_slice(bytes);
                if !bundle.ends_with(b"\n") {
                    bundle.push(b'\n');
                }
                self.used.extend(self.owner.get(path));
            }
        }
        if bundle.is_empty() {
            return Err(self.incomplete("a CA certificate", "caBundle", "add the package ca-certificates"));
        }
        Ok(Some(bundle))
    }

    /// What the kept libraries offer, by each name they are kept under.
    fn libraries(&self) -> Result<Libraries, Error> {
        let mut libraries = Libraries::new();
        for (path, _) in self.kept.iter() {
            let Some((folder, name)) = path.rsplit_once('/') else {
                continue;
            };
            if !name.contains(".so") || !folder.starts_with("usr/lib") {
                continue;
            }
            let Some((target, _)) = self.kept.resolve(path) else {
                continue;
            };
            let Some(bytes) = self.kept.bytes(&target).filter(|bytes| elf::is_elf(bytes)) else {
                continue;
            };
            libraries.insert(name.to_owned(), elf::links(&target, bytes)?.versions_offered);
        }
        Ok(libraries)
    }

    fn incomplete(&self, needed: &str, by: &str, advice: &'static str) -> Error {
        Error::Incomplete {
            needed: needed.to_owned(),
            by: by.to_owned(),
            base: self.base.name.clone(),
            advice,
        }
    }
}

/// As [`canonical`], but keeps a slash at the end, which in `drop` means a folder.
fn canonical_start(start: &str) -> String {
    let slash = if start.ends_with('/') { "/" } else { "" };
    format!("{}{slash}", canonical(start))
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
