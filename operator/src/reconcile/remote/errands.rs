//! All errands, and the one task that runs them: beside any pass, few at a time, whoever waits longest first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use mim_crds::{EventReason, Reason};
use mim_egress::Client;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;

use super::door::Door;
use super::errand::{Errand, Outcome, Sight, Turn};
use super::{Finding, Remote, Written};
use crate::metrics::Metrics;
use crate::reconcile::child::Owner;
use crate::reconcile::event::Note;
use crate::reconcile::kind::Complaint;
use crate::reconcile::lease::LeaseClock;
use crate::reconcile::live::OwnerKey;
use crate::reconcile::retry::{self, Remedy};
use crate::reconcile::trigger::Triggers;

/// What is as wanted is read again after this time, up to a quarter less: what was changed by hand is set back within it.
pub const PERIOD: Duration = Duration::from_mins(5);
/// Turns at the same time.
const CONCURRENT: usize = 32;
/// Of these, turns for objects of one namespace: whoever fills it with brokers that do not answer makes only his own wait.
const OF_A_NAMESPACE: usize = 8;
/// And turns at one place: a slow broker holds up its own subscriptions, and leaves room for those of its neighbours.
const AT_A_PLACE: usize = 2;
/// Steps that one errand may need one after the other. Two or three are usual; more is a broker that does not show what it takes.
const STEPS: u32 = 8;

/// The clocks of errands.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between two looks at what is as wanted.
    pub period: Duration,
    /// The clock of findings.
    pub now: fn() -> Timestamp,
    /// Jitter in `0.0..1.0`.
    pub jitter: fn() -> f64,
}

struct Entry {
    kind: &'static str,
    owner: OwnerKey,
    errand: Errand,
    written: Written,
    due: Instant,
    under_way: bool,
    failing_since: Option<Instant>,
    steps: u32,
    last: Option<(Result<Sight, Complaint>, Settled, Timestamp)>,
    told: Option<u64>,
    notes: Vec<Note>,
}

type Settled = bool;

/// All errands, by uid of their owner.
pub struct Errands {
    entries: Mutex<HashMap<String, Entry>>,
    changed: Notify,
    client: Client,
    lease: LeaseClock,
    metrics: Metrics,
    triggers: Arc<Triggers>,
    timing: Timing,
}

/// Turns under way, by namespace and by place.
#[derive(Default)]
struct Places {
    all: usize,
    by_namespace: HashMap<String, usize>,
    by_place: HashMap<String, usize>,
}

impl Places {
    fn take(&mut self, namespace: &str, place: &str) -> bool {
        let taken = |of: &HashMap<String, usize>, key: &str| of.get(key).copied().unwrap_or(0);
        let free = self.all < CONCURRENT
            && taken(&self.by_namespace, namespace) < OF_A_NAMESPACE
            && taken(&self.by_place, place) < AT_A_PLACE;
        if free {
            self.all += 1;
            *self.by_namespace.entry(namespace.to_owned()).or_default() += 1;
            *self.by_place.entry(place.to_owned()).or_default() += 1;
        }
        free
    }

    fn give_back(&mut self, namespace: &str, place: &str) {
        self.all = self.all.saturating_sub(1);
        for (of, key) in [(&mut self.by_namespace, namespace), (&mut self.by_place, place)] {
            if let Some(taken) = of.get_mut(key) {
                *taken = taken.saturating_sub(1);
                if *taken == 0 {
                    of.remove(key);
                }
            }
        }
    }
}

/// A turn that is to be made.
struct Due {
    uid: String,
    kind: &'static str,
    namespace: String,
    errand: Errand,
    written: Written,
}

