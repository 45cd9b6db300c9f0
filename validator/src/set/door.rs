//! Entities of one context at the door of a set.

use super::naming::Naming;
use super::{Model, Set};
use crate::evaluate::{Extent, Names, Reading, Representation, check};
use crate::tape::{Kind, Value};
use crate::violation::Violation;
use mim_grammar::context::Context;
use std::sync::Arc;

/// A set, for documents whose names are of one context. It remembers what their names mean, so one is kept for each context
/// and thread.
#[derive(Debug)]
pub struct Door {
    set: Arc<Set>,
    given: Arc<Context>,
    /// For each context of the set.
    namings: Vec<Naming>,
}

/// What is wrong with an entity by one model.
#[derive(Debug)]
pub struct Wrong<'s> {
    /// By which.
    pub model: &'s Model,
    /// A line each, at least one.
    pub violations: Vec<Violation>,
}

impl Door {
    /// A door of the set for a context.
    #[must_use]
    pub fn new(set: Arc<Set>, given: Arc<Context>) -> Self {
        let naming = |of_model: &Arc<Context>| Naming::new(Arc::clone(&given), Arc::clone(of_model));
        let namings = set.contexts.iter().map(naming).collect();
        Self { set, given, namings }
    }

    /// The types that a document says to be of, as IRIs; none where it says none.
    #[must_use]
    pub fn types(&self, entity: &Value<'_>) -> Vec<String> {
        let Some(named) = entity.member("type").or_else(|| entity.member("@type")) else {
            return Vec::new();
        };
        let expanded = |name: &Value<'_>| name.text().map(|name| self.given.expand(&name).into_owned());
        match named.kind() {
            Kind::Array => named.items().filter_map(|name| expanded(&name)).collect(),
            _ => expanded(&named).into_iter().collect(),
        }
    }

    /// The types that have no model.
    #[must_use]
    pub fn unknown<'t>(&self, types: &'t [String]) -> Vec<&'t str> {
        let unknown = types.iter().filter(|iri| self.set.model(iri).is_none());
        unknown.map(String::as_str).collect()
    }

    /// What is wrong with an entity, or a part of one, by each model of its types.
    #[must_use]
    pub fn judge(
        &self,
        entity: Value<'_>,
        types: &[String],
        representation: Representation,
        extent: Extent,
    ) -> Vec<Wrong<'_>> {
        let models = types.iter().filter_map(|iri| self.set.model(iri));
        let wrong = models.filter_map(|model| {
            let names = self.namings.get(model.context).map(|naming| naming as &dyn Names);
            let reading = Reading {
                representation,
                extent,
                names,
            };
            let violations = check(&self.set.arena, model.root, entity, reading).err()?;
            Some(Wrong { model, violations })
        });
        wrong.collect()
    }
}
