//! A *bundle* is what the operator hands to a service beside its configuration: data models, contexts, access rules. It is
//! more than a ConfigMap may hold (1 MiB), and a service that had half of it would enforce what nobody asked for. So:
//!
//! * its parts, a line of JSON each, are compressed and cut into at most [`SLOTS`] pieces, each a key of a ConfigMap of its
//!   own; all are sources of one projected volume, optional, so that their number may change without a new pod;
//! * a manifest names the digest of each piece and of the whole;
//! * a service takes a bundle only when every digest is right. The kubelet fills a projected volume at once, but from
//!   ConfigMaps of which it may have seen some newer than others: then the digests are wrong, and right a little later.
//!
//! The digest of a bundle is that of its parts, not of what compression made of them: a newer compressor changes the pieces
//! and not the bundle.

mod pack;
mod unpack;

pub use pack::{Packed, TooLarge, pack};
pub use unpack::{Trouble, read};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How many pieces there may be.
pub const SLOTS: usize = 8;
/// How many bytes a piece may have: a ConfigMap has 1 MiB for keys and values together (Kubernetes, `MaxSecretSize`).
pub const SLOT_SIZE: usize = 1_000_000;
/// How many bytes all parts may have together, before they are compressed.
pub const MAX_SIZE: usize = 64 << 20;
/// The file with the manifest.
pub const MANIFEST: &str = "manifest.json";
/// The version of the format that is written and read.
const VERSION: u32 = 1;

/// The file with the piece of this number.
#[must_use]
pub fn slot(number: usize) -> String {
    format!("slot-{number}")
}

/// The parts of a bundle: JSON by name.
pub type Parts = BTreeMap<String, serde_json::Value>;

/// A bundle that is whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// SHA-256 of its parts, in hexadecimal digits.
    pub digest: String,
    /// What is in it.
    pub parts: Parts,
}

/// What says which pieces belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The format.
    version: u32,
    /// SHA-256 of the parts.
    pub digest: String,
    /// How many bytes the parts have.
    pub size: usize,
    /// SHA-256 of each piece, in their order.
    pub slots: Vec<String>,
}

/// One part as it is written: a line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    part: serde_json::Value,
}

fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let mut digits = String::with_capacity(64);
    for byte in sha2::Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
