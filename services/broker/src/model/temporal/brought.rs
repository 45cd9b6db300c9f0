//! What the body of a write to the past brings: data points, and what the current entity takes over of them.

use crate::model::entity::{Entity, Fragment, Instance, SCOPE};
use crate::model::json::Json;
use crate::model::names::instant;
use crate::model::read::past::PastFragment;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// An instance of an attribute, by its IRI.
pub type Point<'f> = (&'f str, &'f Instance);

/// What a fragment brings, in the order of the body; of what it brings twice the later one.
#[must_use]
pub fn points(fragment: &PastFragment) -> Vec<Point<'_>> {
    let attributes = fragment.attributes.iter();
    let of_attributes =
        attributes.flat_map(|(iri, instances)| instances.iter().map(move |i| (iri.as_str(), i)));
    let all: Vec<Point<'_>> = of_attributes
        .chain(fragment.scopes.iter().map(|scope| (SCOPE, scope)))
        .collect();
    let mut seen = HashSet::new();
    let mut points: Vec<Point<'_>> = Vec::with_capacity(all.len());
    for (iri, instance) in all.into_iter().rev() {
        let observed = instance.observed_at.as_deref().and_then(instant);
        if observed.is_none() || seen.insert((iri, instance.dataset.as_deref(), observed)) {
            points.push((iri, instance));
        }
    }
    points.reverse();
    points
}

/// What the current entity takes over: of each attribute and dataset the latest instance, unless what the entity has is
/// later. One without a time is of now.
#[must_use]
pub fn latest(fragment: &PastFragment, current: Option<&Entity>, now: Timestamp) -> Fragment {
    let time = |instance: &Instance| instance.observed_at.as_deref().and_then(instant).unwrap_or(now);
    let mut attributes = BTreeMap::new();
    for (iri, instances) in &fragment.attributes {
        let there = current.and_then(|entity| entity.attributes.get(iri));
        let mut winners: Vec<Instance> = Vec::new();
        for instance in instances {
            let known = there
                .into_iter()
                .flatten()
                .find(|i| i.dataset == instance.dataset);
            let since = known.map(|known| as_of(known, current));
            if since.is_some_and(|since| time(instance) < since) {
                continue;
            }
            match winners.iter_mut().find(|i| i.dataset == instance.dataset) {
                Some(winner) if time(instance) >= time(winner) => winner.clone_from(instance),
                Some(_) => {}
                None => winners.push(instance.clone()),
            }
        }
        if !winners.is_empty() {
            attributes.insert(iri.clone(), winners);
        }
    }
    let scope = fragment.scopes.iter().max_by_key(|scope| time(scope));
    let scope = scope.filter(|scope| current.is_none_or(|entity| time(scope) >= entity.modified));
    Fragment {
        id: None,
        types: fragment.types.clone(),
        scope: scope.map(|scope| names_of(&scope.value)),
        attributes,
    }
}

/// Since when an instance of an entity says what it does.
fn as_of(instance: &Instance, entity: Option<&Entity>) -> Timestamp {
    let times = [&instance.observed_at, &instance.modified, &instance.created];
    let time = times.into_iter().flatten().find_map(|text| instant(text));
    time.or(entity.map(|entity| entity.created))
        .unwrap_or(Timestamp::MIN)
}

fn names_of(value: &Json) -> Vec<String> {
    match value {
        Json::Array(items) => items.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "brought_tests.rs"]
mod tests;
