//! The subscriptions of each tenant as writes need them: prepared, in memory, true of one epoch.

use crate::model::diff::changes;
use crate::model::entity::Entity;
use crate::query::evaluate::{Prepared, Subject};
use crate::query::index::Index;
use crate::store::TenantId;
use crate::subscription::Subscription;
use crate::subscription::trigger::{Change, Triggers};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

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
}

/// Whom a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concerned {
    /// Numbers of subscriptions.
    pub subscriptions: Vec<i64>,
    /// Whether any of them wants to know what was before.
    pub wants_before: bool,
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
    /// Which of them a write can concern, so that each write asks a few of many.
    index: Index<i64>,
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
            index: self.index.clone(),
        };
        let gone = self.all.keys().filter(|number| !there.contains(number));
        gone.for_each(|number| next.forget(*number));
        for one in read {
            next.see(one);
        }
        next
    }

    fn forget(&mut self, number: i64) {
        self.all.remove(&number);
        self.index.remove(number);
    }

    fn see(
        &mut self,
        There {
            number,
            version,
            subscription,
        }: There,
    ) {
        if let Some(seen) = self.all.get_mut(&number)
            && *seen.subscription == subscription
        {
            // What came of it was noted, nothing else.
            seen.version = version;
            return;
        }
        let subscription = Arc::new(subscription);
        let ready = Ready::of(Arc::clone(&subscription)).map(Arc::new);
        match &ready {
            Some(ready) => self
                .index
                .insert(number, &ready.criteria, &subscription.watched_attributes),
            None => self.index.remove(number),
        }
        let seen = Seen {
            version,
            subscription,
            ready,
        };
        self.all.insert(number, seen);
    }

    /// Whether no change concerns anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
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
        let Some(entity) = after.or(before) else {
            return concerned;
        };
        if self.is_empty() {
            return concerned;
        }
        let instances = changes(before.map(|e| &e.attributes), after.map(|e| &e.attributes));
        let change = Change {
            before,
            after,
            instances: &instances,
        };
        let mut subject = Subject::of(entity);
        let touched = instances.iter().map(|instance| instance.iri);
        for number in self.index.candidates(entity, touched) {
            let ready = self.get(number);
            if let Some(ready) = ready.filter(|ready| ready.is_concerned(&change, &mut subject, now)) {
                concerned.subscriptions.push(number);
                concerned.wants_before |= ready.wants_before;
            }
        }
        concerned
    }
}

/// The subscriptions of all tenants that were written to.
#[derive(Default)]
pub struct Matcher {
    tenants: RwLock<HashMap<TenantId, Arc<Known>>>,
}

impl Matcher {
    /// What is known of a tenant; `None`: nothing yet.
    #[must_use]
    pub fn known(&self, tenant: TenantId) -> Option<Arc<Known>> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(&tenant).cloned()
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
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::model::json::Json;
    use crate::model::stored;

    fn there(number: i64, version: i64, more: &str) -> There {
        let text = format!(
            r#"{{"id":"urn:s:{number}","type":"Subscription","entities":[{{"type":"T","idPattern":"x:{number}"}}],{more}"notification":{{"endpoint":{{"uri":"http://r.example/"}}}}}}"#
        );
        let json = Json::parse(text.as_bytes()).unwrap();
        let read = Subscription::read(&json, &Context::core(), "", Timestamp::UNIX_EPOCH);
        There {
            number,
            version,
            subscription: read.unwrap(),
        }
    }

    fn concerned(known: &Known, id: &str) -> Vec<i64> {
        let entity = Entity {
            id: id.to_owned(),
            types: vec![Context::core().expand("T").into_owned()],
            scope: Vec::new(),
            attributes: stored::read(r#"{"urn:a":[{"type":"Property","value":1}]}"#).unwrap(),
            created: Timestamp::UNIX_EPOCH,
            modified: Timestamp::UNIX_EPOCH,
        };
        known
            .concerned(None, Some(&entity), Timestamp::UNIX_EPOCH)
            .subscriptions
    }

    #[test]
    fn each_epoch_knows_those_that_are_there_and_prepares_only_what_is_new() {
        let none = Known::default();
        let first = [(1, 10), (2, 10), (3, 10)];
        assert_eq!(none.unknown(&first), [1, 2, 3]);
        let known = none.next(1, &first, (1..=3).map(|n| there(n, 10, "")).collect());
        assert_eq!(
            (concerned(&known, "urn:x:1"), concerned(&known, "urn:x:3")),
            (vec![1], vec![3])
        );

        // The first was noted to have been told, the second paused, the third deleted, and a fourth made.
        let second = [(1, 11), (2, 11), (4, 11)];
        assert_eq!(known.unknown(&second), [1, 2, 4]);
        let read = vec![
            there(1, 11, ""),
            there(2, 11, r#""isActive":false,"#),
            there(4, 11, ""),
        ];
        let next = known.next(2, &second, read);
        assert_eq!(next.unknown(&second), [0; 0]);
        assert!(Arc::ptr_eq(known.get(1).unwrap(), next.get(1).unwrap()));
        assert!(next.get(2).is_none() && next.get(3).is_none());
        for (id, expected) in [
            ("urn:x:1", vec![1]),
            ("urn:x:2", vec![]),
            ("urn:x:3", vec![]),
            ("urn:x:4", vec![4]),
        ] {
            assert_eq!(concerned(&next, id), expected, "{id}");
        }
        // What is known of the first epoch stays as it was.
        assert_eq!(concerned(&known, "urn:x:3"), [3]);

        let resumed = next.next(3, &[(2, 12)], vec![there(2, 12, "")]);
        assert_eq!(
            (concerned(&resumed, "urn:x:2"), concerned(&resumed, "urn:x:1")),
            (vec![2], vec![])
        );
        assert!(resumed.next(4, &[], Vec::new()).is_empty());
    }
}
