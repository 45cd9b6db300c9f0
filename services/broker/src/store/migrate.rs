//! The schema: versioned, embedded, forward-only.
//!
//! Every replica runs this at start and after each loss of the database. A lock of the database lets one of them work
//! at a time; the others then find nothing to do. Each version is one transaction with its own row in
//! `mim.migrations`, so a crash leaves a whole version or none. A schema newer than this broker is left alone: versions
//! only ever add (expand, migrate, contract), so the broker before still serves.
//!
//! A migration waits for a table only for a moment, as everybody who comes after it waits behind it: where others hold what
//! it changes in a transaction that is open for long, it gives up, and comes again after a rest that grows.

use crate::store::settings::Settings;
use crate::store::trouble::{Trouble, answered};
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

/// The oldest server that is taken, as `server_version_num`.
const OLDEST_SERVER: i32 = 150_000;
/// The key of the lock: "mim" in ASCII.
const LOCK: i64 = 0x006d_696d;

/// How long a migration waits for each lock: longer than transactions of brokers take, shorter than requests wait.
const HELD: &str = "2s";

/// What the server is: its version as a number and as a text, and whether it keeps what it has acknowledged.
const SERVER: &str = "select current_setting('server_version_num')::int, current_setting('server_version'), \
    current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on'";

/// The migrations in order; the version is the position, from 1.
const MIGRATIONS: [(&str, &str); 15] = [
    ("entities", include_str!("../../migrations/0001_entities.sql")),
    ("searchable", include_str!("../../migrations/0002_searchable.sql")),
    ("contexts", include_str!("../../migrations/0003_contexts.sql")),
    ("history", include_str!("../../migrations/0004_history.sql")),
    (
        "subscriptions",
        include_str!("../../migrations/0005_subscriptions.sql"),
    ),
    ("temporal", include_str!("../../migrations/0006_temporal.sql")),
    ("past_only", include_str!("../../migrations/0007_past_only.sql")),
    (
        "dropped_tenants",
        include_str!("../../migrations/0008_dropped_tenants.sql"),
    ),
    ("quotas", include_str!("../../migrations/0009_quotas.sql")),
    ("contract", include_str!("../../migrations/0010_contract.sql")),
    ("throttled", include_str!("../../migrations/0011_throttled.sql")),
    (
        "lanes_by_key",
        include_str!("../../migrations/0012_lanes_by_key.sql"),
    ),
    (
        "lanes_unflushed",
        include_str!("../../migrations/0013_lanes_unflushed.sql"),
    ),
    ("intervals", include_str!("../../migrations/0014_intervals.sql")),
    (
        "deleted_contexts",
        include_str!("../../migrations/0015_deleted_contexts.sql"),
    ),
];

/// How long the server may take for what takes no time, for the lock (its `lock_timeout` and some), and for a migration or
/// an extension (its `statement_timeout` and some). Beyond that it does not answer at all.
const QUICK: Duration = Duration::from_secs(15);
const LOCKED: Duration = Duration::from_secs(40);
const MIGRATED: Duration = Duration::from_secs(610);

/// Checks the server, makes what is missing, and returns the search path for sessions.
pub async fn migrate(client: &Client, settings: &Settings) -> Result<String, Trouble> {
    let row = answered(QUICK, settings, client.query_one(SERVER, &[])).await?;
    let (number, version, durable): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
    new_enough(number, version)?;
    if !durable {
        tracing::warn!(
            "the database runs without fsync or full_page_writes: a crash of its machine can lose accepted writes"
        );
    }
    // A first start may wait for another replica's migration; statements of a migration may take long.
    let limits = client.batch_execute("set statement_timeout = '10min'; set lock_timeout = '30s'");
    answered(QUICK, settings, limits).await?;
    let lock = client.execute("select pg_advisory_lock($1)", &[&LOCK]);
    answered(LOCKED, settings, lock).await?;
    let outcome = migrate_alone(client, settings).await;
    // The lock ends with the session too, if this does not reach the server.
    let unlock = client.execute("select pg_advisory_unlock($1)", &[&LOCK]);
    let _ = answered(QUICK, settings, unlock).await;
    outcome
}

fn new_enough(number: i32, version: String) -> Result<(), Trouble> {
    if number < OLDEST_SERVER {
        return Err(Trouble::TooOld(version));
    }
    Ok(())
}

async fn migrate_alone(client: &Client, settings: &Settings) -> Result<String, Trouble> {
    let postgis = postgis_schema(client, settings).await?;
    let search_path = format!("mim, {postgis}");
    let parameters: [&(dyn ToSql + Sync); 1] = [&search_path];
    let set = client.execute("select set_config('search_path', $1, false)", &parameters);
    answered(QUICK, settings, set).await?;
    let known = client.query_one("select to_regclass('mim.migrations') is not null", &[]);
    if !answered(QUICK, settings, known).await?.get::<_, bool>(0) {
        let first = client.batch_execute("create schema if not exists mim; create table if not exists mim.migrations (version integer primary key, name text not null, applied timestamptz not null default now())");
        answered(QUICK, settings, first).await?;
    }
    let current = client.query_one("select coalesce(max(version), 0) from mim.migrations", &[]);
    let row = answered(QUICK, settings, current).await?;
    let current: i32 = row.get(0);
    for ((name, sql), version) in MIGRATIONS.iter().zip(1..) {
        if version > current {
            apply(client, settings, version, name, sql).await?;
        }
    }
    Ok(search_path)
}

