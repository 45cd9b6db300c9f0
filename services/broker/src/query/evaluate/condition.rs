//! The query language, asked of an entity in memory. Each function has its counterpart of the same meaning in
//! [`crate::query::sql`].

use crate::model::entity::{Attributes, Instance, Kind};
use crate::model::json::Json;
use crate::model::moment::{Moment, looks_like_date};
use crate::model::number::Number;
use crate::query::evaluate::Subject;
use crate::query::evaluate::effort::Effort;
use crate::query::q::{Operand, Order, Part, Path, Query, System, Term, Test, Value};
use std::cmp::Ordering;

/// Whether the query holds, as far as the effort allows to tell.
pub fn holds(query: &Query, subject: &mut Subject) -> bool {
    match query {
        Query::And(parts) => parts.iter().all(|part| holds(part, subject)),
        Query::Or(parts) => parts.iter().any(|part| holds(part, subject)),
        Query::Term(term) => term_holds(term, subject),
    }
}

fn term_holds(term: &Term, subject: &mut Subject) -> bool {
    // Lent to the test, which looks at the subject meanwhile.
    let mut effort = std::mem::take(&mut subject.effort);
    let found = match &term.path {
        Path::CreatedAt => entity_time_passes(subject.created(), &term.test),
        Path::ModifiedAt => entity_time_passes(subject.modified(), &term.test),
        // Refused when the selection was prepared.
        Path::Linked { .. } => false,
        Path::Attribute { names, part } => {
            let mut passes = |instance: &Instance, effort: &mut Effort| {
                instance_passes(instance, part, &term.test, subject, effort)
            };
            any_instance(&subject.entity.attributes, names, &mut effort, &mut passes)
        }
    };
    subject.effort = effort;
    found
}

/// Whether some instance at the path passes.
fn any_instance(
    attributes: &Attributes,
    names: &[String],
    effort: &mut Effort,
    passes: &mut dyn FnMut(&Instance, &mut Effort) -> bool,
) -> bool {
    let Some((name, deeper)) = names.split_first() else {
        return false;
    };
    let instances = attributes.get(name).map(Vec::as_slice).unwrap_or_default();
    instances.iter().any(|instance| {
        let goes_on = effort.spend(1);
        goes_on
            && if deeper.is_empty() {
                passes(instance, effort)
            } else {
                any_instance(&instance.subs, deeper, effort, passes)
            }
    })
}

/// What a test looks at.
#[derive(Clone, Copy)]
enum Seen<'a> {
    /// A value, or a part of one.
    Value(&'a Json),
    /// A text that is kept beside the value.
    Text(&'a str),
}

fn instance_passes(
    instance: &Instance,
    part: &Part,
    test: &Test,
    subject: &Subject,
    effort: &mut Effort,
) -> bool {
    let mut passes = |seen: Seen| passes(seen, instance.kind.links(), test, effort);
    let beside = match part {
        Part::Value => return passes(Seen::Value(&instance.value)),
        Part::Member { sent, expanded } => {
            let as_sent = matches!(instance.kind, Kind::LanguageProperty | Kind::JsonProperty);
            let path = if as_sent { sent } else { expanded };
            return member(&instance.value, path).is_some_and(|value| passes(Seen::Value(value)));
        }
        Part::AnyLanguage => {
            return match &instance.value {
                Json::Object(members) => members.iter().any(|(_, value)| passes(Seen::Value(value))),
                _ => false,
            };
        }
        Part::System(System::ObservedAt) => instance.observed_at.as_deref(),
        Part::System(System::UnitCode) => instance.unit_code.as_deref(),
        Part::System(System::DatasetId) => instance.dataset.as_deref(),
        // An instance without times of its own is as old as the entity.
        Part::System(System::CreatedAt) => {
            Some(instance.created.as_deref().unwrap_or_else(|| subject.created()))
        }
        Part::System(System::ModifiedAt) => {
            let own = instance.modified.as_deref().or(instance.created.as_deref());
            Some(own.unwrap_or_else(|| subject.created()))
        }
    };
    beside.is_some_and(|text| passes(Seen::Text(text)))
}

/// What a path leads to, as `#>` of PostgreSQL: members of objects by name, items of arrays by number, from the end
/// where that is negative.
fn member<'a>(value: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, name| match value {
        Json::Object(_) => value.get(name),
        Json::Array(items) => {
            // As C reads numbers: blanks and a sign may come before the digits.
            let number: i32 = name
                .trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r'])
                .parse()
                .ok()?;
            let from_end = usize::try_from(number.unsigned_abs()).ok()?;
            let at = if number < 0 {
                items.len().checked_sub(from_end)?
            } else {
                from_end
            };
            items.get(at)
        }
        _ => None,
    })
}

fn passes(seen: Seen, links: bool, asked: &Test, effort: &mut Effort) -> bool {
    match asked {
        Test::Exists => true,
        Test::Equals { not, any_of } => {
            effort.spend(any_of.len().saturating_mul(seen.size()))
                && any_of.iter().any(|operand| seen.equals(links, operand)) != *not
        }
        Test::Order(order, value) => effort.spend(1) && seen.is_in_order(links, *order, value),
        Test::Matches { not, pattern } => {
            let searched = if links { None } else { seen.string() };
            searched.is_some_and(|searched| effort.finds(pattern, searched)) != *not
        }
    }
}

