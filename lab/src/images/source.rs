//! Which sources an image is built from: the workspace, the commit and its time.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::{Metadata, MetadataCommand, Package};

use super::{
    error::Error,
    process::{GIT, output},
    recipe::Image,
};

/// Files of the workspace that decide about every program.
const SHARED_INPUTS: [&str; 4] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "lab/src/images",
];

/// The workspace as cargo describes it.
#[derive(Debug)]
pub struct Sources {
    /// Cargo's description, with the dependencies of this host's target only.
    pub metadata: Metadata,
    /// Root folder of the checkout.
    pub root: PathBuf,
    /// Given by the caller instead of git's answer.
    revision: Option<String>,
    /// `SOURCE_DATE_EPOCH`, instead of the commit's time.
    epoch: Option<u64>,
}

/// Which commit an image is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The newest commit that touched the image's sources; `-dirty` behind it when they are changed since.
    pub name: String,
    /// Its time in seconds since 1970: that of the image and of its own files.
    pub epoch: u64,
}

impl Revision {
    /// Whether the sources are exactly those of a commit.
    pub fn is_clean(&self) -> bool {
        !self.name.ends_with("-dirty")
    }
}

impl Sources {
    /// Asks cargo about the workspace around `folder`.
    pub fn find(folder: &Path, revision: Option<String>, epoch: Option<u64>) -> Result<Self, Error> {
        let metadata = MetadataCommand::new()
            .current_dir(folder)
            .other_options(vec!["--locked".into(), "--filter-platform".into(), host_target()])
            .exec()?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        Ok(Self {
            metadata,
            root,
            revision,
            epoch,
        })
    }

    /// Folder of the recipes.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// A crate of the workspace.
    pub fn package(&self, name: &str) -> Result<&Package, Error> {
        let packages = self.metadata.workspace_packages();
        packages
            .into_iter()
            .find(|package| package.name.as_str() == name)
            .ok_or_else(|| Error::Recipe {
                path: self.images(),
                reason: format!("package: {name} is no crate of the workspace"),
            })
    }

    /// The commit of an image: the newest that touched what it is built from, so that a commit which does not concern
    /// an image leaves its digest as it is.
    pub fn revision(&self, image: &Image) -> Result<Revision, Error> {
        if let (Some(name), Some(epoch)) = (&self.revision, self.epoch) {
            return Ok(Revision {
                name: name.clone(),
                epoch,
            });
        }
        let inputs = self.inputs(image)?;
        let said = self.git(&["log", "-1", "--format=%H %ct"], &inputs)?;
        let (commit, time) = match said.split_once(' ') {
            Some((commit, time)) => (commit.to_owned(), time.parse().ok()),
            None => {
                return Err(Error::Revision {
                    reason: "no commit has the image's sources".into(),
                });
            }
        };
        let epoch = self
            .epoch
            .or(time)
            .ok_or_else(|| Error::Revision { reason: said.clone() })?;
        let changed = self.git(&["status", "--porcelain", "--untracked-files=all"], &inputs)?;
        let suffix = if changed.is_empty() { "" } else { "-dirty" };
        Ok(Revision {
            name: self.revision.clone().unwrap_or(format!("{commit}{suffix}")),
            epoch,
        })
    }

    fn git(&self, arguments: &[&str], paths: &BTreeSet<String>) -> Result<String, Error> {
        let mut command = Command::new(GIT.name);
        // A build only looks: it must not be in the way of a commit that happens meanwhile.
        command
            .arg("--no-optional-locks")
            .arg("-C")
            .arg(&self.root)
            .args(arguments)
            .arg("--")
            .args(paths);
        let said = output(GIT, &mut command).map_err(|error| match error {
            Error::Command { output, .. } => Error::Revision { reason: output },
            other => other,
        })?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// Paths of the repository that an image is built from, relative to its root.
    fn inputs(&self, image: &Image) -> Result<BTreeSet<String>, Error> {
        let mut inputs: BTreeSet<String> = SHARED_INPUTS.iter().map(|path| (*path).to_owned()).collect();
        inputs.insert(format!("images/{}", image.name));
        inputs.insert(format!("images/bases/{}.yaml", image.base));
        inputs.insert("images/*.lock".to_owned());
        let mut waiting = Vec::new();
        if let Some(package) = &image.package {
            waiting.push(self.package(package)?);
        }
        while let Some(package) = waiting.pop() {
            let folder = package
                .manifest_path
                .parent()
                .map(|folder| folder.as_std_path().to_owned());
            let Some(folder) =
                folder.and_then(|folder| Some(folder.strip_prefix(&self.root).ok()?.to_owned()))
            else {
                continue;
            };
            if !inputs.insert(folder.to_string_lossy().into_owned()) {
                continue;
            }
            let normal = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.path.is_some())
                .filter(|dependency| dependency.kind != cargo_metadata::DependencyKind::Development);
            for dependency in normal {
                waiting.push(self.package(&dependency.name)?);
            }
        }
        Ok(inputs)
    }
}

/// The target that cargo builds for by default: the host's, as this program runs on it.
fn host_target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}
