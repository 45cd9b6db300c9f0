//! How far a command is, as a file: replaced whole, and never ahead of the file that it speaks of.

use crate::failure::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is written at most.
const EVERY: Duration = Duration::from_secs(1);

/// A path with something added to its name.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// The file.
pub struct Checkpoint {
    path: PathBuf,
    written: Option<Instant>,
}

impl Checkpoint {
    /// A file that may be there from before.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, written: None }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says; `None` where it is not there.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::of(&self.path)(error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::Usage(format!(
                "{} does not say how far this is ({error}); write --restart to begin anew",
                self.path.display()
            ))
        })
    }

    /// Whether it is time to write it again.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.written.is_none_or(|written| written.elapsed() >= EVERY)
    }

    /// Replaces what it says. What it speaks of has to be on disk before.
    pub fn write(&mut self, state: &impl Serialize) -> Result<(), Failure> {
        let new = beside(&self.path, ".new");
        let text = serde_json::to_string(state).map_err(|error| Failure::of(&new)(error.into()))?;
        let written = fs::File::create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_data()
        });
        written.map_err(Failure::of(&new))?;
        fs::rename(&new, &self.path).map_err(Failure::of(&self.path))?;
        self.written = Some(Instant::now());
        Ok(())
    }

    /// Takes the file away.
    pub fn remove(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::of(&self.path)(error)),
            _ => Ok(()),
        }
    }
}
