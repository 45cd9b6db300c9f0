//! Makes role, database and extension as the Secret says. Every step may be repeated.

use std::time::Duration;

use tokio_postgres::Client;

use crate::config::Config;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::session::{self, Session};

/// How long to wait for a session.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the owner needs to keep the roles of the read-only contract, and no others. An administrator runs the same in a database that is not ours.
const CONTRACT: &str = include_str!("contract.sql");
/// The group of all roles that functions in there have made.
pub const READERS: &str = "mim_readers";

/// Brings the server to what `wanted` says: the role with this password and no rights beyond its database, the
/// database owned by it, PostGIS in it, and functions by which it keeps readers. Where the database belongs to another role, because the user name changed,
/// everything in it is handed over to the new one; sessions of the old role go on, new ones are refused.
pub async fn prepare(config: &Config, wanted: &Credentials) -> Result<(), Error> {
    let server = session::open(config, "postgres", TIMEOUT).await?;
    let role = identifier(&wanted.role);
    if !exists(&server, "SELECT 1 FROM pg_roles WHERE rolname = $1", &wanted.role).await? {
        run(
            &server.client,
            &format!("make role {}", wanted.role),
            &format!("CREATE ROLE {role}"),
        )
        .await?;
    }
    let alter = format!(
        "ALTER ROLE {role} WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}",
        literal(&wanted.verifier())
    );
    run(
        &server.client,
        &format!("set the password of role {}", wanted.role),
        &alter,
    )
    .await?;

    let database = identifier(&wanted.database);
    if !exists(
        &server,
        "SELECT 1 FROM pg_database WHERE datname = $1",
        &wanted.database,
    )
    .await?
    {
        let create = format!(
            "CREATE DATABASE {database} OWNER {role} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
        );
        run(
            &server.client,
            &format!("make database {}", wanted.database),
            &create,
        )
        .await?;
        tracing::info!(
            database = wanted.database,
            role = wanted.role,
            "made the database"
        );
    }
    drop(server);

    let inside = session::open(config, &wanted.database, TIMEOUT).await?;
    hand_over(&inside.client, wanted).await?;
    extension(&inside.client, wanted).await?;
    // After the extension, some of whose functions it speaks of.
    let action = format!(
        "let role {} keep readers of database {}",
        wanted.role, wanted.database
    );
    run(&inside.client, &action, CONTRACT).await
}

/// Gives the database and all in it to the wanted role, where another one has it.
async fn hand_over(client: &Client, wanted: &Credentials) -> Result<(), Error> {
    let action = || format!("hand database {} over to role {}", wanted.database, wanted.role);
    let owner = client
        .query_one(
            "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()",
            &[],
        )
        .await
        .and_then(|row| row.try_get::<_, String>(0))
        .map_err(failed(action()))?;
    if owner == wanted.role {
        return Ok(());
    }
    let (database, role) = (identifier(&wanted.database), identifier(&wanted.role));
    let mut steps = vec![
        "BEGIN".to_owned(),
        format!("ALTER DATABASE {database} OWNER TO {role}"),
    ];
    // What the superuser owns is PostgreSQL itself; it cannot be given away.
    if owner != "postgres" {
        let former = memberships(client, &wanted.role)
            .await
            .map_err(failed(action()))?;
        steps.extend(
            former
                .iter()
                .map(|former| format!("REVOKE {} FROM {role}", identifier(former))),
        );
        let old = identifier(&owner);
        // Sessions of the old role keep their rights through the new one until they end; it can open no new session.
        steps.push(format!("REASSIGN OWNED BY {old} TO {role}"));
        steps.push(format!("GRANT {role} TO {old}"));
        steps.push(format!("ALTER ROLE {old} WITH NOLOGIN PASSWORD NULL"));
    }
    steps.push("COMMIT".to_owned());
    let handed = run(client, &action(), &steps.join("; ")).await;
    if handed.is_ok() {
        tracing::info!(
            database = wanted.database,
            from = owner,
            to = wanted.role,
            "the database has a new owner"
        );
    }
    handed
}

/// Roles that the role got when it was replaced before: a grant in the other direction would be a circle.
async fn memberships(client: &Client, role: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT given.rolname::text FROM pg_auth_members m JOIN pg_roles given ON given.oid = m.roleid \
             JOIN pg_roles member ON member.oid = m.member \
             WHERE member.rolname = $1 AND given.rolname NOT LIKE 'pg\\_%'",
            &[&role],
        )
        .await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// PostGIS, at the version whose library is installed: after a new image the SQL side must follow.
async fn extension(client: &Client, wanted: &Credentials) -> Result<(), Error> {
    let action = || format!("make extension postgis in database {}", wanted.database);
    let row = client
        .query_opt(
            "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'postgis'",
            &[],
        )
        .await
        .map_err(failed(action()))?;
    let Some(row) = row else {
        return Err(Error::Statement {
            action: action(),
            reason: "this image has no PostGIS".to_owned(),
        });
    };
    let newest: String = row.try_get(0).map_err(failed(action()))?;
    let installed: Option<String> = row.try_get(1).map_err(failed(action()))?;
    match installed {
        None => run(client, &action(), "CREATE EXTENSION IF NOT EXISTS postgis").await,
        Some(installed) if installed != newest => {
            tracing::info!(
                from = installed,
                to = newest,
                "PostGIS follows the version of the image"
            );
            run(client, &action(), "ALTER EXTENSION postgis UPDATE").await
        }
        Some(_) => Ok(()),
    }
}

async fn exists(session: &Session, query: &str, name: &str) -> Result<bool, Error> {
    let found = session.client.query_opt(query, &[&name]).await;
    found
        .map(|row| row.is_some())
        .map_err(failed("look up roles and databases".to_owned()))
}

async fn run(client: &Client, action: &str, statements: &str) -> Result<(), Error> {
    client
        .batch_execute(statements)
        .await
        .map_err(failed(action.to_owned()))
}

fn failed(action: String) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |error| Error::Statement {
        action,
        reason: session::words(&error),
    }
}

/// A name as SQL writes it, whatever is in it.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it (`standard_conforming_strings` is on).
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quoting_leaves_no_way_out(name in ".*") {
            for (quoted, quote) in [(identifier(&name), '"'), (literal(&name), '\'')] {
                let inner = quoted.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).unwrap();
                let twice = [quote, quote].iter().collect::<String>();
                prop_assert!(!inner.replace(&twice, "").contains(quote));
                prop_assert_eq!(inner.replace(&twice, &quote.to_string()), name.clone());
            }
        }
    }
}