impl<'a> Seen<'a> {
    /// How many values there are to compare.
    fn size(self) -> usize {
        match self {
            Self::Value(Json::Array(items)) => items.len(),
            _ => 1,
        }
    }

    /// Where it is a string.
    fn string(self) -> Option<&'a str> {
        match self {
            Self::Value(value) => value.as_str(),
            Self::Text(text) => Some(text),
        }
    }

    /// A string, or the text of a typed value of JSON-LD.
    fn text(self) -> Option<&'a str> {
        self.string().or_else(|| self.typed())
    }

    fn typed(self) -> Option<&'a str> {
        match self {
            Self::Value(value) => value.get("@value").and_then(Json::as_str),
            Self::Text(_) => None,
        }
    }

    /// Whether it is so, or, being an array, has an item that is so.
    fn contains(self, is_so: impl Fn(&Json) -> bool) -> bool {
        match self {
            Self::Value(Json::Array(items)) => items.iter().any(is_so),
            Self::Value(value) => is_so(value),
            Self::Text(_) => false,
        }
    }

    fn contains_text(self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text == wanted,
            Self::Value(_) => {
                self.contains(|item| item.as_str() == Some(wanted)) || self.typed() == Some(wanted)
            }
        }
    }

    fn equals(self, links: bool, operand: &Operand) -> bool {
        let value = match operand {
            Operand::Range(from, to) => {
                return self.is_in_order(links, Order::GreaterOrEqual, from)
                    && self.is_in_order(links, Order::LessOrEqual, to);
            }
            Operand::One(value) => value,
        };
        match value {
            Value::Number(wanted) => self.contains(|item| match item {
                Json::Number(number) => Number::of(number) == Number::of(wanted),
                _ => false,
            }),
            Value::Bool(wanted) => self.contains(|item| matches!(item, Json::Bool(is) if is == wanted)),
            Value::Text(wanted) | Value::Date(wanted) => self.contains_text(wanted),
            Value::DateTime(wanted) => {
                self.contains_text(wanted) || same(self.text(), wanted, Moment::of_date_time)
            }
            Value::Time(wanted) => self.contains_text(wanted) || same(self.text(), wanted, Moment::of_time),
        }
    }

    fn is_in_order(self, links: bool, order: Order, value: &Value) -> bool {
        let compared = match value {
            Value::Number(wanted) => match self {
                Self::Value(Json::Number(number)) => Some(Number::of(number).cmp(&Number::of(wanted))),
                _ => None,
            },
            Value::DateTime(wanted) => compared(self.text(), wanted, Moment::of_date_time),
            Value::Time(wanted) => compared(self.text(), wanted, Moment::of_time),
            Value::Date(wanted) => self
                .text()
                .filter(|text| looks_like_date(text))
                .map(|text| text.cmp(wanted.as_str())),
            Value::Text(wanted) if !links => self.string().map(|text| text.cmp(wanted.as_str())),
            Value::Text(_) | Value::Bool(_) => None,
        };
        compared.is_some_and(|ordering| is_of(order, ordering))
    }
}

fn compared<'t>(
    text: Option<&'t str>,
    wanted: &'t str,
    read: fn(&'t str) -> Option<Moment<'t>>,
) -> Option<Ordering> {
    Some(read(text?)?.cmp(&read(wanted)?))
}

fn same<'t>(text: Option<&'t str>, wanted: &'t str, read: fn(&'t str) -> Option<Moment<'t>>) -> bool {
    compared(text, wanted, read) == Some(Ordering::Equal)
}

fn is_of(order: Order, ordering: Ordering) -> bool {
    match order {
        Order::Less => ordering.is_lt(),
        Order::LessOrEqual => ordering.is_le(),
        Order::Greater => ordering.is_gt(),
        Order::GreaterOrEqual => ordering.is_ge(),
    }
}

/// When the entity itself was created or modified: only points in time compare with it.
fn entity_time_passes(time: &str, test: &Test) -> bool {
    let compare = |order: Option<Order>, value: &Value| match value {
        Value::DateTime(wanted) => {
            let ordering = compared(Some(time), wanted, Moment::of_date_time);
            ordering.is_some_and(|ordering| order.map_or(ordering.is_eq(), |order| is_of(order, ordering)))
        }
        _ => false,
    };
    match test {
        Test::Exists => true,
        Test::Order(order, value) => compare(Some(*order), value),
        Test::Equals { not, any_of } => {
            let found = any_of.iter().any(|operand| match operand {
                Operand::One(value) => compare(None, value),
                Operand::Range(from, to) => {
                    compare(Some(Order::GreaterOrEqual), from) && compare(Some(Order::LessOrEqual), to)
                }
            });
            found != *not
        }
        Test::Matches { not, .. } => *not,
    }
}
