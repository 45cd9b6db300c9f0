//! What is remembered of an object between two passes. All of it may be lost: a restarted operator ends where this one would
//! have, it only looks once more.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::child::ChildKind;
use super::kind::Complaint;
use super::retry::Remedy;
use super::secret::Care;

/// What is remembered of one object.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when passes have needed the same remedy for the same reason and generation.
    pub unsettled: Option<Unsettled>,
    /// The status that was sent last, until the store shows it: the same body is never sent twice.
    pub status: Option<SentStatus>,
    /// Digests of the bodies that were applied: one that has to be sent again was changed by somebody else.
    pub applied: Digests,
    /// The generation that was seen to keep every rule of the schema.
    pub guarded: Option<i64>,
    /// Secrets were seen to be in order, for this generation.
    pub secrets_in_order: Option<SecretsInOrder>,
    /// When what it waits for is to be named in its status, in seconds since the epoch; of the last pass only.
    pub name_at: Option<i64>,
    /// When to look again whatever the watches show, in seconds since the epoch; of the last pass only.
    pub look_at: Option<i64>,
    /// The version of the object that shows our finalizer, until the store shows it.
    pub held: Option<u64>,
    /// The finalizer was taken off: the object is gone, or waits for somebody else.
    pub let_go: bool,
    /// What its last event said.
    pub last_event: Option<(String, String)>,
    /// How often children may still be written.
    pub bucket: Bucket,
    /// What is told while the bucket is empty: one and the same until it no longer is, or the status would take part in the contest.
    pub contest: Option<Complaint>,
    /// What events have told.
    pub told: Told,
}

/// Passes that may write children one after another before they are spread out: a user's edits, an upgrade and its rollout take a handful.
const BURST: u32 = 30;

/// After that, one in this time: a contest costs little, and once it is over all is as wanted within it.
const PACE: Duration = Duration::from_secs(5);

/// A token bucket: how often children of one object may be written. A pass that writes takes one token, however much it writes: the last child gets
/// its turn also where the first is contested. Time is the start of the pass, so all writes of a pass are one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// What was asked for; with anything else the bucket is full again.
    of: u64,
    /// Tokens that are gone.
    spent: u32,
    /// When the last of them went, or the last came back.
    at: Option<Instant>,
    /// The pass that took one last.
    pass: Option<Instant>,
}

impl Bucket {
    /// What is asked for now: where it is something new, the bucket is full.
    pub fn ask(&mut self, of: &impl Hash) {
        let of = hash(of);
        if self.of != of {
            *self = Self {
                of,
                ..Self::default()
            };
        }
    }

    /// Whether the pass that started then may write.
    pub fn may(&mut self, pass: Instant) -> bool {
        self.pass == Some(pass) || !self.is_empty(pass)
    }

    /// The pass that started then has written.
    pub fn take(&mut self, pass: Instant) {
        if self.pass == Some(pass) {
            return;
        }
        self.refill(pass);
        if self.spent == 0 {
            self.at = Some(pass);
        }
        self.spent = (self.spent + 1).min(BURST);
        self.pass = Some(pass);
    }

    /// Whether no other pass may write now.
    pub fn is_empty(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.spent >= BURST
    }

    /// How long until one may.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        let next = self.at.filter(|_| self.spent >= BURST).map(|at| at + PACE);
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    fn refill(&mut self, now: Instant) {
        while let Some(next) = self.at.map(|at| at + PACE)
            && self.spent > 0
            && next <= now
        {
            self.spent -= 1;
            self.at = Some(next);
        }
    }
}

/// The same is told once in this time.
const TELL_AGAIN: Duration = Duration::from_mins(1);

/// What was told is forgotten after this: the API server keeps events no longer.
const FORGET: Duration = Duration::from_hours(1);

/// What events have told, when, and how often it was so since.
#[derive(Clone, Debug, Default)]
pub struct Told(Vec<(u64, Instant, u32)>);

impl Told {
    /// Whether to tell it now, and how often it was left untold since the last time.
    pub fn again(&mut self, what: &impl Hash, now: Instant) -> Option<u32> {
        let what = hash(what);
        self.0
            .retain(|(_, at, _)| now.saturating_duration_since(*at) < FORGET);
        let Some((_, at, untold)) = self.0.iter_mut().find(|(of, ..)| *of == what) else {
            self.0.push((what, now, 0));
            return Some(0);
        };
        if now.saturating_duration_since(*at) < TELL_AGAIN {
            *untold = untold.saturating_add(1);
            return None;
        }
        *at = now;
        Some(std::mem::take(untold))
    }
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
    /// What is missing, as a hash of the words; `None` where nothing is.
    pub missing: Option<u64>,
}

