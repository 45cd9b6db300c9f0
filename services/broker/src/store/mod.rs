//! Where entities are kept: PostgreSQL with PostGIS, shared by all replicas.
//!
//! * [`settings`]: host, name and password from mounted files;
//! * [`connect`]: TLS, the session, and what is wrong in plain words ([`trouble`]);
//! * [`migrate`]: the schema, safe with several replicas starting at once;
//! * [`pool`]: a bounded number of connections;
//! * [`statistics`]: those that queries are planned by, where there are none yet;
//! * [`tenants`]: whose data there is, [`drop`]: how that of a dropped one goes;
//! * [`quota`]: what each tenant may have, and how much it has;
//! * [`keeper`]: keeps all of that so, whatever happens to the database;
//! * [`history`]: what each write adds to the past, [`partitions`]: the tables it is in, [`sweeper`]: how it goes,
//!   [`past`]: how it is read, [`temporal`]: what is written to it alone;
//! * [`contract`]: what others than the broker may read, and their roles;
//! * [`told`]: what each write tells subscribers, [`outbox`]: how that waits, [`intervals`]: what waits for no write;
//! * [`entities`], [`batch`] with what it [`decide`]s, [`search`] and large pages in [`parts`], [`types`], [`names`], [`contexts`], [`subscriptions`]: the operations. One round trip per read, one transaction per write;
//!   more where entities are large, whose memory is shared ([`weight`]).

pub mod batch;
pub mod connect;
pub mod contexts;
pub mod contract;
pub mod decide;
pub mod drop;
pub mod entities;
pub mod history;
pub mod intervals;
pub mod keeper;
pub mod migrate;
pub mod names;
pub mod outbox;
pub mod partitions;
pub mod parts;
pub mod past;
pub mod pool;
pub mod quota;
pub mod rows;
pub mod search;
pub mod settings;
pub mod statistics;
pub mod subscriptions;
pub mod sweeper;
pub mod temporal;
pub mod tenants;
pub mod told;
pub mod trouble;
pub mod types;
pub mod weight;

use crate::memory::Rooms;
use crate::notify::matcher::{Known, Matcher};
use crate::notify::unnoted::Unnoted;
use crate::store::contract::Contract;
use crate::store::history::Keeping;
use crate::store::pool::Pool;
use crate::store::quota::Over;
use crate::store::rows::Beside;
use crate::store::tenants::Tenants;
use crate::store::told::{Place, Told};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_postgres::error::SqlState;

/// A tenant's number in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TenantId(pub i32);

impl TenantId {
    /// A number that no tenant has: the database counts from 1.
    pub const NOBODY: Self = Self(0);
}

/// Why an operation did not happen. Nothing of it was kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be used now; it is worth to try again. The words are for clients: no host, no role, nothing
    /// that the server said. Where the answer to a commit did not come, the write may have been kept.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The statement took longer than it may.
    #[error("the database took longer than it may")]
    TooSlow,
    /// PostgreSQL refuses this data.
    #[error("the database cannot take this: {0}")]
    Data(String),
    /// The entity would be larger than what is kept of one.
    #[error("{0}")]
    TooLarge(String),
    /// The tenant has as much as it may have.
    #[error("{0}")]
    Quota(Over),
    /// Others have the memory that this needs; it is worth to try again.
    #[error("too many large entities are being read and written at the moment")]
    Crowded,
    /// PostgreSQL refuses this regular expression.
    #[error("not a regular expression: {0}")]
    Pattern(String),
    /// A bug, or a database changed by somebody else.
    #[error("{0}")]
    Internal(String),
}

