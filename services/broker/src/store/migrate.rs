//! The schema: versioned, embedded, forward-only.
//!
//! Every replica runs this at start and after each loss of the database. A lock of the database lets one of them work
//! at a time; the others then find nothing to do. Each version is one transaction with its own row in
//! `mim.migrations`, so a crash leaves a whole version or none. A schema newer than this broker is left alone: versions
//! only ever add (expand, migrate, contract), so the broker before still serves.

use crate::store::settings::Settings;
use crate::store::trouble::Trouble;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// The oldest server that is taken, as `server_version_num`.
const OLDEST_SERVER: i32 = 150_000;
/// The key of the lock: "mim" in ASCII.
const LOCK: i64 = 0x006d_696d;

/// The migrations in order; the version is the position, from 1.
const MIGRATIONS: [(&str, &str); 1] = [("entities", include_str!("../../migrations/0001_entities.sql"))];

/// Checks the server, makes what is missing, and returns the search path for sessions.
pub async fn migrate(client: &Client, settings: &Settings) -> Result<String, Trouble> {
    let trouble = |e: &tokio_postgres::Error| Trouble::of(e, settings);
    let row = client
        .query_one("select current_setting('server_version_num')::int, current_setting('server_version'), current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on'", &[])
        .await
        .map_err(|e| trouble(&e))?;
    let (number, version, durable): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST_SERVER {
        return Err(Trouble::TooOld(version));
    }
    if !durable {
        tracing::warn!(
            "the database runs without fsync or full_page_writes: a crash of its machine can lose accepted writes"
        );
    }
    // A first start may wait for another replica's migration; statements of a migration may take long.
    client
        .batch_execute("set statement_timeout = '10min'; set lock_timeout = '30s'")
        .await
        .map_err(|e| trouble(&e))?;
    client
        .execute("select pg_advisory_lock($1)", &[&LOCK])
        .await
        .map_err(|e| trouble(&e))?;
    let outcome = migrate_alone(client, settings).await;
    // The lock ends with the session too, if this does not reach the server.
    let _ = client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await;
    outcome
}

async fn migrate_alone(client: &Client, settings: &Settings) -> Result<String, Trouble> {
    let trouble = |e: &tokio_postgres::Error| Trouble::of(e, settings);
    let postgis = postgis_schema(client, settings).await?;
    let search_path = format!("mim, {postgis}");
    client
        .execute("select set_config('search_path', $1, false)", &[&search_path])
        .await
        .map_err(|e| trouble(&e))?;
    let known = client
        .query_one("select to_regclass('mim.migrations') is not null", &[])
        .await
        .map_err(|e| trouble(&e))?;
    if !known.get::<_, bool>(0) {
        client
            .batch_execute("create schema if not exists mim; create table if not exists mim.migrations (version integer primary key, name text not null, applied timestamptz not null default now())")
            .await
            .map_err(|e| trouble(&e))?;
    }
    let row = client
        .query_one("select coalesce(max(version), 0) from mim.migrations", &[])
        .await
        .map_err(|e| trouble(&e))?;
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
        "begin; {sql}; insert into mim.migrations (version, name) values ({version}, '{name}'); commit"
    );
    if let Err(error) = client.batch_execute(&whole).await {
        let _ = client.batch_execute("rollback").await;
        return Err(match error.as_db_error() {
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
    let trouble = |e: &tokio_postgres::Error| Trouble::of(e, settings);
    if let Some(row) = client.query_opt(WHERE, &[]).await.map_err(|e| trouble(&e))? {
        return Ok(row.get(0));
    }
    // The session looks up `mim` first, which may not be there yet; the extension belongs in public.
    if let Err(error) = client
        .batch_execute("create extension if not exists postgis schema public")
        .await
    {
        let Some(db) = error.as_db_error() else {
            return Err(trouble(&error));
        };
        return Err(Trouble::NoPostgis {
            role: settings.username.clone(),
            why: db.message().to_owned(),
        });
    }
    let row = client.query_one(WHERE, &[]).await.map_err(|e| trouble(&e))?;
    Ok(row.get(0))
}
