//! The release catalogue: which images make a release, by digest. The operator reads it (`--releases`, in its chart).
//!
//! The release that is being developed is written anew by every build. A published one stands in
//! `images/releases/<name>.yaml` with `published: true`; it is copied into every catalogue and never changes.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{cache::write_whole, error::Error};

/// All releases, newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The releases.
    pub releases: Vec<Release>,
}

/// A tested set of operand images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// What a user writes into `spec.release`.
    pub name: String,
    /// Major version of PostgreSQL.
    pub postgresql: u32,
    /// Image of each operand.
    pub images: BTreeMap<String, ImageReference>,
}

/// An image without its registry, which the chart adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReference {
    /// e.g. `mim/broker`.
    pub repository: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
}

/// A file of `images/releases`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    /// Whether users may have it: then it never changes.
    published: bool,
    #[serde(flatten)]
    release: Release,
}

/// The catalogue of all kept releases and `current`. Refuses a `current` that differs from the published release of
/// its name.
pub(super) fn catalogue(images: &Path, current: Release) -> Result<Catalogue, Error> {
    let mut releases = Vec::new();
    let mut published_already = false;
    for (path, kept) in read_kept(images)? {
        if kept.release.name == current.name {
            if !kept.published {
                continue;
            }
            if let Some(difference) = difference(&kept.release, &current) {
                return Err(Error::Published {
                    release: current.name,
                    path,
                    difference,
                });
            }
            published_already = true;
        }
        releases.push(kept.release);
    }
    if !published_already {
        releases.push(current);
    }
    Ok(Catalogue { releases })
}

/// Writes a release down as published; does nothing when it is already, and refuses another of the same name.
pub(super) fn publish(images: &Path, release: &Release) -> Result<(), Error> {
    catalogue(images, release.clone())?;
    let kept = Kept {
        published: true,
        release: release.clone(),
    };
    write_whole(
        &folder(images).join(format!("{}.yaml", release.name)),
        to_yaml(&kept)?.as_bytes(),
    )
}

/// A document as YAML.
pub(super) fn to_yaml(document: &impl Serialize) -> Result<String, Error> {
    serde_yaml::to_string(document).map_err(|error| Error::document("YAML")(error.into()))
}

fn folder(images: &Path) -> std::path::PathBuf {
    images.join("releases")
}

fn read_kept(images: &Path) -> Result<Vec<(std::path::PathBuf, Kept)>, Error> {
    let folder = folder(images);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::file("read", &folder))? {
        let path = entry.map_err(Error::file("read", &folder))?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut kept = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        match serde_yaml::from_str(&text) {
            Ok(release) => kept.push((path, release)),
            Err(error) => {
                return Err(Error::Recipe {
                    path,
                    reason: error.to_string(),
                });
            }
        }
    }
    Ok(kept)
}

/// What differs between two releases of one name, in words.
fn difference(published: &Release, built: &Release) -> Option<String> {
    if published.postgresql != built.postgresql {
        return Some(format!(
            "PostgreSQL {} would become {}",
            published.postgresql, built.postgresql
        ));
    }
    let names = published.images.keys().chain(built.images.keys());
    names.into_iter().find_map(
        |name| match (published.images.get(name), built.images.get(name)) {
            (Some(before), Some(after)) if before == after => None,
            (Some(before), Some(after)) => Some(format!(
                "image {name} {} would become {}",
                before.digest, after.digest
            )),
            (Some(_), None) => Some(format!("image {name} would be gone")),
            (None, _) => Some(format!("image {name} would be new")),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str, digest: &str) -> Release {
        let reference = ImageReference {
            repository: "mim/broker".into(),
            digest: digest.into(),
        };
        Release {
            name: name.into(),
            postgresql: 15,
            images: BTreeMap::from([("broker".into(), reference)]),
        }
    }

    #[test]
    fn a_development_release_is_rewritten() {
        let folder = tempfile::tempdir().unwrap();
        for digest in ["sha256:a", "sha256:b"] {
            let current = release("0.1.0", digest);
            assert_eq!(
                catalogue(folder.path(), current.clone()).unwrap().releases,
                [current]
            );
        }
    }

    #[test]
    fn a_published_release_stays_beside_the_next_and_never_changes() {
        let folder = tempfile::tempdir().unwrap();
        let published = release("0.1.0", "sha256:a");
        publish(folder.path(), &published).unwrap();
        publish(folder.path(), &published).unwrap();
        let next = release("0.2.0", "sha256:b");
        assert_eq!(
            catalogue(folder.path(), next.clone()).unwrap().releases,
            [published.clone(), next]
        );
        assert_eq!(
            catalogue(folder.path(), published.clone()).unwrap().releases,
            [published]
        );

        let changed = release("0.1.0", "sha256:b");
        let error = publish(folder.path(), &changed).unwrap_err().to_string();
        assert!(
            error.contains("never changes") && error.contains("sha256:a would become sha256:b"),
            "{error}"
        );
        let error = catalogue(folder.path(), changed).unwrap_err().to_string();
        assert!(error.contains("raise `version`"), "{error}");
    }

    #[test]
    fn the_file_has_the_members_that_the_operator_reads() {
        let text = to_yaml(&Catalogue {
            releases: vec![release("0.1.0", "sha256:a")],
        })
        .unwrap();
        let expected = "releases:\n- name: 0.1.0\n  postgresql: 15\n  images:\n    broker:\n      \
                        repository: mim/broker\n      digest: sha256:a\n";
        assert_eq!(text, expected);
    }
}
