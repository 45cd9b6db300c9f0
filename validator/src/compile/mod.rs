//! From JSON Schema documents to nodes. References are followed here, once, and never when an entity is validated.

mod combined;
mod items;
mod members;
mod references;
mod scalars;

pub use references::Library;

use crate::node::{Arena, Check, Node, NodeId, Types};
use referencing::{Draft, Resolver};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// How deep schemas may lie in each other, references followed: data models come to 20.
const MAX_DEPTH: usize = 128;
/// How many schemas one model may have: those of data models have some hundred.
const MAX_SCHEMAS: usize = 20_000;

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// JSON as it is.
    Value,
    /// An entity, in the simplified representation, as the schemas of Smart Data Models do: what it says of a member is said of
    /// the values of an attribute, in whichever representation they come.
    Entity,
}

/// What to compile.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// The document.
    pub schema: &'s Json,
    /// What references in it are relative to, where it has no `$id`: an absolute URI.
    pub uri: &'s str,
    /// What it describes.
    pub level: Level,
    /// The type as which entities of the model appear to the schema: its name in `properties/type`.
    pub type_name: Option<&'s str>,
    /// Whether `format` is checked; JSON Schema leaves it open (2020-12 validation, §7.2.1).
    pub formats: bool,
}

/// Why a schema does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which document; `None`: the model's own.
    pub document: Option<String>,
    /// Where in it: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong, and what to write instead.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            document,
            pointer,
            why,
        } = self;
        write!(f, "{}#{pointer}: {why}", document.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for Refusal {}

/// Compiles a schema into an arena. Where it is refused the arena has some more nodes, which nobody names.
pub fn compile(arena: &mut Arena, source: Source<'_>, library: &Arc<Library>) -> Result<NodeId, Refusal> {
    let registry = references::registry(source, library)?;
    let resolver = references::root(&registry, source.uri)?;
    let draft = Draft::Draft202012.detect(source.schema);
    let mut compiler = Compiler {
        arena,
        source,
        missing: &registry.missing,
        is_dynamic: registry.is_dynamic,
        states: HashMap::new(),
        path: Vec::new(),
        own: resolver.base_uri().as_str().to_owned(),
        documents: Vec::new(),
        depth: 0,
    };
    let cursor = Cursor {
        schema: source.schema,
        resolver,
        draft,
        level: source.level,
        asserted: true,
    };
    let root = compiler.schema(&cursor)?;
    if crate::cycle::is_endless(compiler.arena, root) {
        return compiler
            .refuse("the schema refers to itself without looking at a part of the value in between");
    }
    Ok(root)
}

/// A schema on the way, and what it is seen from.
#[derive(Clone)]
struct Cursor<'r> {
    schema: &'r Json,
    resolver: Resolver<'r>,
    draft: Draft,
    level: Level,
    /// Whether it has to hold wherever the whole schema holds.
    asserted: bool,
}

/// What is known of a schema.
#[derive(Clone, Copy)]
enum State {
    /// It is being compiled; with the node that was reserved for whoever named it meanwhile.
    Open(Option<NodeId>),
    Done(NodeId),
}

/// Which schema, by where it lies in memory, as what, and seen from which resources where that matters.
type Key = (usize, Level, Vec<String>);

/// What a schema comes to.
enum Compiled {
    Node(Node),
    /// It says the same as another one.
    Same(NodeId),
}

struct Compiler<'a, 's> {
    arena: &'a mut Arena,
    source: Source<'s>,
    missing: &'a BTreeSet<String>,
    is_dynamic: bool,
    states: HashMap<Key, State>,
    /// Where we are in the document that was entered last.
    path: Vec<String>,
    /// What the model's own document is called.
    own: String,
    /// The documents that were entered, each with the path that was left; the model's own has no name.
    documents: Vec<(Option<String>, Vec<String>)>,
    depth: usize,
}

impl Compiler<'_, '_> {
    fn refuse<T>(&self, why: impl Into<String>) -> Result<T, Refusal> {
        let escaped = |part: &String| format!("/{}", part.replace('~', "~0").replace('/', "~1"));
        Err(Refusal {
            document: self.documents.last().and_then(|(uri, _)| uri.clone()),
            pointer: self.path.iter().map(escaped).collect(),
            why: why.into(),
        })
    }

    /// Does something with what lies below a member.
    fn below<T>(
        &mut self,
        name: &str,
        then: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.path.push(name.to_owned());
        let done = then(self)?;
        self.path.pop();
        Ok(done)
    }

    fn key(&self, cursor: &Cursor<'_>) -> Key {
        let mut scope = Vec::new();
        if self.is_dynamic {
            scope.push(cursor.resolver.base_uri().as_str().to_owned());
            let scopes = cursor.resolver.dynamic_scope();
            let mut seen: Vec<String> = (&scopes).into_iter().map(|uri| uri.as_str().to_owned()).collect();
            seen.reverse();
            for uri in seen {
                if !scope.contains(&uri) {
                    scope.push(uri);
                }
            }
        }
        (std::ptr::from_ref(cursor.schema) as usize, cursor.level, scope)
    }

