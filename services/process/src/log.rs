//! Logs, on stderr.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A line of JSON each.
    Json,
}

/// Begins to log, once in a process. The environment's `MIM_LOG` is a filter (`info`, `mim_broker=debug`).
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("MIM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
