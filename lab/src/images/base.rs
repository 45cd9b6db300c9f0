//! The layer below a program, made once from a recipe and its packages and then kept.

use std::{fs, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    cache::{Cache, write_whole},
    debian::{self, Architecture},
    error::Error,
    layer::{self, Layer, oci_digest, sha256_hex},
    lock::{Locked, PackageLock},
    recipe::Base,
    select::{Libraries, select},
    tree::{Node, Tree},
};

/// Where [`Cache`] keeps base layers.
const KIND: &str = "bases";
const LAYER: &str = "layer.tar.gz";
const DESCRIPTION: &str = "base.json";

/// Raised whenever this code makes another layer from the same recipe and packages.
const FORMAT: u32 = 1;

/// A base layer and what stands in it.
#[derive(Debug, Clone)]
pub(super) struct BaseLayer {
    pub layer: Layer,
    pub description: Description,
    /// What differs from the lock, in words.
    pub drift: Option<String>,
}

/// What is kept beside a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Description {
    digest: String,
    diff_id: String,
    /// Packages that gave files, by name.
    pub packages: Vec<DebianPackage>,
    /// Symbol versions offered to the program.
    pub libraries: Libraries,
}

/// A Debian package as the SBOM tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DebianPackage {
    #[serde(flatten)]
    pub locked: Locked,
    pub architecture: String,
}

impl BaseLayer {
    /// Fails where a container could not start: the entrypoint that a recipe names is no program of its base.
    pub fn check_entrypoint(&self, entrypoint: &str, base: &str, recipe: &Path) -> Result<(), Error> {
        let stream = flate2::read::GzDecoder::new(self.layer.blob.as_slice());
        let tree = Tree::from_tar(stream).map_err(Error::file("read", "base layer"))?;
        let found = tree
            .resolve(entrypoint)
            .and_then(|(path, _)| tree.get(&path).map(|entry| (&entry.node, entry.mode)));
        let wrong = match found {
            _ if !entrypoint.starts_with('/') => "is no path from the root",
            None => "is not in the base",
            Some((Node::File(_), mode)) if mode & 0o001 != 0 => return Ok(()),
            Some((Node::File(_), _)) => "is in the base, and nobody but its owner may run it",
            Some((Node::Folder | Node::Link(_), _)) => "is no file of the base",
        };
        Err(Error::Recipe {
            path: recipe.to_owned(),
            reason: format!(
                "entrypoint {entrypoint} {wrong}: name a program that images/bases/{base}.yaml keeps, or keep it there"
            ),
        })
    }
}

/// The base of a recipe: kept from an earlier build, or made now. `fresh` makes it in any case.
pub(super) fn base_layer(
    cache: &Cache,
    base: &Base,
    lock: &PackageLock,
    architecture: Architecture,
    fresh: bool,
) -> Result<BaseLayer, Error> {
    let found = debian::obtain(cache, &base.packages, lock, architecture)?;
    let drift = lock.differences(&found);
    let key = key(base, &found, architecture)?;
    if !fresh && let Some((layer, description)) = kept(&cache.path(KIND, &key))? {
        return Ok(BaseLayer {
            layer,
            description,
            drift,
        });
    }
    let packages = found
        .iter()
        .map(|package| debian::read(cache, package))
        .collect::<Result<Vec<_>, _>>()?;
    let selection = select(base, &packages, architecture.multiarch)?;
    let layer = layer::pack(&selection.tree)?;
    let description = Description {
        digest: layer.digest.clone(),
        diff_id: layer.diff_id.clone(),
        packages: selection
            .used
            .iter()
            .filter_map(|index| packages.get(*index))
            .map(|package| DebianPackage {
                locked: package.locked.clone(),
                architecture: package.architecture.clone(),
            })
            .collect(),
        libraries: selection.libraries,
    };
    let made = cache.scratch()?;
    write_whole(&made.path().join(LAYER), &layer.blob)?;
    let text = serde_json::to_vec_pretty(&description)
        .map_err(|error| Error::document("description of a base layer")(error.into()))?;
    write_whole(&made.path().join(DESCRIPTION), &text)?;
    cache.keep_folder(made, KIND, &key)?;
    Ok(BaseLayer {
        layer,
        description,
        drift,
    })
}

/// Digest of all that decides what a base layer holds.
fn key(base: &Base, packages: &[Locked], architecture: Architecture) -> Result<String, Error> {
    let inputs = serde_json::to_vec(&(FORMAT, architecture.name, &base.name, base, packages))
        .map_err(|error| Error::document("inputs of a base layer")(error.into()))?;
    Ok(sha256_hex(&inputs))
}

/// A kept layer; `None` when there is none or it is not what its description says.
fn kept(folder: &Path) -> Result<Option<(Layer, Description)>, Error> {
    let path = folder.join(DESCRIPTION);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(Error::file("read", &path))?;
    let Ok(description) = serde_json::from_slice::<Description>(&text) else {
        return Ok(None);
    };
    let path = folder.join(LAYER);
    let blob = fs::read(&path).map_err(Error::file("read", &path))?;
    if oci_digest(&blob) != description.digest {
        return Ok(None);
    }
    let layer = Layer {
        digest: description.digest.clone(),
        diff_id: description.diff_id.clone(),
        blob: Arc::new(blob),
    };
    Ok(Some((layer, description)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::tree::Entry;

    #[test]
    fn an_entrypoint_that_is_no_program_of_the_base_is_refused_in_words() {
        let mut tree = Tree::default();
        tree.insert("usr/sbin/server", Entry::program(*b"x", 1));
        tree.insert("usr/sbin/alias", Entry::link("server", 1));
        tree.insert("usr/sbin/text", Entry::file(*b"x", 1));
        tree.complete(1);
        let layer = layer::pack(&tree).unwrap();
        let base = BaseLayer {
            description: Description {
                digest: layer.digest.clone(),
                diff_id: layer.diff_id.clone(),
                packages: Vec::new(),
                libraries: Libraries::new(),
            },
            layer,
            drift: None,
        };
        let check =
            |entrypoint| base.check_entrypoint(entrypoint, "slim", Path::new("images/server/image.yaml"));
        // A merged /usr leads there too.
        for good in ["/usr/sbin/server", "/usr/sbin/alias", "/sbin/server"] {
            check(good).unwrap();
        }
        for (bad, words) in [
            ("/usr/sbin/sevrer", "is not in the base"),
            ("/usr/sbin/text", "nobody but its owner may run it"),
            ("/usr/sbin", "is no file"),
            ("usr/sbin/server", "is no path from the root"),
        ] {
            let told = check(bad).unwrap_err().to_string();
            for part in ["images/server/image.yaml", bad, words, "images/bases/slim.yaml"] {
                assert!(told.contains(part), "{told}");
            }
        }
    }
}
