//! What can go wrong, in words that say what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Everything that stops the lab.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read, written, locked or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: "read", "write", "lock" and so on.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program, as it was asked for.
        program: String,
        /// What the system answered.
        source: io::Error,
    },
    /// A program ran and said no.
    #[error("{command} failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it printed last.
        output: String,
    },
    /// Something that the machine must bring is not there.
    #[error("{what} is missing; {install}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        install: String,
    },
    /// A process of the lab ended while the lab needed it.
    #[error("{name} ended ({status}); the end of {}:\n{tail}", log.display())]
    Ended {
        /// Which process.
        name: String,
        /// Its exit status.
        status: String,
        /// Its log file, which may be gone by the time this is read.
        log: PathBuf,
        /// The last lines of that file.
        tail: String,
    },
    /// Something did not become true in time.
    #[error("waited {seconds} s for {what}; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        seconds: u64,
        /// What was the case instead.
        last: String,
    },
    /// There is no lab where one is needed.
    #[error("no lab is up in {}; start one with `mim-lab up`", .0.display())]
    NotUp(PathBuf),
    /// A file of the lab holds something that this version does not understand.
    #[error("{} is not readable: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The machine is in a state that the lab must not change by itself.
    #[error("{0}")]
    Refused(String),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// NetworkPolicies are not enforced.
    #[error("network policies: {0}")]
    Netpol(#[from] crate::netpol::Error),
    /// The API server of the lab said no.
    #[error("the lab's API server: {0}")]
    Api(#[from] kube::Error),
    /// A kubeconfig file is not usable.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No image could be built.
    #[error(transparent)]
    Images(#[from] crate::images::Error),
    /// A value could not be written as YAML.
    #[error("cannot write YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    /// A value could not be written as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// For `map_err`: names the file and what was tried.
    pub(crate) fn file(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err`: names the program that could not be started.
    pub(crate) fn run(program: impl AsRef<std::ffi::OsStr>) -> impl FnOnce(io::Error) -> Self {
        let program = program.as_ref().to_string_lossy().into_owned();
        move |source| Self::Run { program, source }
    }
}
