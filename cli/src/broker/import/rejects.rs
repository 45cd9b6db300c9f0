//! What the broker does not take, one a line: the number of the line, why, and the entity.

use crate::broker::import::lines::Line;
use crate::failure::Failure;
use serde::Serialize;
use serde_json::value::RawValue;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// An entity that was not taken.
#[derive(Debug, Serialize)]
pub struct Rejected {
    /// The number of its line.
    pub line: u64,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The status that the broker gave, of the entity or of the whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why, in the broker's words or ours.
    pub reason: String,
    /// The entity as it was in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<Box<RawValue>>,
    /// The line, where it is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Rejected {
    /// By the broker.
    #[must_use]
    pub fn by_broker(line: Line, status: Option<u16>, reason: String) -> Self {
        let (entity, text) = kept(line.text);
        Self {
            line: line.number,
            id: line.id,
            status,
            reason,
            entity,
            text,
        }
    }

    /// By us: the line was never sent.
    #[must_use]
    pub fn unread(line: Line) -> Self {
        let reason = line.wrong.clone().unwrap_or_default();
        Self::by_broker(line, None, reason)
    }
}

fn kept(text: String) -> (Option<Box<RawValue>>, Option<String>) {
    match RawValue::from_string(text.clone()) {
        Ok(entity) => (Some(entity), None),
        Err(_) => (None, Some(text)),
    }
}

/// The file. It is made with the first line.
pub struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    /// Opens it where it has lines from before, and forgets those written after the last checkpoint. A file of another
    /// import is left alone.
    pub fn open(path: PathBuf, bytes: u64, goes_on: bool) -> Result<Self, Failure> {
        let mut rejects = Self { path, file: None };
        if rejects.path.exists() {
            if !goes_on {
                return Err(Failure::Usage(format!(
                    "{} is there from an import before; move it away, or write another --rejects",
                    rejects.path.display()
                )));
            }
            let file = rejects.made()?.get_mut();
            let cut = file
                .set_len(bytes)
                .and_then(|()| file.seek(SeekFrom::Start(bytes)));
            cut.map_err(Failure::of(&rejects.path))?;
        }
        Ok(rejects)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one; how many bytes the line has.
    pub fn write(&mut self, rejected: &Rejected) -> Result<u64, Failure> {
        let mut line = serde_json::to_vec(rejected).map_err(|error| Failure::of(&self.path)(error.into()))?;
        line.push(b'\n');
        let written = self.made()?.write_all(&line);
        written.map_err(Failure::of(&self.path))?;
        Ok(u64::try_from(line.len()).unwrap_or(u64::MAX))
    }

    /// Returns when all of it is on disk.
    pub fn sync(&mut self) -> Result<(), Failure> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let synced = file.flush().and_then(|()| file.get_ref().sync_data());
        synced.map_err(Failure::of(&self.path))
    }

    fn made(&mut self) -> Result<&mut BufWriter<File>, Failure> {
        let file = if let Some(file) = self.file.take() {
            file
        } else {
            let mut options = OpenOptions::new();
            let opened = options.create(true).write(true).truncate(false).open(&self.path);
            BufWriter::new(opened.map_err(Failure::of(&self.path))?)
        };
        Ok(self.file.insert(file))
    }
}
