//! Reads an OCI archive as an importer would.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An archive with its documents parsed.
pub struct Archive {
    files: BTreeMap<String, Vec<u8>>,
    /// Digest of the manifest.
    pub digest: String,
    /// Names that containerd gives to the image.
    pub names: BTreeSet<String>,
    /// The image's configuration.
    pub config: Value,
    /// Size of all compressed layers.
    pub bytes: usize,
    layers: Vec<String>,
    entries: BTreeMap<String, Entry>,
}

/// What a layer says about a path.
pub struct Entry {
    pub is_file: bool,
    pub is_link: bool,
    pub mode: u32,
    pub uid: u64,
}

fn sha256(bytes: &[u8]) -> String {
    let hex: Vec<String> = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{}", hex.concat())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Archive {
    pub fn read(path: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(fs::File::open(path).unwrap())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), bytes);
        }
        let json = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
        let blob = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
        let index = json("index.json");
        let manifests = index["manifests"].as_array().unwrap();
        let digests: BTreeSet<String> = manifests.iter().map(|one| text(&one["digest"])).collect();
        assert_eq!(digests.len(), 1, "one image in an archive");
        let digest = digests.into_iter().next().unwrap();
        let names = manifests
            .iter()
            .map(|one| text(&one["annotations"]["io.containerd.image.name"]))
            .collect();
        let manifest = json(&blob(&digest));
        let config = json(&blob(&text(&manifest["config"]["digest"])));
        let layers: Vec<String> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| blob(&text(&one["digest"])))
            .collect();
        let bytes = layers.iter().map(|layer| files[layer].len()).sum();
        let mut entries = BTreeMap::new();
        for layer in &layers {
            for entry in tar::Archive::new(GzDecoder::new(files[layer].as_slice()))
                .entries()
                .unwrap()
            {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry
                    .path()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .trim_end_matches('/')
                    .to_owned();
                let kind = header.entry_type();
                entries.insert(
                    path,
                    Entry {
                        is_file: kind.is_file(),
                        is_link: kind.is_symlink(),
                        mode: header.mode().unwrap(),
                        uid: header.uid().unwrap(),
                    },
                );
            }
        }
        Self {
            files,
            digest,
            names,
            config,
            bytes,
            layers,
            entries,
        }
    }

    /// Everything in the image by path, later layers over earlier ones.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Compares every blob with its name, and every unpacked layer with the configuration.
    pub fn verify(&self) {
        for (path, bytes) in self.files.iter().filter(|(path, _)| path.starts_with("blobs/")) {
            assert_eq!(format!("blobs/{}", sha256(bytes).replace(':', "/")), *path);
        }
        let diff_ids: Vec<String> = self.config["rootfs"]["diff_ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect();
        let unpacked: Vec<String> = self
            .layers
            .iter()
            .map(|layer| {
                let mut bytes = Vec::new();
                GzDecoder::new(self.files[layer].as_slice())
                    .read_to_end(&mut bytes)
                    .unwrap();
                sha256(&bytes)
            })
            .collect();
        assert_eq!(unpacked, diff_ids);
    }

    /// Unpacks the layers into a folder, owners included, which takes root.
    pub fn unpack(&self, folder: &Path) {
        for layer in &self.layers {
            let mut archive = tar::Archive::new(GzDecoder::new(self.files[layer].as_slice()));
            archive.set_preserve_permissions(true);
            archive.set_preserve_ownerships(true);
            archive.unpack(folder).unwrap();
        }
    }
}

/// A clone of this repository whose recipes and manifests are those of the work tree, to change.
pub fn copy_of_workspace(folder: &Path) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let copy = folder.join("workspace");
    let cloned = Command::new("git")
        .args(["clone", "--quiet"])
        .arg(here)
        .arg(&copy)
        .output()
        .unwrap();
    assert!(
        cloned.status.success(),
        "{}",
        String::from_utf8_lossy(&cloned.stderr)
    );
    let changed = Command::new("git")
        .args([
            "-C",
            here.to_str().unwrap(),
            "ls-files",
            "--modified",
            "--others",
            "--exclude-standard",
        ])
        .output()
        .unwrap();
    for path in String::from_utf8(changed.stdout).unwrap().lines() {
        let (from, to) = (here.join(path), copy.join(path));
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
    copy
}
