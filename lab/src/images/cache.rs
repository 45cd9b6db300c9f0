//! What is kept between builds: Debian packages and base layers, each under the digest of what it was made from.
//!
//! A thing is written beside its place and renamed into it, so what has the right name is whole. One build at a time
//! holds the cache's lock; another waits.

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempDir};

use super::error::Error;

/// A folder of the user's cache, held by this build alone until it is dropped.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    _lock: File,
}

impl Cache {
    /// The user's cache: `mim-lab/images` in `$XDG_CACHE_HOME`, else in `$HOME/.cache`.
    pub fn of_user() -> Result<PathBuf, Error> {
        let folder = env::var_os("XDG_CACHE_HOME")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .ok_or(Error::NoCache)?;
        Ok(folder.join("mim-lab/images"))
    }

    /// Opens a cache folder, waits for a build that holds it, and clears what a killed build left half-made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(Error::file("create", root))?;
        let path = root.join("lock");
        let lock = File::create(&path).map_err(Error::file("create", &path))?;
        lock.lock().map_err(Error::file("lock", &path))?;
        let half = root.join("half-made");
        if half.exists() {
            fs::remove_dir_all(&half).map_err(Error::file("clear", &half))?;
        }
        fs::create_dir(&half).map_err(Error::file("create", &half))?;
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
        })
    }

    /// An empty folder on the cache's file system; gone with its value, or at the next build.
    pub fn scratch(&self) -> Result<TempDir, Error> {
        let half = self.root.join("half-made");
        TempDir::new_in(&half).map_err(Error::file("create a folder in", half))
    }

    /// The path of a kept file or folder, whether it is there or not.
    pub fn path(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(name)
    }

    /// Moves a whole folder made in [`Self::scratch`] to its place; one that is already there is replaced.
    pub fn keep_folder(&self, made: TempDir, kind: &str, name: &str) -> Result<PathBuf, Error> {
        let place = self.path(kind, name);
        if place.exists() {
            fs::remove_dir_all(&place).map_err(Error::file("replace", &place))?;
        }
        create_parent(&place)?;
        let made = made.keep();
        fs::rename(&made, &place).map_err(Error::file("rename to", &place))?;
        Ok(place)
    }

    /// Moves a file that was made in [`Self::scratch`] to its place.
    pub fn keep_file(&self, made: &Path, kind: &str, name: &str) -> Result<PathBuf, Error> {
        let place = self.path(kind, name);
        create_parent(&place)?;
        fs::rename(made, &place).map_err(Error::file("rename to", &place))?;
        Ok(place)
    }
}

/// Writes a file so that it is never seen half-written; its folder is made when missing.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    create_parent(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(Error::file("write in", folder))?;
    file.write_all(bytes).map_err(Error::file("write", path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = fs::Permissions::from_mode(0o644);
        file.as_file()
            .set_permissions(readable)
            .map_err(Error::file("write", path))?;
    }
    file.persist(path)
        .map_err(|error| Error::file("write", path)(error.error))?;
    Ok(())
}

fn create_parent(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::file("create", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_build_left_is_gone_at_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let left = cache.scratch().unwrap().keep();
        fs::write(left.join("half"), "x").unwrap();
        drop(cache);
        let cache = Cache::open(folder.path()).unwrap();
        assert!(!left.exists());
        let made = cache.scratch().unwrap();
        fs::write(made.path().join("whole"), "x").unwrap();
        let place = cache.keep_folder(made, "bases", "abc").unwrap();
        assert!(place.join("whole").exists());
        assert_eq!(place, cache.path("bases", "abc"));
    }

    #[test]
    fn a_second_build_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Cache::open(folder.path()).unwrap();
        let held = File::open(folder.path().join("lock")).unwrap();
        assert!(held.try_lock().is_err());
        drop(first);
        // Waits, because a program that another test starts at this moment holds a copy of the lock until its exec.
        held.lock().unwrap();
    }
}
