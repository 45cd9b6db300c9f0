//! What is remembered of an object between two passes. All of it may be lost: a restarted operator ends where this one would
//! have, it only looks once more.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::child::ChildKind;
use super::retry::Remedy;

/// What is remembered of one object.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when passes have needed the same remedy for the same generation.
    pub unsettled: Option<Unsettled>,
    /// The status that was sent last, until the store shows it: the same body is never sent twice.
    pub status: Option<SentStatus>,
    /// Digests of the bodies that were applied: one that has to be sent again was changed by somebody else.
    pub applied: Digests,
    /// Secrets were seen to be in order, for this generation.
    pub secrets_in_order: Option<SecretsInOrder>,
    /// What its last event said.
    pub last_event: Option<(String, String)>,
}

/// What passes have needed, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// Since when.
    pub since: Instant,
    /// For which generation.
    pub generation: i64,
    /// What could heal it.
    pub remedy: Remedy,
}

impl Memory {
    /// A pass that started then has ended in need of this remedy. The back-off goes on only while both stay: a new generation, or another
    /// trouble, is a new start.
    pub fn need(&mut self, remedy: Option<Remedy>, generation: i64, started: Instant) {
        let held = self
            .unsettled
            .filter(|held| (held.generation, Some(held.remedy)) == (generation, remedy));
        self.unsettled = remedy.map(|remedy| {
            held.unwrap_or(Unsettled {
                since: started,
                generation,
                remedy,
            })
        });
    }

    /// How long it has been so.
    #[must_use]
    pub fn unsettled_for(&self) -> Duration {
        self.unsettled.map_or(Duration::ZERO, |held| held.since.elapsed())
    }
}

/// The digest that was applied last to each child. Names and digests are kept as hashes of 64 bits: a thousand objects have fifteen
/// thousand of them, and a collision costs no more than a wrong word in an event.
#[derive(Clone, Debug, Default)]
pub struct Digests(Vec<(u64, u64)>);

impl Digests {
    /// Whether this digest was the last.
    #[must_use]
    pub fn is(&self, kind: ChildKind, name: &str, digest: &str) -> bool {
        self.0.contains(&(hash(&(kind, name)), hash(&digest)))
    }

    /// Whether any was.
    #[must_use]
    pub fn has(&self, kind: ChildKind, name: &str) -> bool {
        let child = hash(&(kind, name));
        self.0.iter().any(|(of, _)| *of == child)
    }

    /// Whether nothing was applied yet: this process is new to the object.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers it.
    pub fn set(&mut self, kind: ChildKind, name: &str, digest: &str) {
        let (child, digest) = (hash(&(kind, name)), hash(&digest));
        if let Some((_, held)) = self.0.iter_mut().find(|(of, _)| *of == child) {
            *held = digest;
        } else {
            self.0.push((child, digest));
        }
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
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
    /// Whether they went with the object ([`super::kind::Kind::data_goes`]).
    pub goes: bool,
    /// When they were looked at.
    pub at: Instant,
    /// When the first certificate has to be renewed, in seconds since the epoch.
    pub renew_at: Option<i64>,
}

/// What is remembered of all objects, by uid.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// What is remembered of an object; from now on something is.
    #[must_use]
    pub fn of(&self, uid: &str) -> Memory {
        self.lock().entry(uid.to_owned()).or_default().clone()
    }

    /// Remembers, unless the object was forgotten since [`Self::of`]: it went during the pass.
    pub fn keep(&self, uid: &str, memory: Memory) {
        if let Some(held) = self.lock().get_mut(uid) {
            *held = memory;
        }
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
            .filter(|memory| memory.unsettled.is_some())
            .count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_during_a_pass_stays_forgotten() {
        let memories = Memories::default();
        let mut memory = memories.of("u");
        memory.need(Some(Remedy::Time), 1, Instant::now());
        memories.keep("u", memory.clone());
        assert_eq!(memories.in_backoff(), 1);
        memories.forget("u");
        memories.keep("u", memory);
        assert_eq!(memories.in_backoff(), 0);
    }

    #[test]
    fn the_back_off_goes_on_for_the_same_need_of_the_same_generation_only() {
        let long_ago = Instant::now().checked_sub(Duration::from_mins(5)).unwrap();
        let waiting = || {
            let mut memory = Memory::default();
            memory.need(Some(Remedy::Other), 1, long_ago);
            memory
        };
        for (remedy, generation, goes_on) in [
            (Remedy::Other, 1, true),
            (Remedy::Other, 2, false),
            (Remedy::Time, 1, false),
        ] {
            let mut memory = waiting();
            memory.need(Some(remedy), generation, Instant::now());
            let long = memory.unsettled_for() >= Duration::from_mins(5);
            assert_eq!(long, goes_on, "{remedy:?} of generation {generation}");
        }
        let mut settled = waiting();
        settled.need(None, 1, Instant::now());
        assert_eq!(settled.unsettled, None);
    }

    #[test]
    fn only_the_last_digest_of_a_child_counts() {
        let mut digests = Digests::default();
        digests.set(ChildKind::Service, "a", "1");
        digests.set(ChildKind::ConfigMap, "a", "2");
        digests.set(ChildKind::Service, "a", "3");
        let is = |kind, digest| digests.is(kind, "a", digest);
        assert!(is(ChildKind::Service, "3") && is(ChildKind::ConfigMap, "2"));
        assert!(!is(ChildKind::Service, "1") && !is(ChildKind::ConfigMap, "3"));
        assert!(!digests.is(ChildKind::Service, "b", "3"));
        assert!(digests.has(ChildKind::Service, "a") && !digests.has(ChildKind::Service, "b"));
    }
}
