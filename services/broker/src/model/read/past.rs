//! From the temporal representation of an entity to the model (clauses 4.5.6 to 4.5.8): each attribute is an array of
//! instances, of which several may be of one dataset.

use super::{Reader, SYSTEM, date_time, expanded_name, id, in_its_place, is_of_entities, scope};
use crate::context::core_term;
use crate::model::entity::{Instance, Kind};
use crate::model::json::Json;
use crate::model::{Refusal, refuse};
use std::collections::BTreeMap;

/// How many instances one request may bring: so many are written within the time of a statement, also by a slow database.
const MAX_INSTANCES: usize = 10_000;

/// What a write of the past brings: the past of an entity, or a part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastFragment {
    /// The id, where the body had one.
    pub id: Option<String>,
    /// Types, expanded; empty where the body had none.
    pub types: Vec<String>,
    /// Scopes, each an array of them as they were at one time.
    pub scopes: Vec<Instance>,
    /// Instances of attributes by IRI, in the order of the body; each attribute has at least one.
    pub attributes: BTreeMap<String, Vec<Instance>>,
}

impl Reader<'_> {
    /// Reads the past of an entity, or a part of it.
    pub fn past_fragment(&self, body: &Json) -> Result<PastFragment, Refusal> {
        let Json::Object(members) = body else {
            return refuse(format!("an entity is an object, not {}", body.kind()));
        };
        let mut found = PastFragment::default();
        let mut count = 0;
        for (name, value) in members {
            match name.as_str() {
                "id" | "@id" => found.id = Some(id(value)?),
                "type" | "@type" => found.types = self.types(value)?,
                "scope" => found.scopes = past_scopes(value)?,
                "expiresAt" => return refuse("expiresAt is not supported"),
                "@context" => {}
                name if SYSTEM.contains(&name) => {}
                name => {
                    let (iri, instances) = self.past_attribute(name, value)?;
                    count += instances.len();
                    if found.attributes.insert(iri, instances).is_some() {
                        return refuse(format!("two members mean the attribute {name:?}"));
                    }
                }
            }
        }
        if count + found.scopes.len() > MAX_INSTANCES {
            return refuse(format!(
                "one request brings at most {MAX_INSTANCES} instances; send some of them with another one"
            ));
        }
        Ok(found)
    }

    /// Reads the past of an entity that is whole: with id and type.
    pub fn past_entity(&self, body: &Json) -> Result<PastFragment, Refusal> {
        let found = self.past_fragment(body)?;
        if found.id.is_none() {
            return refuse("the entity has no id");
        }
        if found.types.is_empty() {
            return refuse("the entity has no type");
        }
        Ok(found)
    }

    /// Reads the one instance that takes the place of another: itself, in an array, or as the member of a fragment
    /// (clause 5.6.14). The attribute is the one of this name.
    pub fn past_instance(&self, name: &str, body: &Json) -> Result<(String, Instance), Refusal> {
        let body = match body.get(name) {
            Some(member) if body.get("type").is_none() => member,
            _ => body,
        };
        let (iri, mut instances) = self.past_attribute(name, body)?;
        match (instances.pop(), instances.is_empty()) {
            (Some(instance), true) => Ok((iri, instance)),
            _ => refuse("the body has one instance"),
        }
    }

    fn past_attribute(&self, name: &str, value: &Json) -> Result<(String, Vec<Instance>), Refusal> {
        let iri = expanded_name(self.context, name)?;
        if let Some(term) = core_term(&iri).filter(|term| is_of_entities(term)) {
            return refuse(format!(
                "the name {name:?} means {iri}, which is the member {term:?} and no attribute here"
            ));
        }
        let items = match value {
            Json::Array(items) if items.is_empty() => {
                return refuse(format!("attribute {name:?}: an empty array of instances"));
            }
            Json::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let instances = items.iter().map(|item| match item {
            Json::Object(_) => {
                let instance = self
                    .instance(item)
                    .map_err(|Refusal(why)| Refusal(format!("attribute {name:?}: {why}")))?;
                in_its_place(&iri, name, instance.kind)?;
                Ok(instance)
            }
            other => refuse(format!(
                "attribute {name:?}: an array of instances, each an object, has {}",
                other.kind()
            )),
        });
        let instances = instances.collect::<Result<Vec<_>, Refusal>>()?;
        Ok((iri, instances))
    }
}

/// Reads scopes as they were over time; a plain scope is one instance.
fn past_scopes(value: &Json) -> Result<Vec<Instance>, Refusal> {
    let instances = match value {
        Json::Array(items) if items.iter().any(|item| matches!(item, Json::Object(_))) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    instances.iter().map(past_scope).collect()
}

fn past_scope(value: &Json) -> Result<Instance, Refusal> {
    let sent = match value {
        Json::Object(_) => value
            .get("value")
            .ok_or_else(|| Refusal("an instance of scope has a value".to_owned()))?,
        plain => plain,
    };
    let names = scope(sent)?.iter().map(Json::string).collect();
    let mut instance = Instance::new(Kind::Property, Json::Array(names));
    if let Json::Object(members) = value {
        for (name, value) in members {
            match name.as_str() {
                "observedAt" => instance.observed_at = Some(date_time(value)?),
                "value" | "type" | "@type" | "instanceId" => {}
                name if SYSTEM.contains(&name) => {}
                name => {
                    let name: String = name.chars().take(60).collect();
                    return refuse(format!("an instance of scope has no member {name:?}"));
                }
            }
        }
    }
    Ok(instance)
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
