//! What a write tells subscribers: the record of each change that concerns somebody, and whom it concerns.

use crate::model::entity::Entity;
use crate::notify::matcher::{Known, lane};
use crate::notify::record;
use jiff::Timestamp;
use std::sync::Arc;

/// Where a notification waits: the number of its subscription, and the lane.
pub type Place = (i64, i16);

/// Changes as the columns of a set-based statement.
#[derive(Default)]
pub struct Told {
    known: Option<Arc<Known>>,
    /// Ids of entities, each once.
    pub entities: Vec<String>,
    /// What happened to each.
    pub bodies: Vec<String>,
    /// Numbers of subscriptions that are concerned.
    pub subscriptions: Vec<i64>,
    /// The lane of each.
    pub lanes: Vec<i16>,
    /// The entity of each.
    pub of: Vec<String>,
}

impl Told {
    /// Nothing yet, to these subscribers.
    #[must_use]
    pub fn new(known: Arc<Known>) -> Self {
        Self {
            known: Some(known),
            ..Self::default()
        }
    }

    /// Adds what a write did to an entity.
    pub fn add(&mut self, before: Option<&Entity>, after: Option<&Entity>, at: Timestamp) {
        let Some(known) = self.known.as_ref().filter(|known| !known.is_empty()) else {
            return;
        };
        let Some(id) = after.or(before).map(|entity| &entity.id) else {
            return;
        };
        let concerned = known.concerned(before, after, at);
        if concerned.subscriptions.is_empty() {
            return;
        }
        let before = before.filter(|_| concerned.wants_before || after.is_none());
        self.entities.push(id.clone());
        self.bodies.push(record::write(before, after, at));
        for number in concerned.subscriptions {
            self.subscriptions.push(number);
            self.lanes.push(lane(id));
            self.of.push(id.clone());
        }
    }

    /// Where notifications wait now.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self
            .subscriptions
            .iter()
            .copied()
            .zip(self.lanes.iter().copied())
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}
