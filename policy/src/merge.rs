//! Fewer grants that mean the same, and what two of them have in common.

use crate::area::Area;
use crate::grant::{Grant, Ids, Scope, Texts, has, is_below_any, is_subset, texts};
use mim_grammar::pattern::{Pattern, Scratch};
use std::sync::Arc;

/// Fewer grants of which any is enough, in the order of the first of each: one that another covers goes, and of two that
/// differ in one list of alternatives one with both lists is made. An entity is in one of what comes out exactly if it was
/// in one of what went in, and has the same attributes there.
pub(crate) fn merged(mut grants: Vec<Grant>) -> Vec<Grant> {
    loop {
        let before = grants.len();
        grants = joined(uncovered(grants));
        if grants.len() == before {
            return grants;
        }
    }
}

fn uncovered(grants: Vec<Grant>) -> Vec<Grant> {
    let mut kept: Vec<Grant> = Vec::with_capacity(grants.len());
    for grant in grants {
        if !kept.iter().any(|other| other.covers(&grant)) {
            kept.retain(|other| !grant.covers(other));
            kept.push(grant);
        }
    }
    kept
}

fn joined(grants: Vec<Grant>) -> Vec<Grant> {
    let mut kept: Vec<Grant> = Vec::with_capacity(grants.len());
    for grant in grants {
        let either = kept
            .iter_mut()
            .find_map(|other| either(other, &grant).map(|joined| (other, joined)));
        match either {
            Some((other, joined)) => *other = joined,
            None => kept.push(grant),
        }
    }
    kept
}

/// The one grant that means either of two; `None` where none does: they differ in more than one list, or in an area, for
/// what lies across two areas is in neither.
fn either(one: &Grant, other: &Grant) -> Option<Grant> {
    let mut both = one.clone();
    let differ = [
        one.types != other.types,
        one.ids != other.ids,
        one.scopes != other.scopes,
        one.area != other.area,
        one.attributes != other.attributes,
    ];
    match differ {
        [true, false, false, false, false] => {
            both.types = Some(union(one.types.as_ref()?, other.types.as_ref()?));
        }
        [false, true, false, false, false] => {
            both.ids = Some(one.ids.as_ref()?.or(other.ids.as_ref()?)?);
        }
        [false, false, true, false, false] => {
            let (these, others) = (one.scopes.as_ref()?, other.scopes.as_ref()?);
            both.scopes = Some(scopes(these.iter().chain(&**others).cloned()));
        }
        [false, false, false, false, true] => {
            both.attributes = Some(union(one.attributes.as_ref()?, other.attributes.as_ref()?));
        }
        _ => return None,
    }
    Some(both)
}

impl Ids {
    /// Either of two; `None`: more than the broker takes.
    fn or(&self, other: &Self) -> Option<Self> {
        let either = Self {
            exact: union(&self.exact, &other.exact),
            patterns: patterns(self.patterns.iter().chain(&*other.patterns).cloned()),
        };
        either.is_affordable().then_some(either)
    }
}

/// What two grants have in common.
#[derive(Debug, PartialEq)]
pub(crate) struct Common {
    /// As much of it as a grant can say; `None`: nothing.
    pub grant: Option<Grant>,
    /// Whether there may be more.
    pub is_less: bool,
}

/// What two grants have in common, entities and attributes. A grant has no list of which two items are needed, so of an
/// entity that is in the one by one type and in the other by another it cannot speak, nor of one in two areas: then it is
/// less. Two grants that have no attribute in common have nothing in common.
pub(crate) fn common(one: &Grant, other: &Grant) -> Common {
    let types = member(one.types.as_ref(), other.types.as_ref(), of_types);
    let ids = member(one.ids.as_ref(), other.ids.as_ref(), of_ids);
    let scopes = member(one.scopes.as_ref(), other.scopes.as_ref(), of_scopes);
    let area = member(one.area.as_ref(), other.area.as_ref(), of_areas);
    let attributes = member(one.attributes.as_ref(), other.attributes.as_ref(), of_attributes);
    let is_nothing =
        types.is_nothing || ids.is_nothing || scopes.is_nothing || area.is_nothing || attributes.is_nothing;
    // What is empty for sure leaves nothing of the rest either.
    let is_apart = ids.is_apart() || attributes.is_apart();
    let is_less = types.is_less || ids.is_less || scopes.is_less || area.is_less;
    Common {
        grant: (!is_nothing).then_some(Grant {
            types: types.both,
            ids: ids.both,
            scopes: scopes.both,
            area: area.both,
            attributes: attributes.both,
        }),
        is_less: is_less && !is_apart,
    }
}

