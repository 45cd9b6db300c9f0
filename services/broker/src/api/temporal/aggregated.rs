//! Values as they become what methods make of them (clause 4.5.19). An aggregation is over all values of the interval: it
//! is never cut.

use crate::api::page::MAX_PAGE;
use crate::api::problem::{ErrorType, Problem};
use crate::api::query::too_slow;
use crate::api::reply::{self, Roomed};
use crate::api::temporal::answer::Read;
use crate::api::temporal::asked::Showing;
use crate::memory::Rooms;
use crate::memory::room::Held;
use crate::model::entity::Kind;
use crate::model::render::past::{PastEntity, write_results};
use crate::model::temporal::aggregate::Aggregate;
use crate::permissions::reach::Reach;
use crate::query::sql::Statement;
use crate::query::sql::past::{self, Rows, Which};
use crate::store::Store;
use crate::store::past::{Found, PastValue};
use std::collections::BTreeMap;

/// How many values one request may ask about.
const MAX_VALUES: usize = 1_000_000;
/// How much memory results may take uncounted, in bytes, and in which steps room is taken for more.
const UNCOUNTED: usize = 256 * 1024;
const ROOM_STEP: usize = 1024 * 1024;

/// The values of one dataset of an attribute.
struct Part {
    dataset: Option<String>,
    kind: Kind,
    values: Aggregate,
}

/// Values that are being read.
struct Reading<'a> {
    showing: &'a Showing,
    rooms: &'a Rooms,
    entities: Vec<(i64, PastEntity)>,
    parts: BTreeMap<(i64, String), Vec<Part>>,
    room: Held,
    weight: usize,
    taken: usize,
    crowded: bool,
}

impl Reading<'_> {
    fn take(&mut self, found: Found) -> bool {
        match found {
            Found::Entity(place, entity) => self.entities.push((place, entity)),
            Found::Value(value) => {
                self.taken += 1;
                if self.taken > MAX_VALUES {
                    return false;
                }
                self.add(value);
            }
            _ => {}
        }
        self.has_room()
    }

    fn add(&mut self, value: PastValue) {
        const OF_PART: usize = 512;
        let PastValue {
            entity,
            attr,
            dataset,
            key,
            kind,
            value,
        } = value;
        let parts = self.parts.entry((entity, attr)).or_default();
        if let Some(part) = parts.iter_mut().find(|part| part.dataset == dataset) {
            let before = part.values.weight();
            part.values.add(key, kind, &value);
            self.weight += part.values.weight() - before;
            return;
        }
        let interval = self.showing.query.interval;
        // Periods begin where the interval does; where it has no begin, with the first value.
        let origin = interval.from.unwrap_or(key);
        let mut values = Aggregate::new(&self.showing.aggregation, origin, interval.until);
        values.add(key, kind, &value);
        self.weight += values.weight() + OF_PART;
        parts.push(Part {
            dataset,
            kind,
            values,
        });
    }

    fn has_room(&mut self) -> bool {
        if self.weight > UNCOUNTED && self.weight > self.room.size() {
            let size = self.weight.next_multiple_of(ROOM_STEP);
            self.crowded = self.rooms.entities.try_grow(&mut self.room, size).is_err();
        }
        !self.crowded
    }

    /// Refuses methods that do not apply to an attribute.
    fn check(&self) -> Result<(), Problem> {
        let unsuited = self.parts.iter().find_map(|((_, iri), parts)| {
            let method = parts.iter().find_map(|part| part.values.unsuited())?;
            Some((iri, method))
        });
        match unsuited {
            None => Ok(()),
            Some((iri, method)) => Err(Problem::invalid(format!(
                "{} does not apply to the values of {iri}; name the attributes to aggregate with attrs",
                method.name()
            ))),
        }
    }
}

/// Reads the values of entities and writes what methods make of them.
pub async fn read(
    store: &Store,
    reach: Reach<'_>,
    showing: &Showing,
    which: Which<'_>,
    count: Option<&Statement>,
    rooms: &Rooms,
) -> Result<(Roomed, Read), Problem> {
    let wanted = showing.wanted(MAX_VALUES);
    let statement = past::evolution(reach, which, &wanted, Rows::Values);
    let mut reading = Reading {
        showing,
        rooms,
        entities: Vec::new(),
        parts: BTreeMap::new(),
        room: Held::default(),
        weight: 0,
        taken: 0,
        crowded: false,
    };
    let count = store
        .past(&statement, Rows::Values, count, |found| reading.take(found))
        .await
        .map_err(too_slow)?;
    if reading.crowded {
        return Err(Problem::unavailable(
            "too many aggregations are under way at the moment",
        ));
    }
    if reading.taken > MAX_VALUES {
        let detail = format!(
            "more than {MAX_VALUES} values are in the interval; ask for a shorter one, or fewer attributes"
        );
        return Err(Problem::new(ErrorType::TooManyResults, detail));
    }
    reading.check()?;
    reading.entities.sort_unstable_by_key(|(place, _)| *place);
    let text = write(showing, &mut reading, which)?;
    let read = Read {
        is_empty: reading.taken == 0,
        entities: reading.entities,
        count,
        cut: None,
    };
    let text = reply::roomed(text, &rooms.answers).await?;
    Ok((text, read))
}

fn write(showing: &Showing, reading: &mut Reading<'_>, which: Which<'_>) -> Result<String, Problem> {
    let (single, limit) = match which {
        Which::One(_) => (true, 1),
        Which::Some { limit, .. } => (false, limit),
    };
    let (view, shown) = (showing.view(), [showing.shape.shown()]);
    let mut out = String::from(if single { "" } else { "[" });
    let mut first = true;
    for (place, entity) in reading.entities.iter().take(limit) {
        let after = reading.parts.split_off(&(place + 1, String::new()));
        let parts = std::mem::replace(&mut reading.parts, after);
        let attributes: Vec<(String, String)> = parts
            .into_iter()
            .map(|((_, iri), parts)| (iri, json(&parts)))
            .collect();
        if attributes.is_empty() && !view.shows_past(&shown) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        view.past_entity(&mut out, entity, &shown, &attributes);
        if out.len() > MAX_PAGE {
            let detail =
                "the results are more than an answer may be; ask for longer periods or fewer entities";
            return Err(Problem::new(ErrorType::TooManyResults, detail));
        }
    }
    if !single {
        out.push(']');
    }
    Ok(out)
}

fn json(parts: &[Part]) -> String {
    let mut out = String::new();
    let several = parts.len() != 1;
    if several {
        out.push('[');
    }
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        let results = part
            .values
            .results()
            .map(|(method, results)| (method.name(), results));
        write_results(&mut out, part.kind, part.dataset.as_deref(), results);
    }
    if several {
        out.push(']');
    }
    out
}
