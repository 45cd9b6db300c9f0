//! Statistics of tables that nobody has analyzed yet. Without any the planner takes a full table for an almost empty one:
//! right after the load of 300 entities of a type, a query by type and `idPattern` matched the pattern 300 times 300 times.
//! Autovacuum comes by once a minute; from then on statistics are its work.

use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::SimpleQueryMessage::Row;

/// How long one table may take, less than the keeper waits for an answer. `analyze` reads 30,000 rows at most.
const LIMIT: &str = "2s";
/// How long to leave a table alone after an attempt: what another broker is analyzing, and what belongs to another role, is
/// skipped without an error, and a table that takes too long would take it again.
const REST: Duration = Duration::from_mins(1);
/// `reltuples` is -1 until a table is analyzed for the first time (PostgreSQL 14 and later). The size of a table is asked under
/// a lock: of no table but ours, which `offset 0` sees to, and not for long. The smallest comes first.
const MISSING: &str = "set local lock_timeout = '500ms'; \
    select t.name from (select c.oid, format('mim.%I', c.relname) as name from pg_class c \
        where c.relnamespace = to_regnamespace('mim') and c.relkind = 'r' and c.reltuples < 0 offset 0) t \
    where pg_relation_size(t.oid) > 0 order by pg_relation_size(t.oid)";

/// Looks for tables with rows and without statistics, and analyzes them.
#[derive(Debug, Default)]
pub struct Analyst {
    /// Tables, and when they were last tried.
    tried: Vec<(String, Instant)>,
}

impl Analyst {
    /// One table at a time. Fails only where the session does: without statistics queries are slower, and that is all.
    pub async fn look(&mut self, client: &Client) -> Result<(), tokio_postgres::Error> {
        self.tried.retain(|(_, at)| at.elapsed() < REST);
        let missing = unless_refused(client.simple_query(MISSING).await)?.unwrap_or_default();
        let names = missing.iter().filter_map(|message| match message {
            Row(row) => row.get(0),
            _ => None,
        });
        let mut due = names.filter(|name| self.tried.iter().all(|(tried, _)| tried != name));
        let Some(table) = due.next() else {
            return Ok(());
        };
        // Sent as one they are one transaction, with which the limit ends.
        let statements = format!("set local statement_timeout = '{LIMIT}'; analyze (skip_locked) {table}");
        self.tried.push((table.to_owned(), Instant::now()));
        unless_refused(client.batch_execute(&statements).await).map(drop)
    }
}

/// What a statement gave; `None` where the database has refused it, and the session goes on.
fn unless_refused<T>(ended: Result<T, tokio_postgres::Error>) -> Result<Option<T>, tokio_postgres::Error> {
    match ended {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.as_db_error().is_some() => {
            tracing::debug!(%error, "statistics of new tables have to wait");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
