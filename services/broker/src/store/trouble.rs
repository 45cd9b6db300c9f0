//! What can be wrong with a database, in one plain sentence that says what to do. `/readyz` and `probe` show it.

use crate::store::settings::Settings;
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// Why the database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nothing was tried yet.
    #[error("the broker has just started and has not reached the database yet")]
    Starting,
    /// The mounted files are not usable.
    #[error("{0}")]
    Settings(String),
    /// No connection.
    #[error("the database at {place} cannot be reached: {why}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// What the network said.
        why: String,
    },
    /// TLS failed.
    #[error(
        "the certificate of the database at {place} is not trusted: {why}; check the CA certificate and the host name"
    )]
    NotTrusted {
        /// Host and port.
        place: String,
        /// What TLS said.
        why: String,
    },
    /// The server speaks no TLS.
    #[error("the database at {0} offers no TLS; the broker connects with TLS only")]
    NoTls(String),
    /// Login refused.
    #[error("the database refuses the login of {role}: {why}; check username and password in the Secret")]
    Login {
        /// The role.
        role: String,
        /// What the server said.
        why: String,
    },
    /// There is no such database.
    #[error("the server has no database {0}; create it or correct dbname in the Secret")]
    NoDatabase(String),
    /// The server is older than 15.
    #[error("the database is PostgreSQL {0}; the broker needs 15 or newer")]
    TooOld(String),
    /// The extension is not there and could not be made.
    #[error(
        "PostGIS is missing in the database and cannot be created by {role}: {why}; let a superuser run CREATE EXTENSION postgis"
    )]
    NoPostgis {
        /// The role.
        role: String,
        /// What the server said.
        why: String,
    },
    /// The role may not do what the broker needs.
    #[error("the role {role} lacks a permission in the database: {why}; make it the owner of the database")]
    NoPermission {
        /// The role.
        role: String,
        /// What the server said.
        why: String,
    },
    /// There are as many connections as there may be, of the server, the database or the role.
    #[error(
        "the database takes no more connections: {0}; raise max_connections, or the limit of the database or the role, or let the brokers have fewer"
    )]
    TooManyConnections(String),
    /// Starting up, shutting down, or anything else that may pass.
    #[error("the database does not serve at the moment: {0}")]
    NotServing(String),
    /// A migration failed.
    #[error("the schema could not be brought to version {version}: {why}")]
    Migration {
        /// The version that was tried.
        version: i32,
        /// What the server said.
        why: String,
    },
    /// A migration waits for somebody.
    #[error(
        "the schema is not at version {version} yet: a transaction that is open for long holds what is to be changed; it is tried again by itself, end that transaction if it does not end"
    )]
    Held {
        /// The version that was tried.
        version: i32,
    },
}

impl Trouble {
    /// The status by which `/readyz` tells of what sort this is (`docs/operands.md`): where a kubelet asks by HTTP, the status is all that it passes on.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Starting | Self::TooManyConnections(_) | Self::NotServing(_) => 503,
            Self::Unreachable { .. } => 521,
            Self::NotTrusted { .. } => 522,
            Self::NoTls(_) => 523,
            Self::Login { .. } => 524,
            Self::NoDatabase(_) => 525,
            Self::TooOld(_) => 526,
            Self::NoPostgis { .. } => 527,
            Self::NoPermission { .. } => 528,
            Self::Settings(_) => 529,
            Self::Migration { .. } | Self::Held { .. } => 530,
        }
    }

    /// Sorts what came of connecting or of a statement.
    pub fn of(error: &tokio_postgres::Error, settings: &Settings) -> Self {
        let place = format!("{}:{}", settings.host, settings.port);
        if let Some(db) = error.as_db_error() {
            let why = db.message().to_owned();
            let role = settings.username.clone();
            return match db.code() {
                code if [
                    SqlState::INVALID_PASSWORD,
                    SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                ]
                .contains(code) =>
                {
                    Self::Login { role, why }
                }
                code if *code == SqlState::INVALID_CATALOG_NAME => Self::NoDatabase(settings.dbname.clone()),
                code if *code == SqlState::TOO_MANY_CONNECTIONS => Self::TooManyConnections(why),
                code if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::NoPermission { role, why },
                _ => Self::NotServing(why),
            };
        }
        if let Some(why) = tls_words(error) {
            return Self::NotTrusted { place, why };
        }
        // The error itself says only in which step it came; its cause says what it was.
        let why = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        if why.contains("server does not support TLS") {
            return Self::NoTls(place);
        }
        Self::Unreachable { place, why }
    }
}

/// What a statement outside a request gave; no answer within the time is trouble too. The session is then to be dropped.
pub async fn answered<T>(
    within: Duration,
    settings: &Settings,
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(within, statement).await {
        Ok(result) => result.map_err(|e| Trouble::of(&e, settings)),
        Err(_) => Err(Trouble::NotServing(format!(
            "no answer within {} s",
            within.as_secs()
        ))),
    }
}

/// What TLS did not like, if it was TLS.
fn tls_words(error: &tokio_postgres::Error) -> Option<String> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    let tls = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(tls.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_of_trouble_has_a_status_of_its_own_in_the_contract() {
        let text = || "x".to_owned();
        let (place, why, role) = (text, text, text);
        let troubles = [
            Trouble::NotServing(why()),
            Trouble::Unreachable {
                place: place(),
                why: why(),
            },
            Trouble::NotTrusted {
                place: place(),
                why: why(),
            },
            Trouble::NoTls(place()),
            Trouble::Login {
                role: role(),
                why: why(),
            },
            Trouble::NoDatabase(text()),
            Trouble::TooOld(text()),
            Trouble::NoPostgis {
                role: role(),
                why: why(),
            },
            Trouble::NoPermission {
                role: role(),
                why: why(),
            },
            Trouble::Settings(text()),
            Trouble::Migration {
                version: 1,
                why: why(),
            },
        ];
        let page = include_str!("../../../../docs/operands.md");
        let statuses: std::collections::BTreeSet<_> = troubles.iter().map(Trouble::status).collect();
        assert_eq!(statuses.len(), troubles.len());
        for status in statuses {
            assert!(page.contains(&format!("| {status} | ")), "{status}");
        }
        assert_eq!(Trouble::Held { version: 1 }.status(), 530);
        assert_eq!(Trouble::Starting.status(), 503);
        assert_eq!(Trouble::TooManyConnections(why()).status(), 503);
    }
}
