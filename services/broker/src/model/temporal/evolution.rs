//! The temporal representation of entities as it is written: instance by instance, as they come in the order of time,
//! sorted into attributes; and cut at one instant for all of them, where it is longer than an answer may be.

use crate::model::entity::{Instance, Kind, SCOPE};
use crate::model::json::Json;
use crate::model::names::{NONE, NULL, time_text};
use crate::model::render::View;
use crate::model::render::past::{Beside, PastEntity, ShownTimes, write_array, write_values};
use crate::model::temporal::Clock;
use crate::model::view::projection::Shown;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What an element takes in memory beside its text.
const OF_ELEMENT: usize = 24;

/// How instances are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Whole, normalized or concise.
    Instances,
    /// Their values and times only (clause 4.5.9).
    Values,
}

/// One instance of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct PastInstance {
    /// The place of its entity in the answer.
    pub entity: i64,
    /// The IRI of its attribute.
    pub attr: String,
    /// Its id.
    pub id: String,
    /// What it says; of a deletion the null that stands for it.
    pub instance: Instance,
    /// Whether it is a deletion.
    pub is_deletion: bool,
    /// When it was stored.
    pub created: Timestamp,
    /// When it was corrected, or else stored.
    pub modified: Timestamp,
    /// The time that it is found by.
    pub key: Timestamp,
}

/// What stands for the deletion of an attribute of a kind.
#[must_use]
pub fn deletion(attr: &str, kind: Kind, dataset: Option<String>) -> Instance {
    let value = match kind {
        _ if attr == SCOPE => Json::Array(Vec::new()),
        Kind::LanguageProperty => Json::Object(vec![(NONE.to_owned(), Json::string(NULL))]),
        _ => Json::string(NULL),
    };
    let mut instance = Instance::new(kind, value);
    instance.dataset = dataset;
    instance
}

/// Elements that are written into one array.
#[derive(Debug)]
struct Part {
    dataset: Option<String>,
    kind: Kind,
    text: String,
    /// Where each element ends.
    ends: Vec<usize>,
    /// The time of the last elements, and how many come before them.
    last: Option<(Timestamp, usize)>,
}

impl Part {
    fn add(&mut self, key: Timestamp) {
        if self.last.is_none_or(|(last, _)| last != key) {
            self.last = Some((key, self.ends.len()));
        }
        self.ends.push(self.text.len());
    }

    /// Takes out the elements of this time, if they are the last ones.
    fn drop_last(&mut self, key: Timestamp) {
        if let Some((_, kept)) = self.last.filter(|(last, _)| *last == key) {
            self.ends.truncate(kept);
            let end = self.ends.last().copied().unwrap_or_default();
            self.text.truncate(end);
        }
    }

    fn elements(&self) -> impl DoubleEndedIterator<Item = &str> {
        (0..self.ends.len()).map(|n| {
            let start = n
                .checked_sub(1)
                .and_then(|n| self.ends.get(n))
                .copied()
                .unwrap_or_default();
            let end = self.ends.get(n).copied().unwrap_or_default();
            self.text.get(start..end).unwrap_or_default()
        })
    }
}

/// From when to when instances are in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The time of the first that was added.
    pub first: Timestamp,
    /// The time of the last that was kept.
    pub last: Timestamp,
}

/// The past of some entities, as it is written.
pub struct Evolution<'a> {
    view: View<'a>,
    form: Form,
    clock: Clock,
    /// Whether instances come from the latest to the first.
    backwards: bool,
    parts: BTreeMap<(i64, String), Vec<Part>>,
    span: Option<Span>,
    /// The time of those before the last.
    before_last: Option<Timestamp>,
    size: usize,
}

