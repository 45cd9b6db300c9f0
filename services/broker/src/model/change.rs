//! What each write makes of the entity that is there. Pure: the clock is an argument, the database is elsewhere.

use crate::model::entity::{Attributes, Entity, Fragment, Instance};
use crate::model::json::Json;
use crate::model::names::time_text;
use crate::model::read::Reader;
use crate::model::values::{dataset, is_null};
use crate::model::{Refusal, refuse};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What an update did, attribute by attribute (clause 5.2.18). Names are IRIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateResult {
    /// What was written.
    pub updated: Vec<String>,
    /// What was not, and why.
    pub not_updated: Vec<(String, String)>,
}

/// Why an operation on one attribute did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// There is no such attribute or instance.
    #[error("{0}")]
    NotFound(String),
    /// The body is wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Makes a new entity. The fragment has id and types.
#[must_use]
pub fn create(fragment: Fragment, now: Timestamp) -> Entity {
    let Fragment {
        id,
        types,
        scope,
        mut attributes,
    } = fragment;
    drop_deletions(&mut attributes);
    Entity {
        id: id.unwrap_or_default(),
        types,
        scope: scope.unwrap_or_default(),
        attributes,
        created: now,
        modified: now,
    }
}

/// Takes out what a client sent only to have it deleted, at every depth: where something is written whole, there is
/// nothing to delete it from.
fn drop_deletions(attributes: &mut Attributes) {
    attributes.retain(|_, instances| {
        instances.retain_mut(|instance| {
            drop_deletions(&mut instance.subs);
            !instance.is_deletion()
        });
        !instances.is_empty()
    });
}

/// Replaces an entity whole; it stays as old as it was, and so do instances that go on (clause 5.6.18).
pub fn replace(old: &Entity, fragment: Fragment, now: Timestamp) -> Entity {
    let mut new = create(fragment, now);
    let stamp = time_text(now);
    for (iri, instances) in &mut new.attributes {
        let before = old.attributes.get(iri).map(Vec::as_slice).unwrap_or_default();
        for instance in instances {
            succeed(instance, before, &stamp);
        }
    }
    new.created = old.created;
    if new.types.is_empty() {
        new.types.clone_from(&old.types);
    }
    new
}

/// Gives an instance its times: as old as the one before it, changed now; or created now.
fn succeed(instance: &mut Instance, before: &[Instance], stamp: &str) {
    match before.iter().find(|b| b.dataset == instance.dataset) {
        Some(before) => {
            instance.created.clone_from(&before.created);
            instance.modified = Some(stamp.to_owned());
        }
        None => instance.created = Some(stamp.to_owned()),
    }
}

/// What happens to what is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Overwritten,
    /// It stays, and is reported as not updated (`options=noOverwrite`).
    Kept,
}

impl Existing {
    /// What an operation does that was, or was not, asked with `noOverwrite`.
    #[must_use]
    pub fn of(no_overwrite: bool) -> Self {
        if no_overwrite {
            Self::Kept
        } else {
            Self::Overwritten
        }
    }
}

/// Appends attributes, types and scopes (clause 5.6.3; also what `options=update` of an upsert does).
pub fn append(entity: &mut Entity, fragment: Fragment, existing: Existing, now: Timestamp) -> UpdateResult {
    let mut result = UpdateResult::default();
    add_types(entity, fragment.types, now);
    if let Some(scope) = fragment.scope {
        match existing {
            Existing::Overwritten => entity.scope = scope,
            // Nothing is lost when one more is there.
            Existing::Kept => {
                let new = scope.into_iter().filter(|s| !entity.scope.contains(s));
                let new: Vec<String> = new.collect();
                entity.scope.extend(new);
            }
        }
        result.updated.push("scope".to_owned());
    }
    put_attributes(entity, fragment.attributes, existing, now, &mut result);
    result
}

/// Updates attributes: each given instance replaces the one that is there, others are appended, nulls delete
/// (clause 5.6.2).
pub fn update(entity: &mut Entity, fragment: Fragment, now: Timestamp) -> UpdateResult {
    let mut result = UpdateResult::default();
    add_types(entity, fragment.types, now);
    match fragment.scope {
        Some(_) if entity.scope.is_empty() => {
            result
                .not_updated
                .push(("scope".to_owned(), "the entity has no scope to update".to_owned()));
        }
        Some(scope) => {
            entity.scope = scope;
            result.updated.push("scope".to_owned());
        }
        None => {}
    }
    put_attributes(
        entity,
        fragment.attributes,
        Existing::Overwritten,
        now,
        &mut result,
    );
    result
}

