//! The query language (clause 4.9): terms joined by `;` (and, binds tighter) and `|` (or), with parentheses.

mod parse;

pub use parse::{MAX_DEPTH, MAX_LENGTH, MAX_TERMS, MAX_VALUES, Reading, parse, parse_as, path};

use crate::query::pattern::Pattern;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// All of these.
    And(Vec<Query>),
    /// Any of these.
    Or(Vec<Query>),
    /// One condition.
    Term(Term),
}

impl Query {
    /// Whether it asks for anything but times the broker keeps: a query by these alone is too wide (clause 5.7.2).
    pub fn names_an_attribute(&self) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::names_an_attribute),
            Self::Term(term) => matches!(term.path, Path::Attribute { .. } | Path::Linked { .. }),
        }
    }

    /// How many relationships it follows from one entity to the next, at most.
    #[must_use]
    pub fn links(&self) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::links).max().unwrap_or(0),
            Self::Term(term) => term.path.links(),
        }
    }
}

/// One condition: some instance at the path passes the test.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Where to look.
    pub path: Path,
    /// What to find.
    pub test: Test,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// When the entity was created.
    CreatedAt,
    /// When the entity was changed last.
    ModifiedAt,
    /// In an attribute.
    Attribute {
        /// IRIs: the attribute, its attribute, and so on; at least one.
        names: Vec<String>,
        /// What of the last one.
        part: Part,
    },
    /// In the entities that a relationship leads to.
    Linked {
        /// The IRI of the relationship.
        relationship: String,
        /// One of these types they must have; empty: any.
        types: Vec<String>,
        /// Where to look in them.
        path: Box<Path>,
    },
}

impl Path {
    /// How many relationships are followed.
    fn links(&self) -> usize {
        match self {
            Self::CreatedAt | Self::ModifiedAt | Self::Attribute { .. } => 0,
            Self::Linked { path, .. } => 1 + path.links(),
        }
    }
}

/// What of an attribute is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its value.
    Value,
    /// A member of its value: the names as sent and expanded. Languages and JSON are not expanded.
    Member {
        /// As sent.
        sent: Vec<String>,
        /// As IRIs.
        expanded: Vec<String>,
    },
    /// Any language of it.
    AnyLanguage,
    /// Something the broker or the standard keeps beside the value.
    System(System),
}

/// What is kept beside a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// `observedAt`
    ObservedAt,
    /// `createdAt`
    CreatedAt,
    /// `modifiedAt`
    ModifiedAt,
    /// `unitCode`
    UnitCode,
    /// `datasetId`
    DatasetId,
}

impl System {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "observedAt" => Self::ObservedAt,
            "createdAt" => Self::CreatedAt,
            "modifiedAt" => Self::ModifiedAt,
            "unitCode" => Self::UnitCode,
            "datasetId" => Self::DatasetId,
            _ => return None,
        })
    }
}

/// What to find.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Anything.
    Exists,
    /// One of these, or not one of these.
    Equals {
        /// Whether the test is negated; the attribute must exist all the same.
        not: bool,
        /// The values, at least one.
        any_of: Vec<Operand>,
    },
    /// In a relation of order to a value.
    Order(Order, Value),
    /// A text in which the pattern is found, or is not.
    Matches {
        /// Whether the test is negated.
        not: bool,
        /// The pattern.
        pattern: Pattern,
    },
}

/// `<`, `<=`, `>`, `>=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What a value may equal.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A value.
    One(Value),
    /// Anything from the first to the second, both included.
    Range(Value, Value),
}

/// A value in a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A JSON number, as sent.
    Number(String),
    /// A truth value.
    Bool(bool),
    /// A text in quotes, or a URI; no point in time.
    Text(String),
    /// A point in time, in quotes or not.
    DateTime(String),
    /// A day.
    Date(String),
    /// A time of day.
    Time(String),
}
