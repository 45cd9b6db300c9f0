//! One keyword of one value.

use super::{Run, Step, words};
use crate::node::{Bound, Check, Node, NodeId};
use crate::tape::{Kind, Number, Value};
use std::collections::HashMap;
use std::hash::RandomState;

/// Up to so many items are compared with each other; more are told apart by a number for each.
const FEW: usize = 16;

impl<'t> Run<'_, 't> {
    pub(super) fn check<const TELL: bool>(&mut self, node: &Node, check: &Check, value: Value<'t>) -> bool {
        if let Some(holds) = self.scalar(check, &value) {
            return holds || self.wrong::<TELL>(value, || words::rule(self.arena, check));
        }
        match check {
            Check::Items { first, rest, .. } => self.items::<TELL>(first, *rest, value),
            Check::Contains {
                node, least, most, ..
            } => {
                self.contains(*node, *least, *most, value)
                    || self.wrong::<TELL>(value, || words::contains(*least, *most))
            }
            Check::Members(members) => self.members::<TELL>(members, value),
            Check::PropertyNames(names) => self.names::<TELL>(*names, value),
            Check::DependentRequired(name, needed) => self.dependent::<TELL>(name, needed, value),
            Check::DependentSchema(name, schema) => {
                self.member(&value, name).is_none() || self.node::<TELL>(*schema, value)
            }
            Check::AllOf(all) => self.all_of::<TELL>(all, value),
            Check::AnyOf(any) => {
                any.iter().any(|schema| self.node::<false>(*schema, value))
                    || self.none_holds::<TELL>(any, value)
            }
            Check::ExactlyOne(schemas) => self.exactly_one::<TELL>(schemas, value),
            Check::Not(schema) => {
                !self.node::<false>(*schema, value)
                    || self.wrong::<TELL>(value, || "it is none of what the model excludes (not)".to_owned())
            }
            Check::If {
                condition,
                then,
                otherwise,
            } => {
                let next = if self.node::<false>(*condition, value) {
                    then
                } else {
                    otherwise
                };
                self.node::<TELL>(*next, value)
            }
            Check::Ref(schema) => self.node::<TELL>(*schema, value),
            Check::UnevaluatedItems(schema) => self.unevaluated_items::<TELL>(node, *schema, value),
            Check::UnevaluatedProperties(schema) => self.unevaluated_members::<TELL>(node, *schema, value),
            Check::Attribute(schema) => self.attribute::<TELL>(*schema, value),
            // Those that `scalar` has answered.
            _ => true,
        }
    }

    /// The keywords that look at one value and at no schema; `None`: it is another one.
    fn scalar(&self, check: &Check, value: &Value<'t>) -> Option<bool> {
        Some(match check {
            Check::OneOf(constants) => constants.has(value),
            Check::Range(bound, limit) => value
                .number()
                .is_none_or(|number| in_range(number, *bound, limit)),
            Check::MultipleOf(of) => value
                .number()
                .is_none_or(|number| number.is_multiple_of(&Number::of(of))),
            Check::MinLength(least) => length(value).is_none_or(|length| length >= *least),
            Check::MaxLength(most) => length(value).is_none_or(|length| length <= *most),
            Check::Pattern(pattern) => value.text().is_none_or(|text| {
                let pattern = self.arena.pattern(*pattern);
                pattern.is_some_and(|pattern| pattern.is_match(&text))
            }),
            Check::Format(format) => value.text().is_none_or(|text| format.holds(&text)),
            Check::MinItems(least) => value.kind() != Kind::Array || count(value.items()) >= *least,
            Check::MaxItems(most) => value.kind() != Kind::Array || count(value.items()) <= *most,
            Check::UniqueItems => are_different(value),
            Check::MinProperties(least) => value.kind() != Kind::Object || count(value.members()) >= *least,
            Check::MaxProperties(most) => value.kind() != Kind::Object || count(value.members()) <= *most,
            _ => return None,
        })
    }

    fn items<const TELL: bool>(&mut self, first: &[NodeId], rest: NodeId, value: Value<'t>) -> bool {
        let mut holds = true;
        for (number, item) in value.items().enumerate() {
            let schema = first.get(number).copied().unwrap_or(rest);
            if schema == NodeId::ANYTHING {
                continue;
            }
            if !self.within::<TELL>(|| Step::Item(number), |run| run.node::<TELL>(schema, item)) {
                holds = false;
                if !TELL {
                    break;
                }
            }
        }
        holds
    }

    fn contains(&mut self, schema: NodeId, least: u64, most: Option<u64>, value: Value<'t>) -> bool {
        if value.kind() != Kind::Array {
            return true;
        }
        let mut found = 0;
        for item in value.items() {
            if self.node::<false>(schema, item) {
                found += 1;
            }
            if found >= least && most.is_none() {
                return true;
            }
        }
        found >= least && most.is_none_or(|most| found <= most)
    }

    fn all_of<const TELL: bool>(&mut self, all: &[NodeId], value: Value<'t>) -> bool {
        let mut holds = true;
        for schema in all {
            if !self.node::<TELL>(*schema, value) {
                holds = false;
                if !TELL {
                    break;
                }
            }
        }
        holds
    }

    fn exactly_one<const TELL: bool>(&mut self, schemas: &[NodeId], value: Value<'t>) -> bool {
        let mut found = 0;
        for schema in schemas {
            if self.node::<false>(*schema, value) {
                found += 1;
                if found > 1 {
                    break;
                }
            }
        }
        match found {
            0 => self.none_holds::<TELL>(schemas, value),
            1 => true,
            _ => self.wrong::<TELL>(value, || {
                format!("it is only one of {} alternatives (oneOf)", schemas.len())
            }),
        }
    }

    /// Tells what is wrong with the only alternative that is meant for values of this type, where there is one.
    fn none_holds<const TELL: bool>(&mut self, schemas: &[NodeId], value: Value<'t>) -> bool {
        if !TELL {
            return false;
        }
        let of_type = |schema: &&NodeId| {
            let node = self.arena.node(**schema);
            node.is_some_and(|node| super::is_of(node.types, &value))
        };
        let mut fitting = schemas.iter().filter(of_type);
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            let only = *only;
            return self.node::<TELL>(only, value);
        }
        self.wrong::<TELL>(value, || format!("it is one of {} alternatives", schemas.len()))
    }
}

fn in_range(number: Number<'_>, bound: Bound, limit: &str) -> bool {
    let limit = Number::of(limit);
    match bound {
        Bound::Least => number >= limit,
        Bound::Most => number <= limit,
        Bound::Above => number > limit,
        Bound::Below => number < limit,
    }
}

/// In characters; `None`: it is no text.
fn length(value: &Value<'_>) -> Option<u64> {
    value.text().map(|text| count(text.chars()))
}

fn count(items: impl Iterator) -> u64 {
    items.fold(0, |sum, _| sum + 1)
}

fn are_different(value: &Value<'_>) -> bool {
    let items: Vec<Value<'_>> = value.items().collect();
    if items.len() <= FEW {
        let mut rest = items.as_slice();
        while let [one, others @ ..] = rest {
            if others.iter().any(|other| one.equals(other)) {
                return false;
            }
            rest = others;
        }
        return true;
    }
    let hashes = RandomState::new();
    let mut seen: HashMap<u64, Vec<Value<'_>>> = HashMap::with_capacity(items.len());
    items.into_iter().all(|item| {
        let same = seen.entry(item.hash_with(&hashes)).or_default();
        let is_new = !same.iter().any(|other| other.equals(&item));
        same.push(item);
        is_new
    })
}
