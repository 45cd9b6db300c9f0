//! Is the database there? One real question.

use std::time::Duration;

use crate::config::Config;
use crate::error::Error;
use crate::{session, state};

/// The whole probe ends within this time; the kubelet's own timeout is 5 s.
pub const LIMIT: Duration = Duration::from_secs(4);

/// Asks the broker's database, through a new session on the local socket, for its PostGIS version. Fails until `run`
/// has made role, database and extension, with the reason.
pub async fn probe(config: &Config) -> Result<(), Error> {
    tokio::time::timeout(LIMIT, ask(config))
        .await
        .unwrap_or(Err(Error::NoAnswer(LIMIT.as_secs())))
}

async fn ask(config: &Config) -> Result<(), Error> {
    let database = state::database(config)?;
    let session = session::open(config, &database, LIMIT).await?;
    let found = session
        .client
        .query_opt(
            "SELECT extversion FROM pg_extension WHERE extname = 'postgis'",
            &[],
        )
        .await
        .map_err(|error| Error::Statement {
            action: "query the database".to_owned(),
            reason: session::words(&error),
        })?;
    if found.is_some() {
        Ok(())
    } else {
        Err(Error::NotPrepared(format!(
            "database {database} has no extension postgis"
        )))
    }
}
