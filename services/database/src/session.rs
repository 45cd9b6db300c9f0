//! Sessions of the superuser on the local socket.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use crate::config::Config;
use crate::error::Error;

/// Opens a session as `postgres`; the operating system vouches for us (peer), no password exists.
///
/// Nothing of the session's statements reaches the log, not even of failing ones: they hold verifiers.
pub async fn open(config: &Config, database: &str, timeout: Duration) -> Result<Session, Error> {
    let mut options = tokio_postgres::Config::new();
    options
        .host_path(&config.sockets)
        .port(config.port)
        .user("postgres")
        .dbname(database)
        .application_name("mim-database")
        .connect_timeout(timeout)
        .options("-c log_statement=none -c log_min_error_statement=panic -c log_min_duration_statement=-1 -c lock_timeout=30s");
    let connected = tokio::time::timeout(timeout, options.connect(NoTls)).await;
    let (client, connection) = connected
        .map_err(|_| Error::NoAnswer(timeout.as_secs()))?
        .map_err(|error| not_connected(&error))?;
    let task = tokio::spawn(async move {
        // A broken connection shows in the statement that waits for it.
        let _ = connection.await;
    });
    Ok(Session { client, task })
}

/// A session that ends with its value.
#[derive(Debug)]
pub struct Session {
    /// Runs statements.
    pub client: Client,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server's own message, without the statement.
#[must_use]
pub fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => server.message().to_owned(),
        None => error.to_string(),
    }
}

fn not_connected(error: &tokio_postgres::Error) -> Error {
    match error.code() {
        Some(code) if *code != SqlState::CANNOT_CONNECT_NOW => Error::Statement {
            action: "open a session on the local socket".to_owned(),
            reason: words(error),
        },
        Some(_) => Error::NotReady(words(error)),
        None => Error::NotReady(io_words(error)),
    }
}

fn io_words(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}
