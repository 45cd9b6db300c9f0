//! How many bytes of memory trees of queries take, nearly: what holds many of them has to know.

use crate::query::pattern::Pattern;
use crate::query::q::{Operand, Part, Path, Query, Test, Value};
use crate::query::types::TypeSelection;

impl TypeSelection {
    /// How many bytes of memory it takes beside itself.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::All => 0,
            Self::One(name) => name.len(),
            Self::And(parts) | Self::Or(parts) => of_items(parts, Self::weight),
        }
    }
}

impl Query {
    /// How many bytes of memory it takes beside itself.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => of_items(parts, Self::weight),
            Self::Term(term) => of_path(&term.path) + of_test(&term.test),
        }
    }
}

fn of_path(path: &Path) -> usize {
    let Path::Attribute { names, part } = path else {
        return 0;
    };
    let part = match part {
        Part::Member { sent, expanded } => of_items(sent, String::len) + of_items(expanded, String::len),
        _ => 0,
    };
    of_items(names, String::len) + part
}

fn of_test(test: &Test) -> usize {
    match test {
        Test::Exists => 0,
        Test::Equals { any_of, .. } => of_items(any_of, |operand| match operand {
            Operand::One(value) => of_value(value),
            Operand::Range(from, to) => of_value(from) + of_value(to),
        }),
        Test::Order(_, value) => of_value(value),
        Test::Matches { pattern, .. } => Pattern::weight(pattern),
    }
}

fn of_value(value: &Value) -> usize {
    match value {
        Value::Bool(_) => 0,
        Value::Number(text)
        | Value::Text(text)
        | Value::DateTime(text)
        | Value::Date(text)
        | Value::Time(text) => text.len(),
    }
}

fn of_items<T>(items: &[T], beside: impl Fn(&T) -> usize) -> usize {
    items.iter().map(|item| size_of::<T>() + beside(item)).sum()
}
