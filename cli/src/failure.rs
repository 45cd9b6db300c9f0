//! Why a command ends without having done what it was asked. The exit codes are documented in docs/mimctl.md.

use std::path::{Path, PathBuf};

/// How a command that came to its end did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked.
    Whole,
    /// Some entities were rejected; the file of rejects has them.
    WithRejects,
}

impl Outcome {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::WithRejects => 1,
        }
    }
}

/// Why a command ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line, or files from before that do not fit it.
    #[error("{0}")]
    Usage(String),
    /// The broker did not answer for as long as it was waited for. The same command goes on where this one ended.
    #[error("the broker cannot be used: {why}. Waited {seconds} s; run the same command again to go on")]
    Unreachable {
        /// What happened last.
        why: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// The broker answers, but not as it has to.
    #[error("{0}")]
    Refused(String),
    /// A file of this machine.
    #[error("{}: {source}", path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused(_) => 4,
            Self::Local { .. } => 5,
        }
    }

    /// Of a file.
    pub fn of(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Local { path, source }
    }
}
