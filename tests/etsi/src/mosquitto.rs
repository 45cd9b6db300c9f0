//! The suite starts Mosquitto by `docker run`. Here a script of that name, before all others on the PATH, starts the
//! Mosquitto of this machine in its place, with the same settings.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// A folder with a program `docker`. What it has started ends with this value.
pub struct Docker(tempfile::TempDir);

impl Docker {
    /// Writes it.
    pub fn instead() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(|source| Error::Write {
            path: std::env::temp_dir(),
            source,
        })?;
        let program = folder.path().join("docker");
        let write = |source| Error::Write {
            path: program.clone(),
            source,
        };
        std::fs::write(&program, include_str!("../docker.sh")).map_err(write)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).map_err(write)?;
        Ok(Self(folder))
    }

    /// The PATH on which it comes first.
    pub fn path(&self) -> OsString {
        let others = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.0.path().to_owned()).chain(std::env::split_paths(&others));
        // No folder on a PATH has a colon, and a temporary one has none either.
        std::env::join_paths(folders.collect::<Vec<PathBuf>>()).unwrap_or(others)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It may never have been started.
        let _ = std::process::Command::new(self.0.path().join("docker"))
            .arg("rm")
            .status();
    }
}
