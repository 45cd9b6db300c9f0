//! The data models of a city as one: compiled together, asked by what an entity's types mean.
//!
//! A set travels as a [`Part`] of a bundle. Operator and gateway compile it alike: what the operator says is wrong is what the
//! gateway would leave out.

mod door;
mod naming;
mod part;

pub use door::{Door, Wrong};
pub use part::{ModelPart, Part};

use crate::compile::{Level, Library, Refusal, Source, compile};
use crate::node::{Arena, NodeId};
use mim_grammar::context::Context;
use mim_grammar::context::compile::Terms;
use mim_grammar::json::Json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A model that is in force.
#[derive(Debug)]
pub struct Model {
    /// Its type, as the schema calls it.
    pub name: String,
    /// Its version, as whoever wrote it says; empty where nobody does.
    pub version: String,
    root: NodeId,
    /// Which of the set's contexts its names are of.
    context: usize,
}

/// Models, compiled together.
#[derive(Debug)]
pub struct Set {
    arena: Arena,
    models: Vec<Model>,
    /// Which model a type has, by IRI.
    by_type: HashMap<String, usize>,
    /// What names mean to models; several share one.
    contexts: Vec<Arc<Context>>,
}

/// Why a model is not in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its schema does not compile.
    #[error(transparent)]
    Schema(#[from] Refusal),
    /// Its @context cannot be used.
    #[error("context {url}: {why}")]
    Context {
        /// Which document.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Another model is for the same type.
    #[error("it is for the type {type_iri}, as is {other}: take one of them out")]
    Twice {
        /// The type.
        type_iri: String,
        /// The name of the other one.
        other: String,
    },
}

impl Set {
    /// Compiles a set, and says which models are not in it: by their place in the part, and why.
    #[must_use]
    pub fn compile(part: &Part) -> (Self, Vec<(usize, Fault)>) {
        let mut maker = Maker {
            part,
            documents: Arc::new(part.documents.clone()),
            set: Self {
                arena: Arena::default(),
                models: Vec::new(),
                by_type: HashMap::new(),
                contexts: Vec::new(),
            },
            contexts: BTreeMap::new(),
        };
        let mut faults = Vec::new();
        for (place, model) in part.models.iter().enumerate() {
            if let Err(fault) = maker.add(model) {
                faults.push((place, fault));
            }
        }
        let mut set = maker.set;
        set.arena.shrink();
        (set, faults)
    }

    /// The model of a type, by IRI.
    #[must_use]
    pub fn model(&self, type_iri: &str) -> Option<&Model> {
        self.models.get(*self.by_type.get(type_iri)?)
    }

    /// How many models are in force.
    #[must_use]
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether no model is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

struct Maker<'p> {
    part: &'p Part,
    documents: Arc<Library>,
    set: Set,
    /// The contexts that are compiled, by the URLs that they are made of.
    contexts: BTreeMap<&'p [String], usize>,
}

impl<'p> Maker<'p> {
    fn add(&mut self, model: &'p ModelPart) -> Result<(), Fault> {
        let type_iri = &model.type_iri;
        let alike = |other: &&ModelPart| other.type_iri == *type_iri && !std::ptr::eq(*other, model);
        if let Some(other) = self.part.models.iter().find(alike) {
            return Err(Fault::Twice {
                type_iri: type_iri.clone(),
                other: other.name.clone(),
            });
        }
        let context = self.context(&model.contexts)?;
        let source = Source {
            schema: &model.schema,
            uri: &model.uri,
            level: Level::Entity,
            type_name: Some(&model.name),
            formats: true,
        };
        let root = compile(&mut self.set.arena, source, &self.documents)?;
        self.set.by_type.insert(type_iri.clone(), self.set.models.len());
        self.set.models.push(Model {
            name: model.name.clone(),
            version: model.version.clone(),
            root,
            context,
        });
        Ok(())
    }

    fn context(&mut self, urls: &'p [String]) -> Result<usize, Fault> {
        if let Some(known) = self.contexts.get(urls) {
            return Ok(*known);
        }
        let mut terms = Terms::default();
        for url in urls {
            let fault = |why: String| Fault::Context {
                url: url.clone(),
                why,
            };
            let document = self.part.contexts.get(url);
            let document = document.ok_or_else(|| fault("it is not in the set".to_owned()))?;
            let text = document.to_string();
            let document = Json::parse(text.as_bytes()).map_err(|error| fault(error.to_string()))?;
            add(&mut terms, &document).map_err(fault)?;
        }
        let context = Context::new(terms.iris, &terms.prefixes, None);
        let number = self.set.contexts.len();
        self.set.contexts.push(Arc::new(context));
        self.contexts.insert(urls, number);
        Ok(number)
    }
}

/// Adds a document to what is there: its @context, or the objects of one.
fn add(terms: &mut Terms, document: &Json) -> Result<(), String> {
    match document.get("@context").unwrap_or(document) {
        Json::Object(members) => terms.add(members).map_err(|invalid| invalid.to_string()),
        Json::Array(parts) => parts.iter().try_for_each(|part| add(terms, part)),
        Json::String(url) => Err(format!(
            "it refers to {url}: name that document as a context of the model instead"
        )),
        _ => Err("it is no @context".to_owned()),
    }
}