/// What is in common of one member.
struct Member<T> {
    /// What of it can be said; `None`: nothing restricts it, or there is nothing.
    both: Option<T>,
    /// Whether there is nothing that can be said.
    is_nothing: bool,
    /// Whether there may be more than can be said.
    is_less: bool,
}

impl<T> Member<T> {
    fn new(both: Option<T>, is_less: bool) -> Self {
        Self {
            is_nothing: both.is_none(),
            both,
            is_less,
        }
    }

    fn is_apart(&self) -> bool {
        self.is_nothing && !self.is_less
    }
}

fn member<T: Clone>(one: Option<&T>, other: Option<&T>, common: fn(&T, &T) -> Member<T>) -> Member<T> {
    match (one, other) {
        (Some(one), Some(other)) => common(one, other),
        (one, other) => Member {
            both: one.or(other).cloned(),
            is_nothing: false,
            is_less: false,
        },
    }
}

/// An entity may have several types: one of each list is one of both only where the one list has all of the other.
fn of_types(one: &Texts, other: &Texts) -> Member<Texts> {
    let is_less = !is_subset(one, other) && !is_subset(other, one);
    Member::new(intersection(one, other), is_less)
}

fn of_attributes(one: &Texts, other: &Texts) -> Member<Texts> {
    Member::new(intersection(one, other), false)
}

fn of_areas(one: &Arc<Area>, other: &Arc<Area>) -> Member<Arc<Area>> {
    let is_same = one == other;
    Member::new(is_same.then(|| Arc::clone(one)), !is_same)
}

fn of_scopes(one: &Arc<[Scope]>, other: &Arc<[Scope]>) -> Member<Arc<[Scope]>> {
    let below = |some: &[Scope], all: &[Scope]| -> Vec<Scope> {
        let below = some.iter().filter(|scope| is_below_any(scope, all));
        below.cloned().collect()
    };
    let (of_one, of_other) = (below(one, other), below(other, one));
    let is_less = of_one.len() < one.len() && of_other.len() < other.len();
    let both = scopes(of_one.into_iter().chain(of_other));
    Member::new((!both.is_empty()).then_some(both), is_less)
}

/// An entity has one id, so only what two patterns have in common cannot be said.
fn of_ids(one: &Ids, other: &Ids) -> Member<Ids> {
    let mut scratch = Scratch::default();
    let of_one = one.exact.iter().filter(|id| other.has(id, &mut scratch)).cloned();
    let mut exact: Vec<Box<str>> = of_one.collect();
    exact.extend(other.exact.iter().filter(|id| one.has(id, &mut scratch)).cloned());
    let shared = one
        .patterns
        .iter()
        .filter(|pattern| other.patterns.contains(pattern));
    let both = Ids {
        exact: texts(exact),
        patterns: patterns(shared.cloned()),
    };
    let is_less = both.patterns.len() < one.patterns.len() && both.patterns.len() < other.patterns.len();
    let is_nothing = both.exact.is_empty() && both.patterns.is_empty();
    Member::new((!is_nothing).then_some(both), is_less)
}

fn union(one: &Texts, other: &Texts) -> Texts {
    texts(one.iter().chain(&**other).cloned())
}

fn intersection(one: &Texts, other: &Texts) -> Option<Texts> {
    let there = texts(one.iter().filter(|text| has(other, text)).cloned());
    (!there.is_empty()).then_some(there)
}

/// Patterns as a grant keeps them: sorted and distinct.
pub(crate) fn patterns(patterns: impl Iterator<Item = Pattern>) -> Arc<[Pattern]> {
    let mut patterns: Vec<Pattern> = patterns.collect();
    patterns.sort_unstable_by(|one, other| one.text().cmp(other.text()));
    patterns.dedup();
    patterns.into()
}

/// Scopes as a grant keeps them: sorted and distinct.
pub(crate) fn scopes(scopes: impl Iterator<Item = Scope>) -> Arc<[Scope]> {
    let mut scopes: Vec<Scope> = scopes.collect();
    scopes.sort_unstable_by(|one, other| one.text.cmp(&other.text));
    scopes.dedup();
    scopes.into()
}
