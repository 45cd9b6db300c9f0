//! Some entities and some of their attributes: what a rule speaks of, checked, and what a permission set is made of.

use crate::answer::Answer;
use crate::area::Area;
use crate::facts::{Facts, Location};
use mim_grammar::names::MAX_IRI;
use mim_grammar::pattern::{Pattern, Scratch};
use mim_grammar::scope::{Level, ScopePattern};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How many patterns a grant may have, as the broker reads it.
pub(crate) const MAX_PATTERNS: usize = 20;
/// How many states the machines of its patterns may have together. The broker spends at most 20,000,000 steps on a grant,
/// half a step for a state and a byte of the id, and allows nothing and denies all where that is not enough.
pub(crate) const MAX_STATES: usize = 20_000_000 * 2 / (MAX_IRI + 1) - 1;

/// Texts, sorted and distinct.
pub(crate) type Texts = Arc<[Box<str>]>;

/// Some entities, and which of their attributes. What is `None` does not restrict; all that is there holds at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Grant {
    /// One of these types.
    pub types: Option<Texts>,
    /// One of these ids.
    pub ids: Option<Ids>,
    /// A scope like one of these.
    pub scopes: Option<Arc<[Scope]>>,
    /// A place inside of this.
    pub area: Option<Arc<Area>>,
    /// These attributes; `None`: all of them, and the entity as such.
    pub attributes: Option<Texts>,
}

/// Some ids: at least one text or pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ids {
    /// These.
    pub exact: Texts,
    /// Those in which one of these is found, sorted by text.
    pub patterns: Arc<[Pattern]>,
}

/// A term of the scope query language.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// As it was written.
    pub text: Box<str>,
    /// What it means.
    pub pattern: ScopePattern,
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Which part of a grant a fact was asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its types.
    Types,
    /// Its ids and id patterns.
    Ids,
    /// Its scopes.
    Scopes,
    /// Its area.
    Area,
}

impl Grant {
    /// Whether the entity is one of these.
    pub fn selects(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Answer {
        Answer::all(self.parts(facts, scratch).map(|(_, answer)| answer))
    }

    /// The same part by part, what costs least first.
    pub fn parts<'g>(
        &'g self,
        facts: &'g Facts<'_>,
        scratch: &'g mut Scratch,
    ) -> impl Iterator<Item = (Part, Answer)> + 'g {
        let types = || self.types.as_ref().map(|types| of_types(types, facts));
        let scopes = || self.scopes.as_ref().map(|scopes| of_scopes(scopes, facts));
        let ids = || self.ids.as_ref().map(|ids| ids.have(facts.id, scratch));
        let area = || self.area.as_ref().map(|area| of_area(area, facts.location));
        let asked = std::iter::once_with(types).map(|answer| (Part::Types, answer));
        let asked = asked.chain(std::iter::once_with(scopes).map(|answer| (Part::Scopes, answer)));
        let asked = asked.chain(std::iter::once_with(ids).map(|answer| (Part::Ids, answer)));
        let asked = asked.chain(std::iter::once_with(area).map(|answer| (Part::Area, answer)));
        asked.filter_map(|(part, answer)| answer.map(|answer| (part, answer)))
    }

    /// Whether an attribute is one of these.
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.as_ref().is_none_or(|names| has(names, attribute))
    }

    /// Whether all attributes are meant, and the entity as such.
    pub fn is_of_entity(&self) -> bool {
        self.attributes.is_none()
    }

    /// Whether all attributes of all entities are meant.
    pub fn is_of_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether whatever `other` has is for sure here too.
    pub fn covers(&self, other: &Self) -> bool {
        covers(self.types.as_ref(), other.types.as_ref(), |these, others| {
            is_subset(others, these)
        }) && covers(self.ids.as_ref(), other.ids.as_ref(), Ids::cover)
            && covers(self.scopes.as_ref(), other.scopes.as_ref(), |these, others| {
                others.iter().all(|one| is_below_any(one, these))
            })
            && covers(self.area.as_ref(), other.area.as_ref(), PartialEq::eq)
            && covers(
                self.attributes.as_ref(),
                other.attributes.as_ref(),
                |these, others| is_subset(others, these),
            )
    }

    /// As it travels.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(name.to_owned(), value);
            }
        };
        put("types", self.types.as_ref().map(|names| json!(&**names)));
        if let Some(Ids { exact, patterns }) = &self.ids {
            let patterns: Vec<&str> = patterns.iter().map(Pattern::text).collect();
            put("ids", (!exact.is_empty()).then(|| json!(&**exact)));
            put("idPatterns", (!patterns.is_empty()).then(|| json!(patterns)));
        }
        let scopes = self
            .scopes
            .as_ref()
            .map(|scopes| scopes.iter().map(|one| json!(one.text)).collect());
        put("scopes", scopes);
        put("area", self.area.as_ref().map(|area| area.to_json()));
        put(
            "attributes",
            self.attributes.as_ref().map(|names| json!(&**names)),
        );
        Value::Object(out)
    }
}