impl StoreError {
    /// Sorts an error of the driver by what the caller can do.
    #[must_use]
    pub fn of(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return if error.is_closed()
                || std::error::Error::source(error)
                    .is_some_and(<dyn std::error::Error + 'static>::is::<std::io::Error>)
            {
                Self::Unavailable("the connection was lost".to_owned())
            } else {
                Self::Internal(error.to_string())
            };
        };
        let code = db.code();
        if *code == SqlState::QUERY_CANCELED {
            return Self::TooSlow;
        }
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            return Self::Unavailable("it takes no writes at the moment".to_owned());
        }
        if *code == SqlState::UNDEFINED_OBJECT && db.routine() == Some("get_collation_oid") {
            return Self::Data("it does not have this collation".to_owned());
        }
        if *code == SqlState::INVALID_REGULAR_EXPRESSION {
            return Self::Pattern(db.message().to_owned());
        }
        if let Some(over) = Over::of(db) {
            return Self::Quota(over);
        }
        match code.code().get(..2) {
            // Connection lost, rolled back, out of resources, shut down, system error.
            Some("08" | "40" | "53" | "57" | "58" | "25") => {
                tracing::debug!(
                    code = code.code(),
                    message = db.message(),
                    "the database refused a statement"
                );
                Self::Unavailable(format!("it refuses for the moment (SQLSTATE {})", code.code()))
            }
            // Lock not had in time.
            Some("55") => Self::Unavailable("the entity is being written by others".to_owned()),
            // Data exceptions and limits.
            Some("22" | "54") => Self::Data(db.message().to_owned()),
            // PostGIS has no other code for geometries that it cannot handle; PostgreSQL has it for its own failures.
            _ if *code == SqlState::INTERNAL_ERROR && db.file().is_some_and(is_of_postgis) => {
                Self::Data("PostGIS cannot handle this geometry".to_owned())
            }
            // XX001 and XX002 are damaged data on disk.
            _ => Self::Internal(format!("{} ({})", db.message(), code.code())),
        }
    }

    /// Whether it has nothing to do with what was asked: the same may be had a moment later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Crowded | Self::Unavailable(_))
    }

    /// Tells the log of what does not pass by itself: a defect of the broker, or damaged data. For work that nobody waits for: the
    /// rest, that the database is away or full, others tell.
    pub fn tell_if_lasting(&self) {
        if let Self::Internal(_) = self {
            tracing::error!(error = %self, "the store failed");
        }
    }
}

/// Whether a source file, as errors name it, is one of PostGIS.
fn is_of_postgis(file: &str) -> bool {
    ["lwgeom", "lwgunparse", "gserialized", "geography", "postgis"]
        .iter()
        .any(|start| {
            file.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with(start))
        })
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::of(&error)
    }
}

/// The store, cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Arc<Pool>,
    tenants: Arc<Tenants>,
    rooms: Arc<Rooms>,
    keeping: watch::Receiver<Keeping>,
    matcher: Arc<Matcher>,
    unnoted: Arc<Unnoted>,
    waiting: mpsc::Sender<Place>,
    contract: Arc<Contract>,
}

impl Store {
    /// A store over a pool that a keeper looks after.
    pub fn new(
        pool: Arc<Pool>,
        tenants: Arc<Tenants>,
        rooms: Arc<Rooms>,
        keeping: watch::Receiver<Keeping>,
        waiting: mpsc::Sender<Place>,
    ) -> Self {
        Self {
            pool,
            tenants,
            rooms,
            keeping,
            matcher: Arc::default(),
            unnoted: Arc::default(),
            waiting,
            contract: Arc::default(),
        }
    }

    fn beside(&self, known: Arc<Known>) -> Beside {
        Beside {
            keeping: self.keeping(),
            known,
        }
    }

    /// Says where notifications wait, once they are committed. Lost words do no harm: somebody looks from time to time.
    fn tell(&self, told: &Told) {
        for place in told.places() {
            let _ = self.waiting.try_send(place);
        }
    }

    /// What is done about the past, at this moment.
    fn keeping(&self) -> Keeping {
        *self.keeping.borrow()
    }

    /// What came of notifications and is not in the database yet.
    #[must_use]
    pub fn unnoted(&self) -> &Arc<Unnoted> {
        &self.unnoted
    }

    /// What is known of the read-only contract.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The pool, for metrics.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
