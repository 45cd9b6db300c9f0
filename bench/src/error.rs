//! Why a benchmark ends without its numbers. A missed goal is none of these.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a benchmark ends without its numbers.
#[derive(Debug, Error)]
pub enum Error {
    /// The control plane does not start or stop.
    #[error("the lab: {0}")]
    Lab(#[from] mim_lab::Error),
    /// A step of the demo fails.
    #[error(transparent)]
    Demo(#[from] mim_tests::demo::error::Error),
    /// The API server cannot be reached, or says no.
    #[error("the API server: {0}")]
    Kube(#[from] kube::Error),
    /// The API server's answer to a request of the benchmark is no success.
    #[error("{method} {target} was answered with {status}: {body}")]
    Answer {
        /// HTTP method.
        method: String,
        /// Path and query.
        target: String,
        /// HTTP status.
        status: u16,
        /// The start of the answer.
        body: String,
    },
    /// A program that the benchmark uses fails.
    #[error("{program}: {said}")]
    Program {
        /// Which.
        program: String,
        /// What it says of it.
        said: String,
    },
    /// The database says no, or cannot be reached.
    #[error("the database: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// A connection of the load ends too early.
    #[error("{what}: {source}")]
    Connection {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is awaited did not come in time.
    #[error("{what} was not reached in {seconds} s: {last}")]
    Timeout {
        /// What is awaited.
        what: String,
        /// How long.
        seconds: u64,
        /// How things stand.
        last: String,
    },
    /// The measured process ended, or cannot be asked.
    #[error("the measured process: {0}; its log is {log}", log = .1.display())]
    Process(String, PathBuf),
    /// Something in an answer is not as the benchmark needs it.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// Names the file.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