async fn apply(
    client: &Client,
    settings: &Settings,
    version: i32,
    name: &str,
    sql: &str,
) -> Result<(), Trouble> {
    let whole = format!(
        "begin; set local lock_timeout = '{HELD}'; {sql}; insert into mim.migrations (version, name) values ({version}, '{name}'); commit"
    );
    let applied = tokio::time::timeout(MIGRATED, client.batch_execute(&whole)).await;
    let applied = applied.map_err(|_| Trouble::Migration {
        version,
        why: "the database did not answer within 10 minutes".to_owned(),
    })?;
    if let Err(error) = applied {
        let _ = answered(QUICK, settings, client.batch_execute("rollback")).await;
        return Err(match error.as_db_error() {
            Some(db) if *db.code() == SqlState::LOCK_NOT_AVAILABLE => Trouble::Held { version },
            Some(db) if *db.code() != SqlState::INSUFFICIENT_PRIVILEGE => Trouble::Migration {
                version,
                why: db.message().to_owned(),
            },
            _ => Trouble::of(&error, settings),
        });
    }
    tracing::info!(version, name, "the schema was brought to a new version");
    Ok(())
}

/// The schema PostGIS is in, quoted; makes the extension where it is missing.
async fn postgis_schema(client: &Client, settings: &Settings) -> Result<String, Trouble> {
    const WHERE: &str = "select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'postgis'";
    if let Some(row) = answered(QUICK, settings, client.query_opt(WHERE, &[])).await? {
        return Ok(row.get(0));
    }
    // The session looks up `mim` first, which may not be there yet; the extension belongs in public.
    let extension = client.batch_execute("create extension if not exists postgis schema public");
    let made = answered(MIGRATED, settings, async { Ok(extension.await) }).await?;
    if let Err(error) = made {
        let Some(db) = error.as_db_error() else {
            return Err(Trouble::of(&error, settings));
        };
        return Err(Trouble::NoPostgis {
            role: settings.username.clone(),
            why: db.message().to_owned(),
        });
    }
    let row = answered(QUICK, settings, client.query_one(WHERE, &[])).await?;
    Ok(row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a statement of a migration may begin with, so that statements of the broker before still run.
    const EXPANDS: [&str; 5] = [
        "create table ",
        "create view ",
        "create function ",
        "create trigger ",
        "insert into ",
    ];

    /// The table that a statement makes an index of.
    fn indexed(statement: &str) -> Option<&str> {
        let is_index =
            statement.starts_with("create index ") || statement.starts_with("create unique index ");
        let (_, on) = statement.split_once(" on ").filter(|_| is_index)?;
        on.split(' ').next()
    }

    /// Whether a statement, by its first line, makes an index of a table that is there already, so that nothing is written to it meanwhile. The one that does came
    /// before the first release.
    fn holds_up(name: &str, sql: &str, statement: &str) -> bool {
        let is_new = |table: &str| sql.contains(&format!("create table {table} "));
        name != "temporal" && indexed(statement).is_some_and(|table| !is_new(table))
    }

    /// Whether a statement, by its first line, does more than add.
    fn shrinks(statement: &str) -> bool {
        if let Some(changes) = statement.strip_prefix("alter table ") {
            let Some((_, changes)) = changes.split_once(' ') else {
                return true;
            };
            // A row of the broker before has no value for it.
            let adds = |change: &str| {
                change.starts_with("add column ")
                    && (!change.contains("not null") || change.contains("default "))
            };
            return !changes.ends_with(';') || !changes.split(", ").all(adds);
        }
        // How a function is planned is not what it does.
        let tunes = statement.starts_with("alter function ") && statement.contains(") set enable_");
        !tunes && indexed(statement).is_none() && !EXPANDS.iter().any(|start| statement.starts_with(start))
    }

    /// Statements begin at the margin; what goes on, ends or explains one does not begin with a letter there.
    fn statements(sql: &str) -> impl Iterator<Item = &str> {
        sql.lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()))
    }

    #[test]
    fn migrations_only_add_so_that_the_broker_before_still_serves() {
        for (name, sql) in MIGRATIONS {
            assert!(statements(sql).count() > 0, "{name}");
            for statement in statements(sql) {
                assert!(!shrinks(statement), "{name}: {statement}");
                assert!(!holds_up(name, sql, statement), "{name}: {statement}");
            }
        }
        let index = "create unique index i on mim.history (tenant)";
        assert!(holds_up("later", index, index));
        for bad in [
            "drop table mim.entities;",
            "alter table mim.entities drop column scope;",
            "alter table mim.entities add column x text, drop column scope;",
            "alter table mim.entities rename column scope to scopes;",
            "alter table mim.entities alter column scope type text;",
            "alter table mim.entities add column x integer not null;",
            "alter table mim.entities add column x integer,",
            "alter table mim.entities add constraint c check (id <> '');",
            "create or replace function mim.use(integer, text, bigint) returns void",
            "alter function mim.use(integer, text, bigint) rename to takes;",
            "alter function mim.use(integer, text, bigint) set search_path = other;",
            "delete from mim.entities;",
        ] {
            assert!(shrinks(bad), "{bad}");
        }
    }

    #[test]
    fn a_server_before_15_is_told_by_its_version() {
        assert_eq!(new_enough(150_000, "15.0".to_owned()), Ok(()));
        assert_eq!(new_enough(170_002, "17.2".to_owned()), Ok(()));
        let trouble = new_enough(140_012, "14.12 (Debian 14.12-1)".to_owned()).unwrap_err();
        assert_eq!(
            trouble.to_string(),
            "the database is PostgreSQL 14.12 (Debian 14.12-1); the broker needs 15 or newer"
        );
    }
}