impl<'a> Evolution<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(view: View<'a>, form: Form, clock: Clock, backwards: bool) -> Self {
        Self {
            view,
            form,
            clock,
            backwards,
            parts: BTreeMap::new(),
            span: None,
            before_last: None,
            size: 0,
        }
    }

    /// How many bytes of memory it takes, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Adds an instance; all are added in the order of time, or all in the opposite one.
    pub fn add(&mut self, past: &PastInstance) {
        let (view, form, clock) = (self.view, self.form, self.clock);
        let series = self.part(
            past.entity,
            &past.attr,
            past.instance.kind,
            past.instance.dataset.as_deref(),
        );
        let before = series.text.len();
        match form {
            Form::Values => {
                let observed = past.instance.observed_at.as_deref();
                let observed = observed.filter(|_| matches!(clock, Clock::Any | Clock::Observed));
                let time = observed.map_or_else(|| time_text(past.key), str::to_owned);
                view.past_value(&mut series.text, &past.attr, &past.instance, &time);
            }
            Form::Instances => {
                let beside = Beside {
                    id: &past.id,
                    created: past.created,
                    modified: past.modified,
                    times: shown_times(view.shape.sys_attrs, clock, past),
                };
                view.past_instance(&mut series.text, &past.attr, &past.instance, &beside);
            }
        }
        series.add(past.key);
        let more = series.text.len() - before + OF_ELEMENT;
        self.size += more;
        let first = self.span.map_or(past.key, |span| span.first);
        if let Some(span) = self.span.filter(|span| span.last != past.key) {
            self.before_last = Some(span.last);
        }
        self.span = Some(Span {
            first,
            last: past.key,
        });
    }

    /// Sees to it that an attribute is there, also without any instance.
    pub fn has(&mut self, entity: i64, attr: &str, kind: Kind, dataset: Option<&str>) {
        self.part(entity, attr, kind, dataset);
    }

    fn part(&mut self, entity: i64, attr: &str, kind: Kind, dataset: Option<&str>) -> &mut Part {
        let kind = self.view.past_kind(kind);
        let is_one_array = self.form == Form::Instances;
        let parts = self.parts.entry((entity, attr.to_owned())).or_default();
        let at = parts
            .iter()
            .position(|part| is_one_array || (part.kind == kind && part.dataset.as_deref() == dataset));
        let at = at.unwrap_or_else(|| {
            parts.push(Part {
                dataset: dataset.map(str::to_owned),
                kind,
                text: String::new(),
                ends: Vec::new(),
                last: None,
            });
            self.size += attr.len() + size_of::<Part>();
            parts.len() - 1
        });
        #[expect(
            clippy::indexing_slicing,
            reason = "the position was found, or made, just now"
        )]
        &mut parts[at]
    }

    /// Cuts it where more instances would come, the next of this time: instances of one time are in one answer, so what is
    /// before the cut is whole. Where all have the same time there is nothing else to cut at.
    pub fn cut(&mut self, next: Timestamp) {
        let (Some(span), Some(before)) = (self.span, self.before_last) else {
            return;
        };
        if span.last == next {
            for part in self.parts.values_mut().flatten() {
                part.drop_last(next);
            }
            self.span = Some(Span { last: before, ..span });
        }
    }

    /// From when to when instances are in it, in the order in which they came.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.span
    }

    /// Appends the entities that have a member to show, each with what there is of its past, with commas between them.
    pub fn finish(self, out: &mut String, entities: &[(i64, PastEntity)], shown: &[Shown<'_>]) {
        let mut parts = self.parts;
        let mut first = true;
        for (place, entity) in entities {
            let after = parts.split_off(&(place + 1, String::new()));
            let of_entity = std::mem::replace(&mut parts, after);
            let attributes: Vec<(String, String)> = of_entity
                .into_iter()
                .map(|((_, iri), parts)| (iri, json(self.form, self.backwards, &parts)))
                .collect();
            if attributes.is_empty() && !self.view.shows_past(shown) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            self.view.past_entity(out, entity, shown, &attributes);
        }
    }
}

fn shown_times(sys_attrs: bool, clock: Clock, past: &PastInstance) -> ShownTimes {
    // The time that was asked by is shown, and some time always.
    let timeless = clock == Clock::Any && past.instance.observed_at.is_none();
    ShownTimes {
        created: sys_attrs || clock == Clock::Created || timeless,
        modified: sys_attrs || clock == Clock::Modified,
        deleted: past.is_deletion,
    }
}

/// One attribute: an array of instances; or values over time, in an array where there are several of them.
fn json(form: Form, backwards: bool, parts: &[Part]) -> String {
    let mut out = String::with_capacity(parts.iter().map(|part| part.text.len() + 64).sum());
    let write = |out: &mut String, part: &Part| {
        let elements: Vec<&str> = if backwards {
            part.elements().rev().collect()
        } else {
            part.elements().collect()
        };
        match form {
            Form::Instances => write_array(out, elements.into_iter()),
            Form::Values => write_values(out, part.kind, part.dataset.as_deref(), elements.into_iter()),
        }
    };
    match parts {
        [single] => write(&mut out, single),
        several => {
            out.push('[');
            for (n, part) in several.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(&mut out, part);
            }
            out.push(']');
        }
    }
    out
}

#[cfg(test)]
#[path = "evolution_tests.rs"]
mod tests;