impl Ids {
    /// Whether an id is one of these.
    pub fn have(&self, id: Option<&str>, scratch: &mut Scratch) -> Answer {
        id.map_or(Answer::Unknown, |id| Answer::of(self.has(id, scratch)))
    }

    /// The same of one that is known.
    pub fn has(&self, id: &str, scratch: &mut Scratch) -> bool {
        has(&self.exact, id)
            || self
                .patterns
                .iter()
                .any(|pattern| pattern.is_found_in(id, scratch))
    }

    /// Whether whatever `others` have is for sure here too.
    fn cover(&self, others: &Self) -> bool {
        let mut scratch = Scratch::default();
        others.exact.iter().all(|id| self.has(id, &mut scratch))
            && others
                .patterns
                .iter()
                .all(|pattern| self.patterns.contains(pattern))
    }

    /// Whether the broker takes so many patterns of such a size.
    pub fn is_affordable(&self) -> bool {
        let states: usize = self.patterns.iter().map(Pattern::states).sum();
        self.patterns.len() <= MAX_PATTERNS && states <= MAX_STATES
    }
}

fn of_types(types: &Texts, facts: &Facts<'_>) -> Answer {
    let found = facts.types.texts().iter().any(|name| has(types, name));
    Answer::or_unknown(found, facts.types.is_all())
}

fn of_scopes(scopes: &[Scope], facts: &Facts<'_>) -> Answer {
    let is_like = |scope: &&str| scopes.iter().any(|one| one.pattern.is_like(scope));
    let found = facts.scopes.texts().iter().any(is_like);
    Answer::or_unknown(found, facts.scopes.is_all())
}

fn of_area(area: &Area, location: Location<'_>) -> Answer {
    match location {
        Location::Unknown => Answer::Unknown,
        Location::At(places) => Answer::of(places.iter().any(|place| area.has(place))),
    }
}

/// Of a member that may be absent: whether what it selects in the one holds all that it selects in the other.
fn covers<T>(this: Option<&T>, other: Option<&T>, has_all: impl Fn(&T, &T) -> bool) -> bool {
    match (this, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(this), Some(other)) => has_all(this, other),
    }
}

/// Whether a text is one of these.
pub(crate) fn has(texts: &Texts, text: &str) -> bool {
    texts.binary_search_by(|one| (**one).cmp(text)).is_ok()
}

/// Whether all of the first are in the second.
pub(crate) fn is_subset(some: &Texts, all: &Texts) -> bool {
    some.len() <= all.len() && some.iter().all(|one| has(all, one))
}

/// Whether whatever is like a term is like one of these too.
pub(crate) fn is_below_any(one: &Scope, these: &[Scope]) -> bool {
    these.iter().any(|other| is_below(&one.pattern, &other.pattern))
}

fn is_below(one: &ScopePattern, other: &ScopePattern) -> bool {
    let fits = |(one, other): (&Level, &Level)| *other == Level::Any || one == other;
    let enough = if other.below {
        one.levels.len() >= other.levels.len()
    } else {
        one.levels.len() == other.levels.len() && !one.below
    };
    enough && one.levels.iter().zip(&other.levels).all(fits)
}

/// Texts as a grant keeps them.
pub(crate) fn texts<S: Into<Box<str>>>(texts: impl IntoIterator<Item = S>) -> Texts {
    let mut texts: Vec<Box<str>> = texts.into_iter().map(Into::into).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.into()
}
