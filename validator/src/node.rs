//! Schemas as they are evaluated: nodes in one arena, of which equal ones are one. A thousand models of one origin share
//! most of theirs.

use crate::format::Format;
use crate::tape::{Owned, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// A node of the arena it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// Holds for everything.
    pub const ANYTHING: Self = Self(0);
    /// Holds for nothing.
    pub const NOTHING: Self = Self(1);
}

/// Which kinds of values there may be, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Types(pub u8);

impl Types {
    pub const NULL: u8 = 1;
    pub const BOOLEAN: u8 = 2;
    pub const NUMBER: u8 = 4;
    /// A number without a fraction.
    pub const INTEGER: u8 = 8;
    pub const STRING: u8 = 16;
    pub const ARRAY: u8 = 32;
    pub const OBJECT: u8 = 64;
    /// Every kind.
    pub const ALL: Self = Self(127);

    /// The bit of a word of JSON Schema.
    pub fn named(name: &str) -> Option<u8> {
        Some(match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "number" => Self::NUMBER | Self::INTEGER,
            "integer" => Self::INTEGER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            _ => return None,
        })
    }
}

/// A schema: what holds for a value when all of it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub types: Types,
    /// What looks at what the others have evaluated comes last.
    pub checks: Box<[Check]>,
}

/// One keyword, or several that are read together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Check {
    /// `const`, `enum`
    OneOf(Arc<Constants>),
    /// `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`
    Range(Bound, Box<str>),
    MultipleOf(Box<str>),
    MinLength(u64),
    MaxLength(u64),
    Pattern(PatternId),
    Format(Format),
    MinItems(u64),
    MaxItems(u64),
    UniqueItems,
    /// `prefixItems` and `items`, or `items` and `additionalItems`
    Items {
        first: Box<[NodeId]>,
        rest: NodeId,
        says_rest: bool,
    },
    Contains {
        node: NodeId,
        least: u64,
        most: Option<u64>,
        evaluates: bool,
    },
    MinProperties(u64),
    MaxProperties(u64),
    Members(Arc<Members>),
    PropertyNames(NodeId),
    /// `dependentRequired`, of the member of the name
    DependentRequired(Box<str>, Box<[Box<str>]>),
    /// `dependentSchemas`, of the member of the name
    DependentSchema(Box<str>, NodeId),
    AllOf(Box<[NodeId]>),
    AnyOf(Box<[NodeId]>),
    /// `oneOf`
    ExactlyOne(Box<[NodeId]>),
    Not(NodeId),
    If {
        condition: NodeId,
        then: NodeId,
        otherwise: NodeId,
    },
    /// `$ref`
    Ref(NodeId),
    UnevaluatedItems(NodeId),
    UnevaluatedProperties(NodeId),
    /// The values of an attribute, in the representation at hand.
    Attribute(NodeId),
}

/// Which side of a number others have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    Least,
    Most,
    Above,
    Below,
}

/// `properties`, `patternProperties`, `additionalProperties` and `required`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Members {
    pub table: Table,
    pub required: usize,
    pub patterns: Box<[(PatternId, NodeId)]>,
    pub additional: NodeId,
    /// Whether the keywords evaluate members of which `additionalProperties` speaks.
    pub evaluates_additional: bool,
    /// Members of entities, of which some are no attributes.
    pub of_entity: bool,
}

/// Names, found by their bytes: a table with room, searched from where the hash says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    slots: Box<[Slot]>,
    index: Box<[u16]>,
}

/// What is said of one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub name: Box<str>,
    pub node: Option<NodeId>,
    pub required: bool,
}

impl Table {
    const FREE: u16 = u16::MAX;

