//! What is remembered of an object between two passes. All of it may be lost: a restarted operator ends where this one would
//! have, it only looks once more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value};

use super::child::ChildKind;

/// What is remembered of one object.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when passes have needed a remedy.
    pub unsettled_since: Option<Instant>,
    /// The status that was sent last: the store may still show an older one, and the same body is never sent twice.
    pub status: Option<SentStatus>,
    /// Digests of the bodies that were applied: one that has to be sent again was changed by somebody else.
    pub applied: HashMap<(ChildKind, String), String>,
    /// Secrets were seen to be in order, for this generation.
    pub secrets_in_order: Option<SecretsInOrder>,
    /// Since when the object is not ready.
    pub not_ready_since: Option<Instant>,
    /// What its last event said.
    pub last_event: Option<(String, String)>,
}

/// A status that was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SentStatus {
    /// Version of the object that shows it.
    pub resource_version: u64,
    /// The whole status.
    pub status: Map<String, Value>,
}

/// When the Secrets of an object were seen to be in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsInOrder {
    /// For which generation.
    pub generation: i64,
    /// For which `mim.city/requestedAt`.
    pub request: Option<String>,
    /// When they were looked at.
    pub at: Instant,
    /// When the first certificate has to be renewed, in seconds since the epoch.
    pub renew_at: Option<i64>,
}

/// What is remembered of all objects, by uid.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// What is remembered of an object.
    #[must_use]
    pub fn of(&self, uid: &str) -> Memory {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Remembers.
    pub fn keep(&self, uid: &str, memory: Memory) {
        self.lock().insert(uid.to_owned(), memory);
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Objects that wait for a remedy.
    #[must_use]
    pub fn in_backoff(&self) -> usize {
        self.lock()
            .values()
            .filter(|memory| memory.unsettled_since.is_some())
            .count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
