//! Statistics of tables that nobody has analyzed yet. Without any the planner takes a full table for an almost empty one:
//! right after the load of 300 entities of a type, a query by type and `idPattern` matched the pattern 300 times 300 times.
//! Autovacuum comes by once a minute; from then on statistics are its work.

use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::SimpleQueryMessage::Row;

/// How long one table may take, less than the keeper waits for an answer. `analyze` reads 30,000 rows at most.
const LIMIT: &str = "2s";
/// How long to leave a table alone after an attempt. What another broker was analyzing, and what belongs to another role, is
/// skipped without an error.
const REST: Duration = Duration::from_mins(1);
/// `reltuples` is -1 until a table is analyzed for the first time (PostgreSQL 14 and later). The size of a table is asked under
/// a lock: of no table but ours, hence the `case`, and not for long. The smallest comes first.
const MISSING: &str = "set local lock_timeout = '500ms'; \
    select t.name from (select format('%I.%I', n.nspname, c.relname) as name, \
        case when n.nspname = 'mim' and c.relkind = 'r' and c.reltuples < 0 then pg_relation_size(c.oid) else 0 end as size \
        from pg_class c join pg_namespace n on n.oid = c.relnamespace offset 0) t \
    where t.size > 0 order by t.size limit 1";

/// Asks for a table with rows and without statistics, and analyzes it.
#[derive(Debug, Default)]
pub struct Analyst {
    rests: Option<Instant>,
}

impl Analyst {
    /// One table at a time. Fails only where the session does: without statistics queries are slower, and that is all.
    pub async fn look(&mut self, client: &Client) -> Result<(), tokio_postgres::Error> {
        if self.rests.is_some_and(|since| since.elapsed() < REST) {
            return Ok(());
        }
        self.rests = None;
        let Some(table) = missing(client).await? else {
            return Ok(());
        };
        // Sent as one they are one transaction, with which the limit ends.
        let statements = format!("set local statement_timeout = '{LIMIT}'; analyze (skip_locked) {table}");
        match client.batch_execute(&statements).await {
            Ok(()) => {}
            Err(error) if error.as_db_error().is_some() => {
                tracing::info!(%error, table, "no statistics of a new table yet");
            }
            Err(error) => return Err(error),
        }
        if missing(client).await?.is_some_and(|still| still == table) {
            self.rests = Some(Instant::now());
        }
        Ok(())
    }
}

async fn missing(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let answer = match client.simple_query(MISSING).await {
        Ok(answer) => answer,
        Err(error) if error.as_db_error().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(answer.iter().find_map(|message| match message {
        Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
