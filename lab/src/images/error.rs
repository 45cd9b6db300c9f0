//! What can stop a build of images, said so that the reader knows what to do next.

use std::{io, path::PathBuf, process::ExitStatus};

/// Why no image came out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that the build needs is not there.
    #[error("{tool} is needed to {purpose} and is not installed: {install}")]
    ToolMissing {
        /// The program.
        tool: &'static str,
        /// What it is needed for.
        purpose: &'static str,
        /// How to install it.
        install: &'static str,
    },
    /// A program that the build started did not succeed.
    #[error("{command} failed ({status}):\n{output}")]
    Command {
        /// The program and its first argument.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of what it printed.
        output: String,
    },
    /// A recipe, lock or release file does not say what it must.
    #[error("{}: {reason}", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong in it and what to write.
        reason: String,
    },
    /// Cargo's description of the workspace could not be had.
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    /// A Debian package does not hold what its name promises.
    #[error("Debian package {package}: {reason}")]
    Package {
        /// Name and version.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// Something an image would need at run time is in none of its packages.
    #[error("{needed} is needed by {by} and is in no package of {base}: {advice}")]
    Incomplete {
        /// The library, file or symbol version.
        needed: String,
        /// The file that needs it.
        by: String,
        /// The recipe.
        base: String,
        /// What to add or change.
        advice: &'static str,
    },
    /// An ELF file could not be read.
    #[error("{path} is no ELF file that can be read: {reason}")]
    Elf {
        /// The file.
        path: String,
        /// What the reader said.
        reason: String,
    },
    /// The mirror's packages are not those of the lock, and the caller wanted exactly those.
    #[error("{}: the mirror no longer has these versions, or has others: {differences}; \
             write a new lock with `mim-lab images --update-packages`", lock.display())]
    Drift {
        /// The lock file.
        lock: PathBuf,
        /// Name, locked version and found version of each.
        differences: String,
    },
    /// A document of the image could not be made.
    #[error("{document}: {reason}")]
    Document {
        /// Which document.
        document: &'static str,
        /// What its library said.
        reason: String,
    },
    /// A published release would change.
    #[error(
        "release {release} is published ({}) and never changes: {difference}; raise `version` in Cargo.toml, \
         or name another with --release", path.display()
    )]
    Published {
        /// Name of the release.
        release: String,
        /// Where it is written down.
        path: PathBuf,
        /// What would have changed.
        difference: String,
    },
    /// A release must come from a clean commit and locked packages.
    #[error("release {release} cannot be published: {reason}")]
    NotPublishable {
        /// Name of the release.
        release: String,
        /// What must be done first.
        reason: String,
    },
    /// Two builds of the same inputs differ.
    #[error("image {image} is not reproducible: {first} and then {second}")]
    NotReproducible {
        /// The image.
        image: String,
        /// Digest of the first build.
        first: String,
        /// Digest of the second build.
        second: String,
    },
    /// Neither git nor the caller says which sources these are.
    #[error(
        "cannot tell which commit this is ({reason}): build in a git checkout, or set SOURCE_DATE_EPOCH and --revision"
    )]
    Revision {
        /// What git said.
        reason: String,
    },
    /// No folder to keep things in between builds.
    #[error("no cache folder: set XDG_CACHE_HOME or HOME")]
    NoCache,
}

impl Error {
    /// For `map_err` on file operations.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on libraries that write documents.
    pub(super) fn document(document: &'static str) -> impl FnOnce(Box<dyn std::error::Error>) -> Self {
        move |reason| Self::Document {
            document,
            reason: reason.to_string(),
        }
    }
}