impl Errands {
    /// None yet.
    #[must_use]
    pub fn new(
        client: Client,
        lease: LeaseClock,
        metrics: Metrics,
        triggers: Arc<Triggers>,
        timing: Timing,
    ) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            changed: Notify::new(),
            client,
            lease,
            metrics,
            triggers,
            timing,
        })
    }

    /// Runs this errand of the object from now on, at once when it is new, another, or nudged.
    pub fn keep(&self, owner: &Owner, errand: Errand) {
        let mut entries = self.entries();
        let now = Instant::now();
        let entry = entries.entry(owner.uid.clone()).or_insert_with(|| Entry {
            kind: owner.kind,
            owner: OwnerKey {
                kind: owner.kind.to_owned(),
                namespace: owner.namespace.clone(),
                name: owner.name.clone(),
            },
            written: errand.written.clone(),
            errand: errand.clone(),
            due: now,
            under_way: false,
            failing_since: None,
            steps: 0,
            last: None,
            told: None,
            notes: Vec::new(),
        });
        entry.moves_to(errand.job.place(), &errand.job.what());
        if !entry.errand.is(&errand) {
            // What was found concerns another errand, and so does how long it has failed.
            (entry.last, entry.told, entry.failing_since, entry.steps) = (None, None, None, 0);
            entry.due = now;
        } else if entry.errand.nudge != errand.nudge {
            entry.due = now;
        }
        entry.errand = errand;
        if entry.due <= now {
            self.changed.notify_one();
        }
    }

    /// What was found last of the object's errand, where it is of that kind.
    #[must_use]
    pub fn finding<R: Remote>(&self, uid: &str) -> Option<Finding<R::Found>> {
        let entries = self.entries();
        let entry = entries.get(uid)?;
        let (last, settled, at) = entry.last.as_ref()?;
        let found = match last {
            Err(complaint) => Err(complaint.clone()),
            Ok(sight) => Ok(Arc::clone(&sight.found).downcast::<R::Found>().ok()?),
        };
        Some(Finding {
            of: entry.errand.job.digest(),
            found,
            settled: *settled,
            written: entry.written.clone(),
            at: *at,
        })
    }

    /// What was done since the last call, to be told in events.
    #[must_use]
    pub fn notes(&self, uid: &str) -> Vec<Note> {
        let mut entries = self.entries();
        let notes = entries.get_mut(uid).map(|entry| std::mem::take(&mut entry.notes));
        notes.unwrap_or_default()
    }

    /// Nothing is done for the object any more.
    pub fn forget(&self, uid: &str) {
        self.entries().remove(uid);
    }

    /// Runs them, for ever.
    pub async fn run(&self) {
        let mut turns = FuturesUnordered::new();
        let mut places = Places::default();
        loop {
            for due in self.take_due(&mut places) {
                let door = Door::new(&self.client, &self.lease, &self.metrics, due.kind);
                turns.push(async move {
                    let turn = due
                        .errand
                        .job
                        .turn(door, due.written.clone(), due.errand.only_looks);
                    let turn = turn.await;
                    (due, turn)
                });
            }
            tokio::select! {
                Some((due, turn)) = turns.next(), if !turns.is_empty() => {
                    places.give_back(&due.namespace, due.errand.job.place());
                    self.ended(&due, turn);
                }
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(self.next_due()) => {}
            }
        }
    }

    /// The turns that are due and have a place, longest due first: who waits is never overtaken by who had a turn later.
    fn take_due(&self, places: &mut Places) -> Vec<Due> {
        let now = Instant::now();
        let mut entries = self.entries();
        let mut due: Vec<_> = entries
            .iter_mut()
            .filter(|(_, entry)| entry.due <= now && !entry.under_way)
            .collect();
        due.sort_unstable_by_key(|(_, entry)| entry.due);
        let mut turns = Vec::new();
        for (uid, entry) in due {
            if !places.take(&entry.owner.namespace, entry.errand.job.place()) {
                continue;
            }
            entry.under_way = true;
            turns.push(Due {
                uid: uid.clone(),
                kind: entry.kind,
                namespace: entry.owner.namespace.clone(),
                errand: entry.errand.clone(),
                written: entry.written.clone(),
            });
        }
        turns
    }

    /// When the next becomes due. What is due already waits for a place, which the end of a turn gives.
    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let entries = self.entries();
        let due = entries.values().map(|entry| entry.due).filter(|due| *due > now);
        due.min().unwrap_or(now + self.timing.period)
    }

    fn ended(&self, of: &Due, turn: Turn) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&of.uid) else {
            return;
        };
        entry.under_way = false;
        if turn.written.place.as_deref() == Some(entry.errand.job.place()) {
            entry.written = turn.written;
        }
        if !entry.errand.is(&of.errand) {
            // A pass has handed over another one meanwhile, which is due already.
            return;
        }
        let (now, at) = (Instant::now(), (self.timing.now)());
        // A nudge during the turn asks for another one.
        let nudged = entry.errand.nudge != of.errand.nudge;
        let rest = self.rest();
        let due = match turn.outcome {
            Outcome::Void => now + rest,
            Outcome::Stepped(note) => {
                entry.notes.extend(note);
                entry.steps += 1;
                if entry.steps < STEPS {
                    now
                } else {
                    now + entry.fail(in_vain(&entry.errand), at, (self.timing.jitter)())
                }
            }
            Outcome::Failed(complaint) => now + entry.fail(complaint, at, (self.timing.jitter)()),
            Outcome::Settled(sight) => entry.see(sight, true, at, now + rest),
            Outcome::Differs(sight) => entry.see(sight, false, at, now + rest),
        };
        entry.due = if nudged { now } else { due };
        if entry.has_news() {
            debug!(kind = entry.kind, name = entry.owner.name, "an errand has news");
            self.triggers.fire(entry.owner.clone());
        }
    }

    fn rest(&self) -> Duration {
        self.timing
            .period
            .mul_f64(1.0 - (self.timing.jitter)().clamp(0.0, 1.0) / 4.0)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// What was written elsewhere says nothing of here.
    fn moves_to(&mut self, place: &str, what: &str) {
        let Some(old) = self.written.place.as_deref().filter(|old| *old != place) else {
            return;
        };
        self.notes.push(Note::warning(
            EventReason::LeftBehind,
            format!("the broker is at {place} now; what was made at {old} is not touched there: delete {what} if that is another broker"),
        ));
        self.written = Written::default();
    }

    fn see(&mut self, sight: Sight, settled: Settled, at: Timestamp, due: Instant) -> Instant {
        self.last = Some((Ok(sight), settled, at));
        (self.failing_since, self.steps) = (None, 0);
        due
    }

    /// How long to wait before it is tried again: doubled from 5 s to 5 min; an hour or so where only a change of the other side or of the spec
    /// heals it, which both ask for a turn at once.
    fn fail(&mut self, complaint: Complaint, at: Timestamp, jitter: f64) -> Duration {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let remedy = if complaint.terminal {
            Remedy::Spec
        } else {
            Remedy::Other
        };
        self.steps = 0;
        self.last = Some((Err(complaint), false, at));
        retry::delay(remedy, since.elapsed(), jitter)
    }

    /// Whether the object has something to tell that it was not told yet.
    fn has_news(&mut self) -> bool {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let Some((last, settled, _)) = &self.last else {
            return false;
        };
        let mut hasher = DefaultHasher::new();
        match last {
            Ok(sight) => (settled, sight.news, &self.written).hash(&mut hasher),
            Err(complaint) => (complaint.reason, &complaint.message, complaint.terminal).hash(&mut hasher),
        }
        let news = hasher.finish();
        let is_new = self.told.replace(news) != Some(news);
        is_new || !self.notes.is_empty()
    }
}

/// Of an errand that comes to no end: each answer says that it is done, and each look that it is not.
fn in_vain(errand: &Errand) -> Complaint {
    Complaint {
        reason: Reason::BrokerRefused,
        message: format!(
            "{} answers that {} is as it should be, and shows something else; it is tried again",
            errand.job.place(),
            errand.job.what()
        ),
        terminal: false,
    }
}

#[cfg(test)]
#[path = "errands_tests.rs"]
mod tests;
