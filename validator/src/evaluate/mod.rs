//! Whether a value is as a schema says, and where it is not.

mod attribute;
mod check;
mod evaluated;
mod members;
mod words;

use crate::node::{Arena, NodeId, Types};
use crate::tape::{Kind, Value};
use crate::violation::{Violation, cut};
use std::borrow::Cow;

/// How deep schemas may be entered from each other.
const MAX_DEPTH: u32 = 512;
/// How many schemas may be asked of one document: an entity of 100 kB asks some 20,000. Schemas that branch without end come
/// to more.
const MAX_STEPS: u32 = 2_000_000;
/// How many violations of one entity are told.
const MAX_VIOLATIONS: usize = 20;

/// How attributes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Representation {
    /// Normalized or concise, each attribute as it likes (ETSI GS CIM 009, 4.5.2.2 and 4.5.2.3).
    Full,
    /// Simplified (4.5.4).
    Simplified,
}

/// How much of the entity a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: everything is checked.
    Whole,
    /// Some attributes: each is checked, and nothing that depends on others. What deletes an attribute or a value is let pass.
    Part,
}

/// What the names in a document are in the schema: both mean the same IRI.
pub trait Names {
    /// The schema's name of what the document calls so; one that the schema does not have where there is none.
    fn in_schema<'n>(&'n self, name: &'n str) -> Cow<'n, str>;
}

/// How a document is to be read.
#[derive(Clone, Copy)]
pub struct Reading<'n> {
    /// How attributes come.
    pub representation: Representation,
    /// How much of the entity it is.
    pub extent: Extent,
    /// What names mean; `None`: the same as in the schema.
    pub names: Option<&'n dyn Names>,
}

/// Checks a document: nothing, or what is wrong with it, at most 20 lines.
pub fn check(
    arena: &Arena,
    schema: NodeId,
    value: Value<'_>,
    reading: Reading<'_>,
) -> Result<(), Vec<Violation>> {
    let mut run = Run::new(arena, reading);
    let holds = match reading.extent {
        Extent::Whole => run.node::<false>(schema, value),
        Extent::Part => run.part::<false>(schema, value),
    };
    if holds && !run.gave_up {
        return Ok(());
    }
    // Most are good, so only those that are not are looked at again, for words.
    let mut run = Run::new(arena, reading);
    match reading.extent {
        Extent::Whole => run.node::<true>(schema, value),
        Extent::Part => run.part::<true>(schema, value),
    };
    if run.gave_up {
        run.found.truncate(MAX_VIOLATIONS - 1);
        run.found.push(Violation {
            pointer: String::new(),
            rule: "it costs more to check than a document may".to_owned(),
            value: cut(value.raw()).into_owned(),
        });
    }
    Err(run.found)
}

/// Whether JSON is as a schema says.
pub(crate) fn holds(arena: &Arena, schema: NodeId, value: Value<'_>) -> bool {
    let mut run = Run::new(
        arena,
        Reading {
            representation: Representation::Simplified,
            extent: Extent::Whole,
            names: None,
        },
    );
    run.node::<false>(schema, value) && !run.gave_up
}

/// A step from a value to one in it.
#[derive(Clone, Debug)]
enum Step<'t> {
    Name(Cow<'t, str>),
    Item(usize),
}

/// One evaluation. Its functions say whether something holds; with `TELL` they also note what does not, and go on.
struct Run<'a, 't> {
    arena: &'a Arena,
    reading: Reading<'a>,
    /// Whether members are named as they are sent: in JSON and geometries, which no @context reaches.
    literal: bool,
    path: Vec<Step<'t>>,
    found: Vec<Violation>,
    depth: u32,
    steps: u32,
    gave_up: bool,
}

impl<'a, 't> Run<'a, 't> {
    fn new(arena: &'a Arena, reading: Reading<'a>) -> Self {
        Self {
            arena,
            reading,
            literal: false,
            path: Vec::new(),
            found: Vec::new(),
            depth: 0,
            steps: 0,
            gave_up: false,
        }
    }

    fn node<const TELL: bool>(&mut self, id: NodeId, value: Value<'t>) -> bool {
        let Some(node) = self.arena.node(id) else {
            return false;
        };
        self.steps += 1;
        if self.depth == MAX_DEPTH || self.steps > MAX_STEPS || self.gave_up {
            self.gave_up = true;
            return false;
        }
        if !is_of(node.types, &value) {
            return self.wrong::<TELL>(value, || words::types(node.types));
        }
        self.depth += 1;
        let mut holds = true;
        for check in &node.checks {
            if !self.check::<TELL>(node, check, value) {
                holds = false;
                if !TELL {
                    break;
                }
            }
        }
        self.depth -= 1;
        holds
    }

    /// Notes that a value breaks a rule.
    fn wrong<const TELL: bool>(&mut self, value: Value<'t>, rule: impl FnOnce() -> String) -> bool {
        if TELL && self.found.len() < MAX_VIOLATIONS {
            let pointer = self.path.iter().map(|step| match step {
                Step::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
                Step::Item(number) => format!("/{number}"),
            });
            self.found.push(Violation {
                pointer: pointer.collect(),
                rule: rule(),
                value: shown(&value),
            });
        }
        false
    }

    /// Does something with a value that lies in another one.
    fn within<const TELL: bool>(
        &mut self,
        step: impl FnOnce() -> Step<'t>,
        then: impl FnOnce(&mut Self) -> bool,
    ) -> bool {
        if !TELL {
            return then(self);
        }
        self.path.push(step());
        let holds = then(self);
        self.path.pop();
        holds
    }
}

fn is_of(types: Types, value: &Value<'_>) -> bool {
    let bit = match value.kind() {
        Kind::Null => Types::NULL,
        Kind::False | Kind::True => Types::BOOLEAN,
        Kind::String | Kind::Escaped => Types::STRING,
        Kind::Array => Types::ARRAY,
        Kind::Object => Types::OBJECT,
        Kind::Number if types.0 & Types::NUMBER != 0 => return true,
        Kind::Number => {
            return types.0 & Types::INTEGER != 0 && value.number().is_some_and(|number| number.is_integer());
        }
    };
    types.0 & bit != 0
}

/// A value for people, as it was sent and cut.
fn shown(value: &Value<'_>) -> String {
    match value.kind() {
        Kind::String | Kind::Escaped => cut(&format!("\"{}\"", value.raw())).into_owned(),
        _ => cut(value.raw()).into_owned(),
    }
}
