//! The read-only contract in the database: schemas, views, roles and indexes ([`crate::contract`] says what stands in them).
//!
//! * [`keep`]: schema and places of each tenant, and the end of those of a dropped one;
//! * [`readers`]: the role that reads, its password, and the end of what it does for too long;
//! * [`views`]: those that were asked for;
//! * [`indexes`]: built in the background, by one replica at a time.
//!
//! None of this keeps the broker from serving: what cannot be done is told, and tried again.

pub mod indexes;
pub mod keep;
pub mod readers;
pub mod views;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use tokio::sync::Notify;

/// The key of the lock of whoever changes schemas, views or roles of the contract: "mimv" in ASCII.
const LOCK_KEY: i64 = 0x6d69_6d76;
const LOCK: &str = "select pg_advisory_xact_lock($1)";

/// What of the contract cannot be done at this moment, and who is woken when more is to be done.
#[derive(Default)]
pub struct Contract {
    configured: AtomicBool,
    /// By what it is of: a tenant, or the indexes.
    troubles: RwLock<BTreeMap<String, String>>,
    /// Views were changed, so indexes may be.
    changed: Notify,
}

impl Contract {
    /// Whether the configuration asks for it.
    pub fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Relaxed)
    }

    /// What cannot be done, in sentences.
    pub fn troubles(&self) -> Vec<String> {
        let troubles = self.troubles.read().unwrap_or_else(PoisonError::into_inner);
        troubles.values().cloned().collect()
    }

    /// Tells of trouble once, and of its end.
    fn tell(&self, of: &str, trouble: Option<String>) {
        let mut troubles = self.troubles.write().unwrap_or_else(PoisonError::into_inner);
        if troubles.get(of) == trouble.as_ref() {
            return;
        }
        if let Some(why) = trouble {
            tracing::warn!(%why, "the read-only contract is not as it is to be");
            troubles.insert(of.to_owned(), why);
        } else {
            tracing::info!(of, "the read-only contract is as it is to be again");
            troubles.remove(of);
        }
    }

    /// Forgets what is of nothing that is still there.
    fn tell_only(&self, is_there: impl Fn(&str) -> bool) {
        let mut troubles = self.troubles.write().unwrap_or_else(PoisonError::into_inner);
        troubles.retain(|of, _| is_there(of));
    }
}

/// What the server said, or the connection.
fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => db.message().to_owned(),
        None => error.to_string(),
    }
}