/// Adds types that are not there; an entity never loses one this way.
pub(super) fn add_types(entity: &mut Entity, types: Vec<String>, now: Timestamp) {
    for iri in types {
        if !entity.types.contains(&iri) {
            entity.types.push(iri);
            entity.modified = now;
        }
    }
}

fn put_attributes(
    entity: &mut Entity,
    attributes: Attributes,
    existing: Existing,
    now: Timestamp,
    result: &mut UpdateResult,
) {
    let stamp = time_text(now);
    for (iri, instances) in attributes {
        let there = entity.attributes.entry(iri.clone()).or_default();
        let (mut written, mut missing, mut kept) = (false, false, false);
        for mut instance in instances {
            let position = there.iter().position(|t| t.dataset == instance.dataset);
            match position {
                Some(_) if existing == Existing::Kept => kept = true,
                None if instance.is_deletion() => missing = true,
                Some(at) if instance.is_deletion() => {
                    there.remove(at);
                    written = true;
                }
                _ => {
                    succeed(&mut instance, there, &stamp);
                    put(there, position, instance);
                    written = true;
                }
            }
        }
        if there.is_empty() {
            entity.attributes.remove(&iri);
        }
        if kept {
            result.not_updated.push((
                iri,
                "the attribute is there, and noOverwrite was asked for".to_owned(),
            ));
        } else if missing && !written {
            result
                .not_updated
                .push((iri, "there is no such attribute to delete".to_owned()));
        } else {
            result.updated.push(iri);
        }
    }
    if !result.updated.is_empty() {
        entity.modified = now;
    }
}

/// Puts an instance in the place of another one, or where a new one belongs.
pub(super) fn put(there: &mut Vec<Instance>, position: Option<usize>, mut instance: Instance) {
    drop_deletions(&mut instance.subs);
    match position.and_then(|at| there.get_mut(at)) {
        Some(slot) => *slot = instance,
        // The default instance comes first, as clients expect it.
        None if instance.dataset.is_none() => there.insert(0, instance),
        None => there.push(instance),
    }
}

fn no_attribute<T>(name: &str) -> Result<T, AttributeError> {
    Err(AttributeError::NotFound(format!(
        "the entity has no attribute {name}"
    )))
}

fn no_instance<T>(name: &str, dataset: Option<&str>) -> Result<T, AttributeError> {
    Err(AttributeError::NotFound(match dataset {
        None => format!("the attribute {name} has no default instance"),
        Some(dataset) => format!("the attribute {name} has no instance with the datasetId {dataset}"),
    }))
}

/// Changes one instance and leaves what the body does not name (clause 5.6.4).
pub fn update_partially(
    entity: &mut Entity,
    iri: &str,
    body: &Json,
    reader: &Reader<'_>,
    now: Timestamp,
) -> Result<(), AttributeError> {
    let wanted = match body.get("datasetId") {
        Some(id) => dataset(id)?,
        None => None,
    };
    let Some(there) = entity.attributes.get_mut(iri) else {
        return no_attribute(iri);
    };
    let Some(at) = there.iter().position(|i| i.dataset == wanted) else {
        return no_instance(iri, wanted.as_deref());
    };
    let Some(instance) = there.get_mut(at) else {
        return no_attribute(iri);
    };
    merge_into(instance, body, reader, now)?;
    if instance.is_deletion() {
        there.remove(at);
        if there.is_empty() {
            entity.attributes.remove(iri);
        }
    }
    entity.modified = now;
    Ok(())
}