    /// Of at most 65,534 names.
    pub fn new(slots: Vec<Slot>) -> Self {
        let size = (slots.len() * 2).next_power_of_two();
        let mut index = vec![Self::FREE; size].into_boxed_slice();
        for (number, slot) in slots.iter().enumerate() {
            let mut at = Self::start(&slot.name, size);
            while index.get(at).is_some_and(|taken| *taken != Self::FREE) {
                at = (at + 1) % size;
            }
            if let (Some(place), Ok(number)) = (index.get_mut(at), u16::try_from(number)) {
                *place = number;
            }
        }
        Self {
            slots: slots.into_boxed_slice(),
            index,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are wanted")]
    fn start(name: &str, size: usize) -> usize {
        crate::tape::mixed(name.as_bytes()) as usize & (size - 1)
    }

    pub fn get(&self, name: &str) -> Option<&Slot> {
        if self.slots.is_empty() {
            return None;
        }
        let size = self.index.len();
        let mut at = Self::start(name, size);
        loop {
            let slot = self.slots.get(usize::from(*self.index.get(at)?))?;
            if *slot.name == *name {
                return Some(slot);
            }
            at = (at + 1) & (size - 1);
        }
    }

    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

/// Values of which one is enough.
#[derive(Debug)]
pub(crate) struct Constants {
    values: Box<[Owned]>,
}

impl Constants {
    pub fn new(values: Vec<Owned>) -> Self {
        Self {
            values: values.into_boxed_slice(),
        }
    }

    pub fn has(&self, value: &Value<'_>) -> bool {
        self.values.iter().any(|constant| constant.root().equals(value))
    }

    /// As a list for people, no longer than `most` bytes or so.
    pub fn list(&self, most: usize) -> String {
        let mut list = String::new();
        for value in &self.values {
            if list.len() + value.text().len() > most && !list.is_empty() {
                list.push_str(", …");
                break;
            }
            if !list.is_empty() {
                list.push_str(", ");
            }
            list.push_str(crate::violation::cut(value.text()).as_ref());
        }
        list
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(Owned::text)
    }
}

impl PartialEq for Constants {
    fn eq(&self, other: &Self) -> bool {
        self.texts().eq(other.texts())
    }
}

impl Eq for Constants {}

impl std::hash::Hash for Constants {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.texts().for_each(|text| text.hash(state));
    }
}

/// A pattern of the arena it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PatternId(u32);

/// All nodes and patterns of some schemas.
#[derive(Debug)]
pub struct Arena {
    nodes: Vec<Node>,
    known: HashMap<Node, NodeId>,
    patterns: Vec<regex::Regex>,
    known_patterns: HashMap<Box<str>, PatternId>,
}

impl Default for Arena {
    fn default() -> Self {
        let mut arena = Self {
            nodes: Vec::new(),
            known: HashMap::new(),
            patterns: Vec::new(),
            known_patterns: HashMap::new(),
        };
        for types in [Types::ALL, Types(0)] {
            arena.add(Node {
                types,
                checks: Box::default(),
            });
        }
        arena
    }
}

impl Arena {
    /// How many different nodes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no node; it always has those for anything and nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    pub(crate) fn pattern(&self, id: PatternId) -> Option<&regex::Regex> {
        self.patterns.get(id.0 as usize)
    }

    /// A node; the same one where there is one like it.
    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.known.get(&node) {
            return *id;
        }
        let id = self.reserve();
        self.known.insert(node.clone(), id);
        self.fill(id, node);
        id
    }

    /// A place for a node that is named before it is known.
    pub(crate) fn reserve(&mut self) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node {
            types: Types(0),
            checks: Box::default(),
        });
        id
    }

    pub(crate) fn fill(&mut self, id: NodeId, node: Node) {
        if let Some(place) = self.nodes.get_mut(id.0 as usize) {
            *place = node;
        }
    }

    /// Lets go of what is only for adding.
    pub fn shrink(&mut self) {
        self.known = HashMap::new();
        self.known_patterns = HashMap::new();
        self.nodes.shrink_to_fit();
        self.patterns.shrink_to_fit();
    }

    /// A pattern, in the words of ECMA 262 of which an engine without backtracking is capable.
    pub(crate) fn add_pattern(&mut self, source: &str) -> Result<PatternId, String> {
        if let Some(id) = self.known_patterns.get(source) {
            return Ok(*id);
        }
        let regex = crate::pattern::compile(source)?;
        let id = PatternId(u32::try_from(self.patterns.len()).unwrap_or(u32::MAX));
        self.patterns.push(regex);
        self.known_patterns.insert(source.into(), id);
        Ok(id)
    }
}
