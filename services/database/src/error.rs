//! What can be wrong, in sentences that the operator shows in a condition as they are.

use std::io;
use std::path::PathBuf;

/// Why a command failed. No variant holds a password or a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The volume does not hold the data that it is known to have held. The prefix is part of the contract.
    #[error("DataLost: {0}")]
    DataLost(String),
    /// The volume holds something that is no whole data folder of ours.
    #[error("{0}")]
    Volume(String),
    /// `run` or `probe` before `initialise`.
    #[error("{} holds no database; run `mim-database initialise` first", .0.display())]
    NotInitialised(PathBuf),
    /// Another process has the data folder open.
    #[error("another process still uses the data in {}; it must end first (is an old pod still running?)", .0.display())]
    InUse(PathBuf),
    /// The mounted Secret cannot be used.
    #[error("the Secret mounted at {}: {problem}", folder.display())]
    Credentials {
        /// Where it is mounted.
        folder: PathBuf,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// A file cannot be read, written or changed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, a verb.
        action: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A program of PostgreSQL could not be started or failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// Name of the program.
        program: String,
        /// Its last words.
        reason: String,
    },
    /// The server is not ready for sessions yet, or not any more.
    #[error("PostgreSQL does not accept connections yet: {0}")]
    NotReady(String),
    /// The server refused a statement of ours.
    #[error("cannot {action}: {reason}")]
    Statement {
        /// What the statement was for.
        action: String,
        /// The server's message.
        reason: String,
    },
    /// No answer in time.
    #[error("PostgreSQL did not answer within {0} s")]
    NoAnswer(u64),
    /// The server runs, but role, database or extension are not made yet.
    #[error("{0}")]
    NotPrepared(String),
    /// A system call about signals or children failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with what was tried on which path.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