impl Memory {
    /// A pass that started then has ended in need of this remedy, because of what is `missing`. The back-off goes on only while all stay: a new
    /// generation, another trouble, or the next thing to be missing (the first has come, so the next may soon) is a new start.
    pub fn need(&mut self, remedy: Option<Remedy>, generation: i64, missing: Option<&str>, started: Instant) {
        self.unsettled = remedy.map(|remedy| {
            let now = Unsettled {
                since: started,
                generation,
                remedy,
                missing: missing.map(|words| hash(&words)),
            };
            let same = |held: &Unsettled| {
                Unsettled {
                    since: started,
                    ..*held
                } == now
            };
            self.unsettled.filter(same).unwrap_or(now)
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
    /// How far that went: of a look that makes nothing, some may be missing.
    pub care: Care,
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
    /// Which they were, by digest.
    pub known: Vec<u64>,
}

/// What is remembered of all objects, by uid.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// A pass over an object begins: from now on something is remembered of it. Call it with the object just taken from the store, so that nobody can
    /// have forgotten it in between.
    pub fn begin(&self, uid: &str) {
        self.lock().entry(uid.to_owned()).or_default();
    }

    /// What is remembered of an object; `None`: it is gone.
    #[must_use]
    pub fn of(&self, uid: &str) -> Option<Memory> {
        self.lock().get(uid).cloned()
    }

    /// Remembers, and says whether the object is still there: one that was forgotten during the pass stays forgotten.
    pub fn keep(&self, uid: &str, memory: Memory) -> bool {
        let mut all = self.lock();
        let held = all.get_mut(uid);
        let is_there = held.is_some();
        if let Some(held) = held {
            *held = memory;
        }
        is_there
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
        assert!(memories.of("u").is_none());
        memories.begin("u");
        let mut memory = memories.of("u").unwrap();
        memory.need(Some(Remedy::Time), 1, None, Instant::now());
        assert!(memories.keep("u", memory.clone()));
        assert_eq!(memories.in_backoff(), 1);
        memories.forget("u");
        assert!(!memories.keep("u", memory));
        assert_eq!(memories.in_backoff(), 0);
    }

    #[test]
    fn the_back_off_goes_on_for_the_same_need_of_the_same_generation_only() {
        let long_ago = Instant::now().checked_sub(Duration::from_mins(5)).unwrap();
        let waiting = || {
            let mut memory = Memory::default();
            memory.need(Some(Remedy::Other), 1, Some("Secret a"), long_ago);
            memory
        };
        for (remedy, generation, missing, goes_on) in [
            (Remedy::Other, 1, Some("Secret a"), true),
            (Remedy::Other, 2, Some("Secret a"), false),
            (Remedy::Other, 1, Some("Secret b"), false),
            (Remedy::Other, 1, None, false),
            (Remedy::Time, 1, None, false),
        ] {
            let mut memory = waiting();
            memory.need(Some(remedy), generation, missing, Instant::now());
            let long = memory.unsettled_for() >= Duration::from_mins(5);
            assert_eq!(
                long, goes_on,
                "{remedy:?} of generation {generation}, {missing:?}"
            );
        }
        let mut settled = waiting();
        settled.need(None, 1, None, Instant::now());
        assert_eq!(settled.unsettled, None);
    }

    #[test]
    fn thirty_passes_may_write_then_one_in_five_seconds_and_all_writes_of_a_pass_are_one() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        bucket.ask(&1);
        for pass in 0..30 {
            for _ in 0..17 {
                assert!(bucket.may(after(pass)), "pass {pass}");
                bucket.take(after(pass));
            }
        }
        assert!(bucket.is_empty(after(30)) && !bucket.may(after(31)));
        assert_eq!(bucket.wait(after(1000)), Duration::from_secs(4));
        let taken = (31..60_000).filter(|pass| {
            let may = bucket.may(after(*pass));
            if may {
                bucket.take(after(*pass));
            }
            may
        });
        assert_eq!(taken.count(), 11, "in the rest of a minute");
    }

    #[test]
    fn a_bucket_is_full_again_with_time_and_at_once_when_something_new_is_asked_for() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        let empty = |bucket: &mut Bucket, from: Instant| {
            let mut taken = 0;
            while bucket.may(from + Duration::from_micros(taken)) {
                bucket.take(from + Duration::from_micros(taken));
                taken += 1;
            }
            taken
        };
        bucket.ask(&1);
        assert_eq!(empty(&mut bucket, start), 30);
        bucket.ask(&1);
        assert_eq!(empty(&mut bucket, start + Duration::from_secs(1)), 0);
        bucket.ask(&2);
        assert_eq!(empty(&mut bucket, start + Duration::from_secs(2)), 30);
        let later = start + Duration::from_mins(5);
        assert_eq!(empty(&mut bucket, later), 30);
        assert_eq!(bucket.wait(later + Duration::from_mins(1)), Duration::ZERO);
    }

    #[test]
    fn the_same_is_told_once_a_minute_with_how_often_it_was_so() {
        let (mut told, start) = (Told::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(told.again(&"a", after(0)), Some(0));
        assert_eq!(told.again(&"b", after(1)), Some(0));
        assert_eq!(told.again(&"a", after(2)), None);
        assert_eq!(told.again(&"a", after(59)), None);
        assert_eq!(told.again(&"a", after(60)), Some(2));
        assert_eq!(told.again(&"a", after(61)), None);
        assert_eq!(told.again(&"a", after(5000)), Some(0));
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
