//! What `ctr` does for the lab: bringing images from OCI archives into the node, and killing containers.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use crate::command;
use crate::error::Error;

/// The namespace in which Kubernetes looks for images.
const NAMESPACE: &str = "k8s.io";
/// The annotation that containerd's import takes the name from.
const NAME: &str = "io.containerd.image.name";

/// `index.json` of an OCI image layout, as far as it is needed here.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    digest: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Imports an archive. Afterwards a pod may name each image by its tag and as `name@sha256:…`, without a registry, with
/// `imagePullPolicy: IfNotPresent`. Returns the names by digest.
pub(crate) fn load(ctr: &Path, socket: &Path, archive: &Path) -> Result<Vec<String>, Error> {
    let index = read_index(archive)?;
    let socket = socket.display().to_string();
    let run = |args: &[&str]| {
        let mut all = vec!["--address", &socket, "--namespace", NAMESPACE, "images"];
        all.extend(args);
        command::run(ctr, &all, None)
    };
    run(&["import", &archive.display().to_string()])?;
    let mut names = Vec::new();
    for (name, digest) in named(&index) {
        let by_digest = format!("{}@{digest}", repository(name));
        if name != by_digest {
            run(&["tag", "--force", name, &by_digest])?;
        }
        names.push(by_digest);
    }
    if names.is_empty() {
        let reason = format!("no image in its index.json has a name (annotation {NAME})");
        return Err(Error::Content {
            path: archive.to_owned(),
            reason,
        });
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Sends SIGKILL to every process of a container, named as a pod's status does.
pub(crate) fn kill(ctr: &Path, socket: &Path, id: &str) -> Result<(), Error> {
    let id = id.strip_prefix("containerd://").unwrap_or(id);
    let socket = socket.display().to_string();
    let arguments = [
        "--address",
        &socket,
        "--namespace",
        NAMESPACE,
        "tasks",
        "kill",
        "--signal",
        "SIGKILL",
        "--all",
        id,
    ];
    command::run(ctr, &arguments, None).map(drop)
}

fn named(index: &Index) -> impl Iterator<Item = (&str, &str)> {
    index
        .manifests
        .iter()
        .filter_map(|manifest| Some((manifest.annotations.get(NAME)?.as_str(), manifest.digest.as_str())))
}

/// A name without its tag and digest. A colon before the last slash belongs to the registry's port.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let tag = name.get(start..).and_then(|last| last.find(':'));
    tag.and_then(|colon| name.get(..start + colon)).unwrap_or(name)
}

fn read_index(path: &Path) -> Result<Index, Error> {
    let file = std::fs::File::open(path).map_err(Error::file("read", path))?;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(Error::file("read", path))? {
        let mut entry = entry.map_err(Error::file("read", path))?;
        let name = entry.path().map_err(Error::file("read", path))?.into_owned();
        if name.strip_prefix(".").unwrap_or(&name) == Path::new("index.json") {
            let mut text = String::new();
            entry
                .read_to_string(&mut text)
                .map_err(Error::file("read", path))?;
            let reason = |error: serde_json::Error| Error::Content {
                path: path.to_owned(),
                reason: error.to_string(),
            };
            return serde_json::from_str(&text).map_err(reason);
        }
    }
    let reason =
        "it has no index.json; the lab loads OCI archives, as `mim-lab images` writes them".to_owned();
    Err(Error::Content {
        path: path.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_tag_and_digest_only() {
        assert_eq!(repository("lab.local/mim/broker:0.1.0"), "lab.local/mim/broker");
        assert_eq!(repository("localhost:5000/broker"), "localhost:5000/broker");
        assert_eq!(
            repository("localhost:5000/broker:1@sha256:ab"),
            "localhost:5000/broker"
        );
        assert_eq!(repository("broker"), "broker");
    }

    #[test]
    fn an_archive_of_another_kind_is_refused_with_a_reason() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut archive = tar::Builder::new(file.reopen().unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        archive
            .append_data(&mut header, "manifest.json", &b"[]"[..])
            .unwrap();
        archive.finish().unwrap();
        let error = read_index(file.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("no index.json"), "{error}");
    }
}
