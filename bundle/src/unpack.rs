//! From a folder to a bundle.

use crate::{Bundle, Line, MANIFEST, MAX_SIZE, Manifest, Parts, SLOT_SIZE, SLOTS, VERSION, digest_of, slot};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use thiserror::Error;

/// How many bytes a manifest may have.
const MAX_MANIFEST: usize = 4096;

/// Why there is no bundle.
#[derive(Debug, Error)]
pub enum Trouble {
    /// There is no manifest: nothing was handed over yet.
    #[error("there is no {MANIFEST}")]
    Absent,
    /// Files that do not belong together, which passes when the kubelet has seen all of them.
    #[error("{0} is not the one that the manifest names")]
    Mixed(String),
    /// Something else than a bundle.
    #[error("{file}: {why}")]
    Malformed {
        /// Which file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The file system says no.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// Which file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Reads the bundle of a folder, whole or not at all. `known`: the digest of the one at hand, which is not read again.
pub fn read(folder: &Path, known: Option<&str>) -> Result<Option<Bundle>, Trouble> {
    let Some(manifest) = file(folder, MANIFEST, MAX_MANIFEST)? else {
        return Err(Trouble::Absent);
    };
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|error| malformed(MANIFEST, &error))?;
    if manifest.version != VERSION {
        return Err(malformed(
            MANIFEST,
            &format!("its version is {}, not {VERSION}", manifest.version),
        ));
    }
    if known == Some(manifest.digest.as_str()) {
        return Ok(None);
    }
    if manifest.slots.len() > SLOTS || manifest.size > MAX_SIZE {
        return Err(malformed(MANIFEST, &"it names more than there may be"));
    }
    let compressed = pieces(folder, &manifest)?;
    let text = zstd::bulk::decompress(&compressed, manifest.size)
        .map_err(|error| malformed("the pieces", &error))?;
    if digest_of(&text) != manifest.digest {
        return Err(malformed(
            "the pieces",
            &"together they are not what the manifest names",
        ));
    }
    Ok(Some(Bundle {
        parts: parts(&text)?,
        digest: manifest.digest,
    }))
}

fn pieces(folder: &Path, manifest: &Manifest) -> Result<Vec<u8>, Trouble> {
    let mut compressed = Vec::new();
    for (number, digest) in manifest.slots.iter().enumerate() {
        let name = slot(number);
        match file(folder, &name, SLOT_SIZE)? {
            Some(piece) if digest_of(&piece) == *digest => compressed.extend(piece),
            _ => return Err(Trouble::Mixed(name)),
        }
    }
    Ok(compressed)
}

fn parts(text: &[u8]) -> Result<Parts, Trouble> {
    let mut parts = Parts::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Line { name, part } =
            serde_json::from_slice(line).map_err(|error| malformed("a part", &error))?;
        parts.insert(name, part);
    }
    Ok(parts)
}

/// The content of a file; `None`: there is none.
fn file(folder: &Path, name: &str, most: usize) -> Result<Option<Vec<u8>>, Trouble> {
    let unreadable = |source| Trouble::Unreadable {
        file: name.to_owned(),
        source,
    };
    let file = match File::open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut content = Vec::new();
    // One byte more tells that there is more.
    file.take(most as u64 + 1)
        .read_to_end(&mut content)
        .map_err(unreadable)?;
    if content.len() > most {
        return Err(malformed(name, &format!("it has more than {most} bytes")));
    }
    Ok(Some(content))
}

fn malformed(file: &str, why: &dyn std::fmt::Display) -> Trouble {
    Trouble::Malformed {
        file: file.to_owned(),
        why: why.to_string(),
    }
}
