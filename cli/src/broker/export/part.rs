//! The file while it is not whole.

use crate::failure::Failure;
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The file.
pub struct Part {
    path: PathBuf,
    file: BufWriter<File>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(alias = "@id")]
    id: String,
}

impl Part {
    /// Opens it, and forgets what was written after the last checkpoint.
    pub fn open(path: PathBuf, bytes: u64) -> Result<Self, Failure> {
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path);
        let mut file = opened.map_err(Failure::of(&path))?;
        let there = file.metadata().map_err(Failure::of(&path))?.len();
        if there < bytes {
            return Err(Failure::Usage(format!(
                "{} is shorter than it was; write --restart to begin anew",
                path.display()
            )));
        }
        file.set_len(bytes).map_err(Failure::of(&path))?;
        file.seek(SeekFrom::Start(bytes)).map_err(Failure::of(&path))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
        })
    }

    /// The ids that it has.
    pub fn ids(&mut self) -> Result<Vec<String>, Failure> {
        self.file.flush().map_err(Failure::of(&self.path))?;
        let file = File::open(&self.path).map_err(Failure::of(&self.path))?;
        let mut ids = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(Failure::of(&self.path))?;
            let head: Head =
                serde_json::from_str(&line).map_err(|error| Failure::of(&self.path)(error.into()))?;
            ids.push(head.id);
        }
        Ok(ids)
    }

    /// Writes a line; how many bytes it has.
    pub fn write(&mut self, line: &[u8]) -> Result<u64, Failure> {
        self.file.write_all(line).map_err(Failure::of(&self.path))?;
        Ok(u64::try_from(line.len()).unwrap_or(u64::MAX))
    }

    /// Returns when all of it is on disk.
    pub fn sync(&mut self) -> Result<(), Failure> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_data());
        flushed.map_err(Failure::of(&self.path))
    }

    /// Gives it its name: now it is whole.
    pub fn finish(mut self, name: &Path) -> Result<(), Failure> {
        self.sync()?;
        fs::rename(&self.path, name).map_err(Failure::of(name))
    }
}
