//! Why nothing could be measured.

use std::path::PathBuf;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not the suite.
    #[error(
        "{path} is not a checkout of ETSI's NGSI-LD test suite: {missing} is not there; tests/etsi/README.md says how to get it"
    )]
    NoSuite { path: PathBuf, missing: &'static str },
    /// Robot Framework is missing or does not have what the suite needs.
    #[error(
        "{program} cannot be used: {why}; install the suite's requirements into {venv} as tests/etsi/README.md says"
    )]
    NoRobot {
        program: PathBuf,
        why: String,
        venv: PathBuf,
    },
    /// A program is missing.
    #[error("{program} cannot be started: {source}; {advice}")]
    Start {
        program: PathBuf,
        source: std::io::Error,
        advice: &'static str,
    },
    /// No network of its own can be made.
    #[error("no network of its own for the run: {why}; run as root, or allow user namespaces")]
    NoNetwork { why: String },
    /// The broker is not there in time, or has ended.
    #[error("the broker {what}; its log is {log}")]
    Broker { what: String, log: PathBuf },
    /// A group did not come to an end.
    #[error("robot ended without a result for {group}: {why}; what it said is in {console}")]
    NoResult {
        group: &'static str,
        why: String,
        console: PathBuf,
    },
    /// The file of expectations is wrong.
    #[error("{path}: {why}")]
    Expected { path: PathBuf, why: String },
    /// No group has such a name.
    #[error("no group's name contains {name:?}; there are {all}")]
    NoGroup { name: String, all: String },
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// What the steps return.
pub type Result<T> = std::result::Result<T, Error>;
