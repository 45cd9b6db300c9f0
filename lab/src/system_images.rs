//! Images of the lab's own, each one program: pause, the DNS server, and a probe for tests. One archive holds all.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::binaries::{self, Binaries, Binary};
use crate::components::display;
use crate::error::Error;

/// The image of every pod's first container.
pub const PAUSE_IMAGE: &str = "lab.local/mim-lab/pause:1";
/// The image of the DNS server.
pub(crate) const COREDNS_IMAGE: &str = "lab.local/mim-lab/coredns:1";
/// An image for tests: `/bin/probe` serves, asks, looks up names, writes and reads files (see `lab/go/system/probe`).
pub const PROBE_IMAGE: &str = "lab.local/mim-lab/probe:1";

const IMAGES: [(&str, Binary); 3] = [
    (PAUSE_IMAGE, Binary::Pause),
    (COREDNS_IMAGE, Binary::Coredns),
    (PROBE_IMAGE, Binary::Probe),
];

/// No user of the host, and not root: the images pass PodSecurity `restricted` as they are.
const USER: &str = "65532:65532";

/// The archive with all images, in the cache; made when it is not there yet.
pub(crate) fn archive(binaries: &Binaries) -> Result<PathBuf, Error> {
    let mut hash = Sha256::new();
    for (name, binary) in IMAGES {
        // The folder of a program is named by the digest of what it was built from.
        hash.update(name);
        hash.update(display(binaries.path(binary)?));
    }
    let digest: String = binaries::hex(&hash.finalize()).chars().take(24).collect();
    let path = binaries::cache_folder()?.join(format!("system-images-{digest}.tar"));
    if !path.exists() {
        let scratch = path.with_extension(format!("{}.tmp", std::process::id()));
        write_archive(&scratch, binaries)?;
        fs::rename(&scratch, &path).map_err(Error::file("rename", &path))?;
    }
    Ok(path)
}

/// The OCI image layout (image-spec 1.1, image-layout.md) as one tar file.
fn write_archive(path: &Path, binaries: &Binaries) -> Result<(), Error> {
    let file = fs::File::create(path).map_err(Error::file("write", path))?;
    let mut archive = tar::Builder::new(file);
    let mut manifests = Vec::new();
    for (name, binary) in IMAGES {
        let program =
            fs::read(binaries.path(binary)?).map_err(Error::file("read", binaries.path(binary)?))?;
        let layer = layer(binary.name(), &program).map_err(Error::file("write", path))?;
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"User": USER, "Entrypoint": [format!("/bin/{}", binary.name())]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let mut named = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        if let Value::Object(fields) = &mut named {
            fields.insert(
                "annotations".to_owned(),
                json!({"io.containerd.image.name": name}),
            );
        }
        manifests.push(named);
        for blob in [&layer, &config, &manifest] {
            let name = format!("blobs/sha256/{}", sha256(blob));
            append(&mut archive, &name, 0o644, blob).map_err(Error::file("write", path))?;
        }
    }
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    }))?;
    let finish = |mut archive: tar::Builder<fs::File>| {
        append(
            &mut archive,
            "oci-layout",
            0o644,
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        append(&mut archive, "index.json", 0o644, &index)?;
        archive.into_inner()?.sync_all()
    };
    finish(archive).map_err(Error::file("write", path))
}

/// A layer with one program in `/bin`.
fn layer(name: &str, program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, &format!("bin/{name}"), 0o755, program)?;
    layer.into_inner()
}

fn append(
    archive: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, name, content)
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", sha256(content))
}

fn sha256(content: &[u8]) -> String {
    binaries::hex(&Sha256::digest(content))
}

/// The architecture in the words of Go, which the image specification uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
