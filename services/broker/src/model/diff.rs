//! What a write did to an entity, instance by instance. History, notifications and permissions all ask this, so it is
//! answered once. Pure.

use crate::model::entity::{Attributes, Instance};
use crate::model::json::Json;

/// What a write did to one instance of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceChange<'e> {
    /// The attribute.
    pub iri: &'e str,
    /// As it was; `None`: it was not there.
    pub before: Option<&'e Instance>,
    /// As it is; `None`: it is gone.
    pub after: Option<&'e Instance>,
}

/// The four things that can happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was not there.
    Created,
    /// It says something else than before.
    Updated,
    /// It was written again and says the same.
    Repeated,
    /// It is gone.
    Deleted,
}

impl<'e> InstanceChange<'e> {
    /// The dataset of the instance; `None` for the default one.
    #[must_use]
    pub fn dataset(&self) -> Option<&'e str> {
        self.after.or(self.before)?.dataset.as_deref()
    }

    /// What happened to it.
    #[must_use]
    pub fn what(&self) -> What {
        match (self.before, self.after) {
            (None, _) => What::Created,
            (Some(_), None) => What::Deleted,
            (Some(before), Some(after)) if says_the_same(before, after) => What::Repeated,
            (Some(_), Some(_)) => What::Updated,
        }
    }
}

/// The instances that a write touched, by attribute; those of an attribute in the order in which they are there now, then
/// those that are gone. An instance that is as it was, its times included, was not touched.
#[must_use]
pub fn changes<'e>(before: Option<&'e Attributes>, after: Option<&'e Attributes>) -> Vec<InstanceChange<'e>> {
    let mut found = Vec::new();
    for (iri, instances) in after.into_iter().flatten() {
        let there = of(before, iri);
        for instance in instances {
            let before = same_dataset(there, instance);
            if before != Some(instance) {
                found.push(InstanceChange {
                    iri,
                    before,
                    after: Some(instance),
                });
            }
        }
        found.extend(gone(iri, there, instances));
    }
    for (iri, instances) in before.into_iter().flatten() {
        if after.is_none_or(|after| !after.contains_key(iri)) {
            found.extend(gone(iri, instances, &[]));
        }
    }
    found
}

fn of<'e>(attributes: Option<&'e Attributes>, iri: &str) -> &'e [Instance] {
    attributes
        .and_then(|attributes| attributes.get(iri))
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn same_dataset<'e>(instances: &'e [Instance], like: &Instance) -> Option<&'e Instance> {
    instances.iter().find(|i| i.dataset == like.dataset)
}

fn gone<'e>(
    iri: &'e str,
    before: &'e [Instance],
    after: &'e [Instance],
) -> impl Iterator<Item = InstanceChange<'e>> {
    before
        .iter()
        .filter(|instance| same_dataset(after, instance).is_none())
        .map(move |instance| InstanceChange {
            iri,
            before: Some(instance),
            after: None,
        })
}

/// Whether two instances say the same: everything but when they were created and modified here.
#[must_use]
pub fn says_the_same(one: &Instance, other: &Instance) -> bool {
    one.kind == other.kind
        && same_value(&one.value, &other.value)
        && one.dataset == other.dataset
        && one.observed_at == other.observed_at
        && one.unit_code == other.unit_code
        && one.object_type == other.object_type
        && one.subs.len() == other.subs.len()
        && one.subs.iter().zip(&other.subs).all(|((a, ones), (b, others))| {
            a == b
                && ones.len() == others.len()
                && ones
                    .iter()
                    .all(|one| same_dataset(others, one).is_some_and(|other| says_the_same(one, other)))
        })
}

/// Whether two values are the same JSON: numbers by value, as the database may write them otherwise than the client did,
/// and members in any order.
#[must_use]
pub fn same_value(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(a), Json::Number(b)) => a == b || one.as_f64() == other.as_f64(),
        (Json::Array(ones), Json::Array(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(a, b)| same_value(a, b))
        }
        (Json::Object(ones), Json::Object(others)) => {
            ones.len() == others.len()
                && ones
                    .iter()
                    .zip(others)
                    .all(|((a, one), (b, other))| a == b && same_value(one, other))
                || same_members(ones, others)
        }
        _ => one == other,
    }
}

/// Members in another order: sorted once, so that the work does not grow with the square of their number.
fn same_members(ones: &[(String, Json)], others: &[(String, Json)]) -> bool {
    fn sorted(members: &[(String, Json)]) -> Vec<&(String, Json)> {
        let mut members: Vec<_> = members.iter().collect();
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        members
    }
    ones.len() == others.len()
        && sorted(ones)
            .into_iter()
            .zip(sorted(others))
            .all(|((a, one), (b, other))| a == b && same_value(one, other))
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