    /// The node of a schema.
    fn schema(&mut self, cursor: &Cursor<'_>) -> Result<NodeId, Refusal> {
        let members = match cursor.schema {
            Json::Bool(true) => return Ok(NodeId::ANYTHING),
            Json::Bool(false) => return Ok(NodeId::NOTHING),
            Json::Object(members) => members,
            _ => return self.refuse("a schema is an object, true or false"),
        };
        let key = self.key(cursor);
        match self.states.get(&key).copied() {
            Some(State::Done(id) | State::Open(Some(id))) => return Ok(id),
            Some(State::Open(None)) => {
                let id = self.arena.reserve();
                self.states.insert(key, State::Open(Some(id)));
                return Ok(id);
            }
            None => {}
        }
        if self.states.len() == MAX_SCHEMAS {
            return self.refuse(format!("a model has at most {MAX_SCHEMAS} schemas"));
        }
        if self.depth == MAX_DEPTH {
            return self.refuse(format!("schemas lie at most {MAX_DEPTH} deep in each other"));
        }
        self.states.insert(key.clone(), State::Open(None));
        self.depth += 1;
        let compiled = self.object(cursor, members)?;
        self.depth -= 1;
        let id = self.settle(&key, compiled);
        self.states.insert(key, State::Done(id));
        Ok(id)
    }

    fn settle(&mut self, key: &Key, compiled: Compiled) -> NodeId {
        match (self.states.get(key), compiled) {
            (Some(State::Open(Some(id))), Compiled::Node(node)) => {
                self.arena.fill(*id, node);
                *id
            }
            (Some(State::Open(Some(id))), Compiled::Same(other)) => {
                let checks = [Check::Ref(other)].into();
                self.arena.fill(
                    *id,
                    Node {
                        types: Types::ALL,
                        checks,
                    },
                );
                *id
            }
            (_, Compiled::Node(node)) => self.arena.add(node),
            (_, Compiled::Same(id)) => id,
        }
    }

    fn object(&mut self, cursor: &Cursor<'_>, members: &Map<String, Json>) -> Result<Compiled, Refusal> {
        match cursor.draft {
            Draft::Draft7 | Draft::Draft201909 | Draft::Draft202012 => {}
            _ => {
                return self.refuse(
                    "$schema is none that is understood: write that of draft-07, 2019-09 or 2020-12, or leave it out",
                );
            }
        }
        // Draft-07, core §8.3: beside $ref nothing counts.
        if cursor.draft == Draft::Draft7 && members.contains_key("$ref") {
            return Ok(Compiled::Same(self.reference(cursor, "$ref", members)?));
        }
        let mut checks = Vec::new();
        let types = self.types(members)?;
        self.scalars(cursor, members, &mut checks)?;
        self.items(cursor, members, &mut checks)?;
        self.members(cursor, members, &mut checks)?;
        self.combined(cursor, members, &mut checks)?;
        self.references(cursor, members, &mut checks)?;
        self.unevaluated(cursor, members, &mut checks)?;
        if types == Types::ALL
            && let [Check::Ref(id)] = *checks
        {
            return Ok(Compiled::Same(id));
        }
        let checks = checks.into_boxed_slice();
        Ok(Compiled::Node(Node { types, checks }))
    }

    /// A schema that lies in the one at hand.
    fn child(
        &mut self,
        cursor: &Cursor<'_>,
        schema: &Json,
        level: Level,
        asserted: bool,
    ) -> Result<NodeId, Refusal> {
        let draft = cursor.draft.detect(schema);
        // What is borrowed lives as long as the registry; the cursor of a child is of the same one.
        let resource = draft.create_resource_ref(schema);
        let resolver = match cursor.resolver.in_subresource(resource) {
            Ok(resolver) => resolver,
            Err(error) => return self.refuse(error.to_string()),
        };
        self.schema(&Cursor {
            schema,
            resolver,
            draft,
            level,
            asserted: asserted && cursor.asserted,
        })
    }

    /// The schema that is the value of a keyword, where it is there.
    fn keyword(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        name: &str,
        level: Level,
        asserted: bool,
    ) -> Result<Option<NodeId>, Refusal> {
        let Some(schema) = members.get(name) else {
            return Ok(None);
        };
        self.below(name, |this| this.child(cursor, schema, level, asserted))
            .map(Some)
    }

    /// The schemas of a keyword that has an array of them, where it is there.
    fn list(
        &mut self,
        cursor: &Cursor<'_>,
        members: &Map<String, Json>,
        name: &str,
        level: Level,
        asserted: bool,
    ) -> Result<Option<Box<[NodeId]>>, Refusal> {
        let Some(value) = members.get(name) else {
            return Ok(None);
        };
        self.below(name, |this| {
            let Json::Array(schemas) = value else {
                return this.refuse("it is an array of schemas");
            };
            if schemas.is_empty() && name != "prefixItems" {
                return this.refuse("it has at least one schema");
            }
            let schemas = schemas.iter().enumerate();
            let nodes = schemas.map(|(number, schema)| {
                this.below(&number.to_string(), |this| {
                    this.child(cursor, schema, level, asserted)
                })
            });
            nodes.collect::<Result<Box<[_]>, _>>()
        })
        .map(Some)
    }

    /// The schemas of a keyword that has an object of them; none where it is not there.
    fn map<'m>(
        &mut self,
        members: &'m Map<String, Json>,
        name: &str,
    ) -> Result<Vec<(&'m String, &'m Json)>, Refusal> {
        match members.get(name) {
            None => Ok(Vec::new()),
            Some(Json::Object(map)) => Ok(map.iter().collect()),
            Some(_) => self.below(name, |this| this.refuse("it is an object")),
        }
    }
}
