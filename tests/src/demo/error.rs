//! Why the demo stopped.

use std::path::PathBuf;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that the demo runs is not there.
    #[error("{program} cannot be started: {source}; {advice}")]
    Start {
        /// Its name or path.
        program: String,
        /// Why.
        source: std::io::Error,
        /// Where to get it.
        advice: &'static str,
    },
    /// A program that the demo runs has failed.
    #[error("`{command}` failed ({status}){output}")]
    Failed {
        /// As one would type it.
        command: String,
        /// Its end.
        status: std::process::ExitStatus,
        /// What it said, where that is not on the screen already.
        output: String,
    },
    /// A file of this checkout or of the images is not there.
    #[error("{path} cannot be read: {source}; {advice}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// How to make it.
        advice: &'static str,
    },
    /// The lab cannot be used.
    #[error(transparent)]
    Lab(#[from] mim_lab::Error),
    /// The kubeconfig cannot be used.
    #[error("no way to the cluster: {0}; `kubectl config get-contexts` lists what can be named")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server said no, or nothing.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// Something took too long.
    #[error("{what}: not within {seconds} s; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// What it looked like at the end.
        last: String,
    },
    /// No answer came over HTTP.
    #[error("{request}: {reason}")]
    NoAnswer {
        /// Method and path.
        request: String,
        /// What happened.
        reason: String,
    },
    /// The stack did something that it promises not to do.
    #[error("{0}")]
    Broken(String),
}

/// What the demo's steps return.
pub type Result<T> = std::result::Result<T, Error>;
