//! What a write tells subscribers: the record of each change that concerns somebody, and whom it concerns.

use crate::model::entity::Entity;
use crate::notify::matcher::{Known, lane};
use crate::notify::record;
use jiff::Timestamp;
use std::sync::Arc;

/// Where a notification waits: the number of its subscription, and the lane.
pub type Place = (i64, i16);

/// Records changes in their order, of which several may be of one entity.
pub const TELL: &str = "with told as ( \
    insert into mim.changes (tenant, entity, body) select $1, c.entity, c.body \
    from unnest($2::text[], $3::text[]) with ordinality as c(entity, body, nth) order by c.nth returning number), \
  numbered as (select t.number, row_number() over (order by t.number) as nth from told t), \
  due as ( \
    insert into mim.deliveries (subscription, lane, change) select d.subscription, d.lane, n.number \
    from unnest($4::bigint[], $5::smallint[], $6::bigint[]) as d(subscription, lane, nth) join numbered n using (nth)) \
  select 1 where false";

/// Changes as the columns of a set-based statement.
#[derive(Default)]
pub struct Told {
    known: Option<Arc<Known>>,
    /// Ids of entities; each once, except for [`TELL`].
    pub entities: Vec<String>,
    /// What happened to each.
    pub bodies: Vec<String>,
    /// Numbers of subscriptions that are concerned.
    pub subscriptions: Vec<i64>,
    /// The lane of each.
    pub lanes: Vec<i16>,
    /// The entity of each.
    pub of: Vec<String>,
    /// Which change it is, counted from one.
    pub nth: Vec<i64>,
    bytes: usize,
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
        let body = record::write(before, after, at);
        self.bytes += body.len();
        self.bodies.push(body);
        let nth = i64::try_from(self.bodies.len()).unwrap_or(i64::MAX);
        for number in concerned.subscriptions {
            self.subscriptions.push(number);
            self.lanes.push(lane(id));
            self.of.push(id.clone());
            self.nth.push(nth);
        }
    }

    /// How large what is told is, so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
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