fn merge_into(
    instance: &mut Instance,
    body: &Json,
    reader: &Reader<'_>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let mut brought = Instance::new(instance.kind, Json::Null);
    match body {
        Json::Object(members) if members.is_empty() => return refuse("the body has no member to update"),
        Json::Object(members) if !crate::model::geometry::looks_like_geometry(body) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("type" | "@type", Json::String(kind)) if kind == instance.kind.name() => {}
                    ("type" | "@type", other) => {
                        return refuse(format!(
                            "the attribute is a {}; its type cannot become {}",
                            instance.kind.name(),
                            other.to_text()
                        ));
                    }
                    (name, value) if name == instance.kind.member() => {
                        brought.value = reader.value(instance.kind, value)?;
                    }
                    ("observedAt", null) if is_null(null) => instance.observed_at = None,
                    ("unitCode", null) if is_null(null) => instance.unit_code = None,
                    ("objectType", null) if is_null(null) => instance.object_type.clear(),
                    _ => reader.member(&mut brought, name, value)?,
                }
            }
        }
        value => brought.value = reader.value(instance.kind, value)?,
    }
    if brought.value != Json::Null {
        instance.value = brought.value;
    }
    instance.observed_at = brought.observed_at.or_else(|| instance.observed_at.take());
    instance.unit_code = brought.unit_code.or_else(|| instance.unit_code.take());
    if !brought.object_type.is_empty() {
        instance.object_type = brought.object_type;
    }
    let stamp = time_text(now);
    for (iri, subs) in brought.subs {
        let there = instance.subs.entry(iri.clone()).or_default();
        for mut sub in subs {
            let position = there.iter().position(|t| t.dataset == sub.dataset);
            match position {
                Some(at) if sub.is_deletion() => drop(there.remove(at)),
                None if sub.is_deletion() => {}
                _ => {
                    succeed(&mut sub, there, &stamp);
                    put(there, position, sub);
                }
            }
        }
        if there.is_empty() {
            instance.subs.remove(&iri);
        }
    }
    instance.modified = Some(stamp);
    Ok(())
}

/// Replaces one attribute that is there (clause 5.6.19): every instance that the body has, others stay.
pub fn replace_attribute(
    entity: &mut Entity,
    iri: &str,
    instances: Vec<Instance>,
    now: Timestamp,
) -> Result<(), AttributeError> {
    let Some(there) = entity.attributes.get_mut(iri) else {
        return no_attribute(iri);
    };
    let stamp = time_text(now);
    for mut instance in instances {
        let position = there.iter().position(|t| t.dataset == instance.dataset);
        if position.is_none() {
            return no_instance(iri, instance.dataset.as_deref());
        }
        succeed(&mut instance, there, &stamp);
        put(there, position, instance);
    }
    entity.modified = now;
    Ok(())
}

/// Which instances a deletion means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The default instance.
    Default,
    /// The instance of this dataset.
    Dataset(String),
    /// All of them.
    All,
}

/// Deletes all scopes of an entity (clause 5.6.5).
pub fn delete_scope(entity: &mut Entity, now: Timestamp) -> Result<(), AttributeError> {
    if entity.scope.is_empty() {
        return Err(AttributeError::NotFound("the entity has no scope".to_owned()));
    }
    entity.scope.clear();
    entity.modified = now;
    Ok(())
}

/// Deletes an attribute, or one instance of it (clause 5.6.5).
pub fn delete_attribute(
    entity: &mut Entity,
    iri: &str,
    which: &Which,
    now: Timestamp,
) -> Result<(), AttributeError> {
    let Some(there) = entity.attributes.get_mut(iri) else {
        return no_attribute(iri);
    };
    let wanted = match which {
        Which::All => {
            there.clear();
            None
        }
        Which::Default => Some(None),
        Which::Dataset(dataset) => Some(Some(dataset.as_str())),
    };
    if let Some(wanted) = wanted {
        let Some(at) = there.iter().position(|i| i.dataset.as_deref() == wanted) else {
            return no_instance(iri, wanted);
        };
        there.remove(at);
    }
    if there.is_empty() {
        entity.attributes.remove(iri);
    }
    entity.modified = now;
    Ok(())
}

/// Which attributes a purge takes from an entity (clause 5.6.21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// All but these, by IRI.
    Keep(BTreeSet<String>),
    /// These, and the scopes where `scope` says so.
    Drop {
        /// By IRI.
        attributes: BTreeSet<String>,
        /// Whether the scopes go.
        scope: bool,
    },
}

/// Takes attributes from an entity; false when it had none to take.
pub fn reduce(entity: &mut Entity, reduction: &Reduction, now: Timestamp) -> bool {
    let before = (entity.attributes.len(), entity.scope.len());
    match reduction {
        Reduction::Keep(attributes) => entity.attributes.retain(|iri, _| attributes.contains(iri)),
        Reduction::Drop { attributes, scope } => {
            entity.attributes.retain(|iri, _| !attributes.contains(iri));
            if *scope {
                entity.scope.clear();
            }
        }
    }
    let changed = before != (entity.attributes.len(), entity.scope.len());
    if changed {
        entity.modified = now;
    }
    changed
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
