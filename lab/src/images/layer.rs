//! One image layer: a tree as a compressed tar stream that is the same for the same tree, whenever and wherever it is
//! made. Entries are sorted, owners are numbers only, and the compressed stream carries no time.

use std::{
    fmt::Write as _,
    io::{self, Write},
    sync::Arc,
};

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use super::{
    error::Error,
    tree::{Entry, Node, Tree},
};

/// A packed layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// `sha256:` and the hex digest of the compressed stream: its name as a blob.
    pub digest: String,
    /// `sha256:` and the hex digest of the tar stream: its name in the configuration's `rootfs`.
    pub diff_id: String,
    /// The compressed stream.
    pub blob: Arc<Vec<u8>>,
}

/// Hex SHA-256 of bytes.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The name of bytes as an OCI digest.
pub(super) fn oci_digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(bytes))
}

/// Packs a tree.
pub(super) fn pack(tree: &Tree) -> Result<Layer, Error> {
    pack_stream(tree).map_err(Error::file("pack", "image layer"))
}

fn pack_stream(tree: &Tree) -> io::Result<Layer> {
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    let mut builder = tar::Builder::new(Hashing {
        inner: gzip,
        hash: Sha256::new(),
    });
    for (path, entry) in tree.iter() {
        append(&mut builder, path, entry)?;
    }
    let Hashing { inner, hash } = builder.into_inner()?;
    let blob = inner.finish()?;
    Ok(Layer {
        digest: oci_digest(&blob),
        diff_id: format!("sha256:{}", hex(&hash.finalize())),
        blob: Arc::new(blob),
    })
}

fn append<W: Write>(builder: &mut tar::Builder<W>, path: &str, entry: &Entry) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid);
    header.set_gid(entry.gid);
    header.set_mtime(entry.mtime);
    header.set_size(0);
    match &entry.node {
        Node::Folder => {
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, format!("{path}/"), io::empty())
        }
        Node::File(bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, &bytes[..])
        }
        Node::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, target)
        }
    }
}

/// Passes bytes on and hashes them.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_reads_back_as_the_tree_it_was_packed_from() {
        let mut tree = Tree::default();
        let long = format!("usr/share/{}/file", "x".repeat(150));
        tree.insert(&long, Entry::file(*b"long", 3));
        tree.insert("usr/bin/tool", Entry::program(*b"\x7fELF", 4));
        tree.insert("etc/link", Entry::link("../usr/bin/tool", 5));
        tree.complete(6);
        tree.insert(
            "tmp",
            Entry {
                mode: 0o1777,
                uid: 999,
                gid: 999,
                ..Entry::folder(7)
            },
        );
        let layer = pack(&tree).unwrap();
        let read = Tree::from_tar(flate2::read::GzDecoder::new(layer.blob.as_slice())).unwrap();
        assert_eq!(read, tree);
    }

    #[test]
    fn the_same_tree_has_the_same_digest_and_another_time_another() {
        let tree = |mtime| {
            let mut tree = Tree::default();
            tree.insert("a", Entry::file(*b"x", mtime));
            tree
        };
        let first = pack(&tree(1)).unwrap();
        assert_eq!(first.digest, pack(&tree(1)).unwrap().digest);
        assert_ne!(first.digest, pack(&tree(2)).unwrap().digest);
        assert_ne!(first.digest, first.diff_id);
    }
}
