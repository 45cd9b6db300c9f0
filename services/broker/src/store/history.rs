//! The past of entities: what each write adds to it, in the write's own transaction.

use crate::model::diff::changes;
use crate::model::entity::{Entity, Instance, Kind, SCOPE};
use crate::model::instance_id::InstanceId;
use crate::model::json::Json;
use crate::model::names::{instant, time_text};
use crate::model::stored;
use jiff::Timestamp;
use uuid::Uuid;

/// What is done about the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Whether writes add to it.
    pub adds: bool,
    /// Whether there is any, so that deletions have something to forget.
    pub has_any: bool,
}

impl Keeping {
    /// Up to which instance, itself not included, the past of an entity that is deleted goes with it.
    #[must_use]
    pub fn forgets(self, entity: &Entity) -> Option<Uuid> {
        // Whatever the clocks of replicas say: no instance is stored after its entity was modified last.
        (self.adds || self.has_any).then(|| InstanceId::first_at(after(entity.modified)).0)
    }
}

/// The earliest time after another one that ids of instances can tell from it.
#[must_use]
pub fn after(at: Timestamp) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(at)
}

/// Rows of the history as the columns of a set-based statement.
#[derive(Default)]
pub struct Past {
    keeping: Keeping,
    /// Ids of entities.
    pub entities: Vec<String>,
    /// IRIs of attributes.
    pub attrs: Vec<String>,
    /// Ids of instances.
    pub instances: Vec<Uuid>,
    /// When each was stored.
    pub recorded: Vec<Timestamp>,
    /// Datasets.
    pub datasets: Vec<Option<String>>,
    /// When each was observed.
    pub observed: Vec<Option<Timestamp>>,
    /// Each instance as it is stored in its entity; `None`: it is gone.
    pub bodies: Vec<Option<String>>,
}

impl Past {
    /// No rows yet.
    #[must_use]
    pub fn new(keeping: Keeping) -> Self {
        Self {
            keeping,
            ..Self::default()
        }
    }

    /// Adds what a write did to an entity.
    pub fn add(&mut self, before: Option<&Entity>, after: &Entity) {
        if !self.keeping.adds {
            return;
        }
        // Clocks of replicas differ; no instance of an entity is stored before an earlier one.
        let at = before.map_or(after.modified, |before| after.modified.max(before.modified));
        for change in changes(before.map(|before| &before.attributes), Some(&after.attributes)) {
            self.add_one(&after.id, change.iri, change.dataset(), change.after, at);
        }
        if before.map_or(&[][..], |before| &before.scope) != after.scope {
            let scope = (!after.scope.is_empty()).then(|| {
                let names = after.scope.iter().map(Json::string).collect();
                let mut scope = Instance::new(Kind::Property, Json::Array(names));
                // A scope is as of when it was set (clause 4.5.6).
                scope.observed_at = Some(time_text(at));
                scope
            });
            self.add_one(&after.id, SCOPE, None, scope.as_ref(), at);
        }
    }

    /// Adds one row.
    pub fn add_one(
        &mut self,
        entity: &str,
        attr: &str,
        dataset: Option<&str>,
        instance: Option<&Instance>,
        at: Timestamp,
    ) -> InstanceId {
        // Ids of one write are in the order in which they were added; so many bits of them tell it, the others are random.
        const ORDER: u32 = 14;
        let order = (self.instances.len() as u64) << (u64::BITS - ORDER);
        let id = InstanceId::new(at, order | rand::random::<u64>() >> ORDER);
        self.entities.push(entity.to_owned());
        self.attrs.push(attr.to_owned());
        self.instances.push(id.0);
        self.recorded.push(at);
        self.datasets.push(dataset.map(str::to_owned));
        let observed = instance.and_then(|instance| instance.observed_at.as_deref());
        self.observed.push(observed.and_then(instant));
        self.bodies.push(instance.map(stored::instance_text));
        id
    }
}
