//! Where references lead: to the model's own document and to those of its library, and nowhere else.

use super::{Check, Compiler, Cursor, Level, Refusal, Source};
use crate::node::NodeId;
use referencing::{Draft, Registry, Resolver, Retrieve, SPECIFICATIONS, Uri};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The documents that models may refer to, by absolute URI without fragment.
pub type Library = BTreeMap<String, Json>;

/// All documents that are within reach.
pub(super) struct Reached<'r> {
    registry: Registry<'r>,
    /// Those that are referred to and not there.
    pub missing: BTreeSet<String>,
    /// Whether any of them refers to what depends on from where it is looked at.
    pub is_dynamic: bool,
}

/// Gives documents of the library, and something in the place of those that are not there, so that the reference that needs
/// one can be named.
struct Shelf {
    library: Arc<Library>,
    /// What documents are that do not say it: of the same draft as the model.
    draft: &'static str,
    noted: Arc<Mutex<Noted>>,
}

/// What was found out while documents were given.
#[derive(Default)]
struct Noted {
    missing: BTreeSet<String>,
    is_dynamic: bool,
}

impl Retrieve for Shelf {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        let uri = uri.as_str().trim_end_matches('#');
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = self.library.get(uri) {
            noted.is_dynamic |= is_dynamic(document);
            let mut document = document.clone();
            if let Json::Object(members) = &mut document {
                let draft = || Json::String(self.draft.to_owned());
                members.entry("$schema").or_insert_with(draft);
            }
            return Ok(document);
        }
        noted.missing.insert(uri.to_owned());
        Ok(json!({}))
    }
}

pub(super) fn registry<'s>(source: Source<'s>, library: &Arc<Library>) -> Result<Reached<'s>, Refusal> {
    let refuse = |error: referencing::Error| Refusal {
        document: None,
        pointer: String::new(),
        why: error.to_string(),
    };
    let noted = Arc::<Mutex<Noted>>::default();
    let shelf = Shelf {
        library: Arc::clone(library),
        draft: match Draft::Draft202012.detect(source.schema) {
            Draft::Draft7 => "http://json-schema.org/draft-07/schema#",
            Draft::Draft201909 => "https://json-schema.org/draft/2019-09/schema",
            _ => "https://json-schema.org/draft/2020-12/schema",
        },
        noted: Arc::clone(&noted),
    };
    let registry = SPECIFICATIONS
        .add(source.uri, source.schema)
        .map_err(refuse)?
        .retrieve_known_draft_meta_schemas(false)
        .retriever(shelf)
        .prepare()
        .map_err(refuse)?;
    let noted = std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Reached {
        registry,
        missing: noted.missing,
        is_dynamic: noted.is_dynamic || is_dynamic(source.schema),
    })
}

fn is_dynamic(schema: &Json) -> bool {
    match schema {
        Json::Object(members) => members.iter().any(|(name, value)| {
            matches!(
                name.as_str(),
                "$dynamicAnchor" | "$recursiveAnchor" | "$dynamicRef" | "$recursiveRef"
            ) || is_dynamic(value)
        }),
        Json::Array(items) => items.iter().any(is_dynamic),
        _ => false,
    }
}

/// Where the model's own document is looked at from.
pub(super) fn root<'r>(reached: &'r Reached<'_>, uri: &str) -> Result<Resolver<'r>, Refusal> {
    let refuse = |why: String| Refusal {
        document: None,
        pointer: String::new(),
        why,
    };
    let parsed = referencing::uri::from_str(uri).map_err(|error| refuse(error.to_string()))?;
    let resolved = reached.registry.resolver(parsed).lookup("");
    let resolved = resolved.map_err(|error| refuse(error.to_string()))?;
    Ok(resolved.resolver().clone())
}

impl Compiler<'_, '_> {
    pub(super) fn references(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        checks: &mut Vec<Check>,
    ) -> Result<(), Refusal> {
        let words: &[&str] = match cursor.draft {
            Draft::Draft201909 => &["$ref", "$recursiveRef"],
            Draft::Draft202012 => &["$ref", "$dynamicRef"],
            _ => &["$ref"],
        };
        for word in words {
            if members.contains_key(*word) {
                checks.push(Check::Ref(self.reference(cursor, word, members)?));
            }
        }
        Ok(())
    }

    pub(super) fn reference(
        &mut self,
        cursor: &Cursor<'_>,
        word: &str,
        members: &Map<String, Json>,
    ) -> Result<NodeId, Refusal> {
        self.below(word, |this| {
            let Some(Json::String(reference)) = members.get(word) else {
                return this.refuse("it is a URI reference");
            };
            this.follow(cursor, word, reference)
        })
    }

    fn follow(&mut self, cursor: &Cursor<'_>, word: &str, reference: &str) -> Result<NodeId, Refusal> {
        let target = match word {
            "$recursiveRef" => cursor.resolver.lookup_recursive_ref(),
            _ => cursor.resolver.lookup(reference),
        };
        let is_missing = |uri: &str| self.missing.contains(uri.trim_end_matches('#'));
        let target = match target {
            Ok(target) if !is_missing(target.resolver().base_uri().as_str()) => target,
            Ok(_) => return self.refuse(not_there(reference)),
            Err(_) if self.leads_outside(cursor, reference) => return self.refuse(not_there(reference)),
            Err(error) => return self.refuse(format!("{reference:?} leads nowhere: {error}")),
        };
        let (schema, resolver, draft) = target.into_inner();
        let target = Cursor {
            schema,
            draft,
            level: cursor.level,
            asserted: cursor.asserted,
            resolver,
        };
        let uri = target.resolver.base_uri();
        let uri = (uri.as_str() != self.own).then(|| uri.as_str().to_owned());
        let fragment = reference.split_once('#').map_or("", |(_, fragment)| fragment);
        let path = fragment.split('/').skip(1).map(str::to_owned).collect();
        let left = std::mem::replace(&mut self.path, path);
        self.documents.push((uri, left));
        let node = self.schema(&target)?;
        if let Some((_, left)) = self.documents.pop() {
            self.path = left;
        }
        Ok(node)
    }

    /// Whether a reference is to a document that is not there.
    fn leads_outside(&self, cursor: &Cursor<'_>, reference: &str) -> bool {
        let document = reference.split('#').next().unwrap_or_default();
        let base = cursor.resolver.base_uri();
        let resolved = referencing::uri::resolve_against(&base.borrow(), document);
        resolved.is_ok_and(|uri| self.missing.contains(uri.as_str().trim_end_matches('#')))
    }

    /// Whether a schema of a `type` lets in the type of the model.
    pub(super) fn accepts_type(&mut self, node: NodeId, name: &str) -> bool {
        let Ok(tape) = crate::tape::Owned::of(&Json::String(name.to_owned())) else {
            return false;
        };
        crate::evaluate::holds(self.arena, node, tape.root())
    }

    /// What is said of an attribute's values, as said of the attribute.
    pub(super) fn of_attribute(&mut self, level: Level, node: NodeId) -> NodeId {
        if level == Level::Value || node == NodeId::ANYTHING || node == NodeId::NOTHING {
            return node;
        }
        let checks = [Check::Attribute(node)].into();
        self.arena.add(crate::node::Node {
            types: crate::node::Types::ALL,
            checks,
        })
    }
}

fn not_there(reference: &str) -> String {
    format!(
        "{reference:?} is in no document that is known: add it to the set, or refer to one of the built-in catalogue"
    )
}
