//! Instances as they become an answer: within the room that all answers have, and cut where it would be too long.

use crate::api::page::MAX_PAGE;
use crate::api::problem::Problem;
use crate::api::query::too_slow;
use crate::api::reply::{Roomed, UNCOUNTED};
use crate::api::temporal::asked::{Format, Showing};
use crate::memory::room::{Held, Room};
use crate::model::entity::SCOPE;
use crate::model::render::past::PastEntity;
use crate::model::temporal::evolution::{Evolution, Form, PastInstance, Span};
use crate::permissions::reach::Reach;
use crate::query::sql::Statement;
use crate::query::sql::past::{self, Rows, Wanted, Which};
use crate::store::past::Found;
use crate::store::rows::Sizes;
use crate::store::{Store, StoreError, weight};
use jiff::Timestamp;

/// The largest answer, in bytes, before it is put together: while that is done it is in memory twice.
const MAX_SIZE: usize = MAX_PAGE / 2;
/// Room is taken in steps of so many bytes.
const ROOM_STEP: usize = 256 * 1024;

/// The past of some entities, with what is known of it.
pub struct Read {
    /// The entities, in order; one more than were asked for where there are more.
    pub entities: Vec<(i64, PastEntity)>,
    /// How many there are in all, where that was asked for.
    pub count: Option<u64>,
    /// Whether nothing was found: no instance, or where attributes were named none of any of them.
    pub is_empty: bool,
    /// From when to when the answer is, where more would have followed.
    pub cut: Option<Span>,
}

/// An answer that is being read.
struct Reading<'a> {
    evolution: Evolution<'a>,
    entities: Vec<(i64, PastEntity)>,
    answers: &'a Room,
    room: Held,
    limit: usize,
    taken: usize,
    /// How many of them are of scopes, which an entity has whatever attributes are asked for.
    of_scopes: usize,
    /// The time of the first instance that is not in the answer.
    next: Option<Timestamp>,
    /// The size of the largest one that was left out because it is large.
    large: usize,
    crowded: bool,
}

impl<'a> Reading<'a> {
    fn new(showing: &'a Showing, wanted: &Wanted, answers: &'a Room) -> Self {
        let form = match showing.format {
            Format::Values => Form::Values,
            _ => Form::Instances,
        };
        let query = &showing.query;
        Self {
            evolution: Evolution::new(showing.view(), form, query.clock, query.last.is_some()),
            entities: Vec::new(),
            answers,
            room: Held::default(),
            limit: wanted.limit,
            taken: 0,
            of_scopes: 0,
            next: None,
            large: 0,
            crowded: false,
        }
    }

    /// Takes a row; false when no more are wanted.
    fn take(&mut self, found: Found) -> bool {
        match found {
            Found::Entity(place, entity) => self.entities.push((place, entity)),
            Found::Large(size) => self.large = self.large.max(size),
            Found::Instance(instance) if self.large == 0 && self.next.is_none() => {
                return self.add(&instance);
            }
            _ => {}
        }
        true
    }

    fn add(&mut self, instance: &PastInstance) -> bool {
        let too_large = self.evolution.size() > MAX_SIZE;
        if self.taken == self.limit || too_large {
            self.next = Some(instance.key);
            // A few more come where the number is what cuts, and the connection stays.
            return !too_large;
        }
        self.evolution.add(instance);
        self.taken += 1;
        self.of_scopes += usize::from(instance.attr == SCOPE);
        self.has_room()
    }

    fn has_room(&mut self) -> bool {
        // While it is put together it is there twice.
        let size = self.evolution.size() * 2;
        if size > UNCOUNTED && size > self.room.size() {
            let size = size.next_multiple_of(ROOM_STEP);
            self.crowded = self.answers.try_grow(&mut self.room, size).is_err();
        }
        !self.crowded
    }
}

/// Reads the past of entities and writes it.
pub async fn read(
    store: &Store,
    reach: Reach<'_>,
    showing: &Showing,
    which: Which<'_>,
    count: Option<&Statement>,
    answers: &Room,
) -> Result<(Roomed, Read), Problem> {
    let wanted = showing.wanted(0);
    let statement = |rows| past::evolution(reach, which, &wanted, rows);
    let mut reading = Reading::new(showing, &wanted, answers);
    let mut rows = Rows::Instances(Sizes::Small);
    let mut counted = store
        .past(&statement(rows), rows, count, |found| reading.take(found))
        .await
        .map_err(too_slow)?;
    if reading.large > 0 {
        // Again, with room for the largest: they come one by one.
        let room = store.room(weight::of_size(reading.large)).await?;
        reading = Reading::new(showing, &wanted, answers);
        rows = Rows::Instances(Sizes::Any);
        counted = store
            .past(&statement(rows), rows, count, |found| reading.take(found))
            .await
            .map_err(too_slow)?;
        drop(room);
    }
    if reading.crowded {
        return Err(Problem::unavailable(
            "too many large answers are being sent at the moment",
        ));
    }
    let mut cut = None;
    if let Some(next) = reading.next {
        reading.evolution.cut(next);
        cut = reading.evolution.span();
        add_names(store, &statement(Rows::Kinds), &mut reading.evolution).await?;
    }
    Ok(finish(showing, reading, which, counted, cut))
}

/// Adds the attributes of which no instance is in the answer and some would have been, had it gone on.
async fn add_names(
    store: &Store,
    statement: &Statement,
    evolution: &mut Evolution<'_>,
) -> Result<(), Problem> {
    let take = |found| {
        if let Found::Kind(kind) = found {
            evolution.has(kind.entity, &kind.attr, kind.kind, kind.dataset.as_deref());
        }
        true
    };
    let read: Result<_, StoreError> = store.past(statement, Rows::Kinds, None, take).await;
    read.map(drop).map_err(too_slow)
}

fn finish(
    showing: &Showing,
    reading: Reading<'_>,
    which: Which<'_>,
    count: Option<u64>,
    cut: Option<Span>,
) -> (Roomed, Read) {
    let (single, limit) = match which {
        Which::One(_) => (true, 1),
        Which::Some { limit, .. } => (false, limit),
    };
    let Reading {
        evolution,
        mut entities,
        room,
        taken,
        of_scopes,
        ..
    } = reading;
    entities.sort_unstable_by_key(|(place, _)| *place);
    let mut text = String::with_capacity(evolution.size() + 1024);
    let of_page = entities.get(..limit.min(entities.len())).unwrap_or_default();
    if single {
        evolution.finish(&mut text, of_page, &[showing.shape.shown()]);
    } else {
        text.push('[');
        evolution.finish(&mut text, of_page, &[showing.shape.shown()]);
        text.push(']');
    }
    let read = Read {
        entities,
        count,
        is_empty: taken == 0 || showing.shape.attrs.is_some() && taken == of_scopes,
        cut,
    };
    (Roomed { text, room }, read)
}
