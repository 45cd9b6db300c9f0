//! Statistics of tables that nobody has analyzed yet. Without any the planner takes a full table for an almost empty one:
//! right after the load of 300 entities of a type, a query by type and `idPattern` matched the pattern 300 times 300 times.
//! Autovacuum comes by once a minute; from then on statistics are its work.

use crate::store::settings::Settings;
use crate::store::trouble::answered;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::SimpleQueryMessage::Row;

/// How long one attempt may take. `analyze` reads 30,000 rows of a table at most; where that takes longer, autovacuum does it.
const LIMIT: &str = "2s";
/// How long to wait for the end of an attempt: the next look at the session then shows what is wrong with it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to rest after an attempt that failed.
const REST: Duration = Duration::from_mins(1);
/// `reltuples` is -1 until a table is analyzed for the first time (PostgreSQL 14 and later).
const MISSING: &str = "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where n.nspname = 'mim' and c.relkind = 'r' and c.reltuples < 0 and pg_relation_size(c.oid) > 0";

/// The tables with rows and without statistics, ready to be put into a statement. Asked once a second, it is also what
/// shows that the database is there.
pub async fn missing(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let answer = client.simple_query(MISSING).await?;
    let rows = answer.iter().filter_map(|message| match message {
        Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.collect())
}

/// Analyzes tables, unless an attempt has failed a short while ago.
#[derive(Debug, Default)]
pub struct Analyst {
    failed: Option<Instant>,
}

impl Analyst {
    /// Never fails: without statistics queries are slower, and a connection that is gone is noticed elsewhere.
    pub async fn analyze(&mut self, client: &Client, settings: &Settings, tables: &[String]) {
        if tables.is_empty() || self.failed.is_some_and(|at| at.elapsed() < REST) {
            return;
        }
        // One transaction, so the limit ends with it. What another broker is analyzing is left to it.
        let statements = format!(
            "begin; set local statement_timeout = '{LIMIT}'; analyze (skip_locked) {}; commit",
            tables.join(", ")
        );
        self.failed = match answered(PATIENCE, settings, client.batch_execute(&statements)).await {
            Ok(()) => None,
            Err(trouble) => {
                tracing::info!(%trouble, ?tables, "no statistics of new tables yet; autovacuum makes them too");
                let _ = answered(PATIENCE, settings, client.batch_execute("rollback")).await;
                Some(Instant::now())
            }
        };
    }
}
