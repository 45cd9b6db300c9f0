//! The subscriptions of each tenant as writes need them: prepared, in memory, true of one epoch.

use crate::model::diff::changes;
use crate::model::entity::Entity;
use crate::query::evaluate::{Prepared, Subject};
use crate::query::index::Index;
use crate::store::TenantId;
use crate::store::subscriptions::Kept;
use crate::subscription::Subscription;
use crate::subscription::trigger::{Change, Triggers};
use jiff::Timestamp;
use std::collections::HashMap;
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
    fn of(subscription: Subscription) -> Option<Self> {
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
            subscription: Arc::new(subscription),
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

/// The subscriptions of a tenant as of one epoch.
#[derive(Default)]
pub struct Known {
    /// The epoch.
    pub epoch: i64,
    all: HashMap<i64, Ready>,
    /// Which of them a write can concern, so that each write asks a few of many.
    index: Index<i64>,
}

impl Known {
    /// Prepares all subscriptions of an epoch.
    #[must_use]
    pub fn new(epoch: i64, all: Vec<Kept>) -> Self {
        let ready = |kept: Kept| Some((kept.number, Ready::of(kept.subscription)?));
        let all: HashMap<i64, Ready> = all.into_iter().filter_map(ready).collect();
        let mut index = Index::default();
        for (number, ready) in &all {
            index.insert(*number, &ready.criteria, &ready.subscription.watched_attributes);
        }
        Self { epoch, all, index }
    }

    /// Whether no change concerns anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One of them by number.
    #[must_use]
    pub fn get(&self, number: i64) -> Option<&Ready> {
        self.all.get(&number)
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
            let ready = self.all.get(&number);
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
