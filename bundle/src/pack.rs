//! From parts to pieces.

use crate::{Line, MAX_SIZE, Manifest, Parts, SLOT_SIZE, SLOTS, VERSION, digest_of};
use thiserror::Error;

/// How many bytes all pieces may have together.
const MAX_COMPRESSED: usize = SLOTS * SLOT_SIZE;

/// A bundle as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The digest of the bundle.
    pub digest: String,
    /// The manifest, as JSON.
    pub manifest: Vec<u8>,
    /// The pieces, at most [`SLOTS`] of at most [`SLOT_SIZE`] bytes.
    pub slots: Vec<Vec<u8>>,
}

/// Why parts cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TooLarge {
    /// Before they are compressed.
    #[error(
        "it has {0} bytes, and at most {MAX_SIZE} are possible: take models out, or split the set over two platforms"
    )]
    Whole(usize),
    /// When they are.
    #[error(
        "it has {0} bytes when compressed, and at most {MAX_COMPRESSED} are possible: take models out, or split the set over two platforms"
    )]
    Compressed(usize),
}

/// Packs parts; the same parts come to the same bytes.
pub fn pack(parts: &Parts) -> Result<Packed, TooLarge> {
    let text = lines(parts);
    if text.len() > MAX_SIZE {
        return Err(TooLarge::Whole(text.len()));
    }
    // To memory, at a level that there is: it does not fail.
    let compressed = zstd::bulk::compress(&text, zstd::DEFAULT_COMPRESSION_LEVEL)
        .map_err(|_| TooLarge::Whole(text.len()))?;
    if compressed.len() > MAX_COMPRESSED {
        return Err(TooLarge::Compressed(compressed.len()));
    }
    let slots: Vec<Vec<u8>> = compressed.chunks(SLOT_SIZE).map(<[u8]>::to_vec).collect();
    let manifest = Manifest {
        version: VERSION,
        digest: digest_of(&text),
        size: text.len(),
        slots: slots.iter().map(|slot| digest_of(slot)).collect(),
    };
    Ok(Packed {
        manifest: serde_json::to_vec(&manifest).unwrap_or_default(),
        digest: manifest.digest,
        slots,
    })
}

fn lines(parts: &Parts) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, part) in parts {
        let line = Line {
            name: name.clone(),
            part: part.clone(),
        };
        // A value is JSON, and memory takes it.
        let _ = serde_json::to_writer(&mut text, &line);
        text.push(b'\n');
    }
    text
}
