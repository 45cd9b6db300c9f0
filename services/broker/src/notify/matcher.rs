//! The subscriptions of each tenant as writes need them: prepared, in memory, true of one epoch.

use crate::model::diff::changes;
use crate::model::entity::Entity;
use crate::permissions::Rules;
use crate::query::evaluate::{Prepared, Subject};
use crate::query::index::Index;
use crate::store::TenantId;
use crate::subscription::Subscription;
use crate::subscription::trigger::{Change, Triggers};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use tokio::sync::{Mutex, MutexGuard};

/// How many lanes a subscription has: so many notifications are under way to one receiver at once.
pub const LANES: u32 = 8;

/// The lane of an entity. Replicas and versions agree on it.
#[must_use]
pub fn lane(entity: &str) -> i16 {
    // FNV-1a, 32 bits.
    let hash = entity.bytes().fold(0x811c_9dc5_u32, |state, byte| {
        (state ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    i16::try_from(hash % LANES).unwrap_or_default()
}

/// A subscription, ready to be asked.
pub struct Ready {
    /// What is wanted.
    pub subscription: Arc<Subscription>,
    triggers: Triggers,
    criteria: Prepared,
    expires: Option<Timestamp>,
    wants_before: bool,
}

impl Ready {
    /// `None` for one that no change can trigger.
    fn of(subscription: Arc<Subscription>) -> Option<Self> {
        if subscription.is_active == Some(false) || subscription.time_interval.is_some() {
            return None;
        }
        // What was kept was checked; one that a newer version wrote, and this one cannot read, waits for that version.
        let criteria = subscription
            .criteria()
            .and_then(|selection| Prepared::of(&selection));
        let criteria = match criteria {
            Ok(criteria) => criteria,
            Err(why) => {
                tracing::error!(subscription = subscription.id, %why, "a subscription cannot be used by this version");
                return None;
            }
        };
        let kinds = &subscription.notification_trigger;
        Some(Self {
            triggers: Triggers::new(kinds, &subscription.watched_attributes),
            criteria,
            expires: subscription.expires(),
            wants_before: subscription.tells_before(),
            subscription,
        })
    }

    fn is_concerned(&self, change: &Change<'_>, subject: &mut Subject<'_>, now: Timestamp) -> bool {
        self.expires.is_none_or(|at| at > now)
            && self.triggers.count(change)
            && self.criteria.selects(subject)
    }

    fn is_concerned_as_seen(&self, Sight { before, after }: &Sight, now: Timestamp) -> bool {
        let (before, after) = (before.as_ref(), after.as_ref());
        let instances = changes(before.map(|e| &e.attributes), after.map(|e| &e.attributes));
        let change = Change {
            before,
            after,
            instances: &instances,
        };
        let entity = change.entity();
        entity.is_some_and(|entity| self.is_concerned(&change, &mut Subject::of(entity), now))
    }
}

/// Whom a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// Numbers of subscriptions.
    pub subscriptions: Vec<i64>,
    /// Whether any of them wants to know what was before.
    pub wants_before: bool,
}

impl Concerned {
    fn add(&mut self, number: i64, ready: &Ready) {
        self.subscriptions.push(number);
        self.wants_before |= ready.wants_before;
    }
}

/// A subscription as the database has it.
pub struct There {
    /// Its number.
    pub number: i64,
    /// What is another one after each change of it.
    pub version: i64,
    /// What is wanted.
    pub subscription: Subscription,
}

/// One that was read.
#[derive(Clone)]
struct Seen {
    version: i64,
    subscription: Arc<Subscription>,
    /// `None` for one that no change can trigger.
    ready: Option<Arc<Ready>>,
}

/// The subscriptions of a tenant as of one epoch.
#[derive(Default)]
pub struct Known {
    /// The epoch.
    pub epoch: i64,
    all: HashMap<i64, Seen>,
    /// Which of those whose owner, if there is one, sees everything a write can concern, so that each write asks a few of many.
    open: Index<i64>,
    /// The same of those whose owner sees less than there is.
    owned: Index<i64>,
    /// What owners see, by its text: many subscriptions have one owner, and what it sees is in memory once.
    rules: HashMap<String, Weak<Rules>>,
}

/// A change as the owner of a subscription sees it: what comes into its sight is new to it, and what leaves it is gone.
struct Sight {
    before: Option<Entity>,
    after: Option<Entity>,
}

impl Sight {
    fn of(rules: &Rules, change: &Change<'_>) -> Self {
        let seen = |entity: Option<&Entity>| rules.seen(entity?.clone());
        Self {
            before: seen(change.before),
            after: seen(change.after),
        }
    }
}

impl Known {
    /// Of all that are there, by number and version, those that have to be read.
    #[must_use]
    pub fn unknown(&self, there: &[(i64, i64)]) -> Vec<i64> {
        let known =
            |number: &i64, version: i64| self.all.get(number).is_some_and(|seen| seen.version == version);
        let unknown = there.iter().filter(|(number, version)| !known(number, *version));
        unknown.map(|(number, _)| *number).collect()
    }

    /// The next epoch: of those that are there some were read, and the others are as they were. What is prepared is
    /// prepared once.
    #[must_use]
    pub fn next(&self, epoch: i64, there: &[(i64, i64)], read: Vec<There>) -> Self {
        let there: HashSet<i64> = there.iter().map(|(number, _)| *number).collect();
        let mut next = Self {
            epoch,
            all: self.all.clone(),
            open: self.open.clone(),
            owned: self.owned.clone(),
            rules: self.rules.clone(),
        };
        next.rules.retain(|_, rules| rules.strong_count() > 0);
        let gone = self.all.keys().filter(|number| !there.contains(number));
        gone.for_each(|number| next.forget(*number));
        for one in read {
            next.see(one);
        }
        next
    }

    fn forget(&mut self, number: i64) {
        self.all.remove(&number);
        self.open.remove(number);
        self.owned.remove(number);
    }

    fn see(
        &mut self,
        There {
            number,
            version,
            mut subscription,
        }: There,
    ) {
        if let Some(seen) = self.all.get_mut(&number)
            && *seen.subscription == subscription
        {
            // What came of it was noted, nothing else.
            seen.version = version;
            return;
        }
        self.forget(number);
        self.share_rules(&mut subscription);
        let subscription = Arc::new(subscription);
        let ready = Ready::of(Arc::clone(&subscription)).map(Arc::new);
        if let Some(ready) = &ready {
            let index = match &subscription.owner {
                Some(owner) if !owner.rules().are_unlimited() => &mut self.owned,
                _ => &mut self.open,
            };
            index.insert(number, &ready.criteria, &subscription.watched_attributes);
        }
        let seen = Seen {
            version,
            subscription,
            ready,
        };
        self.all.insert(number, seen);
    }

    fn share_rules(&mut self, subscription: &mut Subscription) {
        let Some(owner) = &mut subscription.owner else {
            return;
        };
        if let Some(shared) = self.rules.get(owner.rules().text()).and_then(Weak::upgrade) {
            owner.share(&shared);
        } else {
            let rules = owner.rules();
            self.rules.insert(rules.text().to_owned(), Arc::downgrade(rules));
        }
    }

    /// Whether no change concerns anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.owned.is_empty()
    }

    /// One of them by number.
    #[must_use]
    pub fn get(&self, number: i64) -> Option<&Arc<Ready>> {
        self.all.get(&number)?.ready.as_ref()
    }

    /// Whom a change of an entity concerns.
    #[must_use]
    pub fn concerned(&self, before: Option<&Entity>, after: Option<&Entity>, now: Timestamp) -> Concerned {
        let mut concerned = Concerned::default();
        if self.is_empty() {
            return concerned;
        }
        let instances = changes(before.map(|e| &e.attributes), after.map(|e| &e.attributes));
        let change = Change {
            before,
            after,
            instances: &instances,
        };
        self.ask_open(&change, now, &mut concerned);
        self.ask_owned(&change, now, &mut concerned);
        // Who writes takes their rows in one order.
        concerned.subscriptions.sort_unstable();
        concerned
    }

    fn ask_open(&self, change: &Change<'_>, now: Timestamp, concerned: &mut Concerned) {
        let Some(entity) = change.entity().filter(|_| !self.open.is_empty()) else {
            return;
        };
        let mut subject = Subject::of(entity);
        let touched = change.instances.iter().map(|instance| instance.iri);
        for number in self.open.candidates(entity, touched) {
            let ready = self.get(number);
            if let Some(ready) = ready.filter(|ready| ready.is_concerned(change, &mut subject, now)) {
                concerned.add(number, ready);
            }
        }
    }

    /// Each is asked of the change that its owner sees. That one may speak of the entity as it was or as it is, with some of
    /// its attributes, and any of them may be new or gone.
    fn ask_owned(&self, change: &Change<'_>, now: Timestamp, concerned: &mut Concerned) {
        if self.owned.is_empty() {
            return;
        }
        let states = || change.before.into_iter().chain(change.after);
        let names = || states().flat_map(|entity| entity.attributes.keys().map(String::as_str));
        let candidates = states().flat_map(|entity| self.owned.candidates(entity, names()));
        let candidates: BTreeSet<i64> = candidates.collect();
        let mut sights: HashMap<*const Rules, Sight> = HashMap::new();
        for number in candidates {
            let Some(ready) = self.get(number) else { continue };
            let Some(owner) = &ready.subscription.owner else {
                continue;
            };
            let sight = sights.entry(Arc::as_ptr(owner.rules()));
            let sight = sight.or_insert_with(|| Sight::of(owner.rules(), change));
            if ready.is_concerned_as_seen(sight, now) {
                concerned.add(number, ready);
            }
        }
    }
}

/// The subscriptions of all tenants that were written to.
#[derive(Default)]
pub struct Matcher {
    tenants: RwLock<HashMap<TenantId, Arc<Known>>>,
    turn: Mutex<()>,
}

impl Matcher {
    /// What is known of a tenant; `None`: nothing yet.
    #[must_use]
    pub fn known(&self, tenant: TenantId) -> Option<Arc<Known>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(&tenant).cloned()
    }

    /// The same, if it is of this epoch or a later one.
    #[must_use]
    pub fn known_since(&self, tenant: TenantId, epoch: i64) -> Option<Arc<Known>> {
        self.known(tenant).filter(|known| known.epoch >= epoch)
    }

    /// Who wants to learn does so one after the other: all that write at once just after a start, or after somebody has
    /// subscribed, would read the same thousands of subscriptions, each into memory of its own.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Learns what is newer than what is known; returns the newest.
    pub fn learn(&self, tenant: TenantId, known: Known) -> Arc<Known> {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let there = tenants.entry(tenant).or_default();
        if known.epoch >= there.epoch {
            *there = Arc::new(known);
        }
        Arc::clone(there)
    }
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
