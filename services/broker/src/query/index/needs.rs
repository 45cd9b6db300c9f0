//! What an entity must have to be selected.

use crate::query::EntitySelector;
use crate::query::evaluate::Prepared;
use crate::query::q::{Operand, Order, Part, Path, Query, Term, Test, Value};
use crate::query::types::TypeSelection;

/// The most places that one selection is kept at; one that needs more is kept at places that tell less, but for ids.
const MOST: usize = 256;

/// One thing that an entity may have; a selection needs one of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Need<'a> {
    /// This id.
    Id(&'a str),
    /// The attribute is, or contains, the text.
    Text(&'a str, &'a str),
    /// The attribute is, or contains, the number.
    Number(&'a str, &'a str),
    /// The id has this in it, three bytes or more.
    Piece(&'a str),
    /// The attribute is a number between these.
    Between(&'a str, Number, Number),
    /// An attribute, or any, of an entity of the type, or of any, was touched.
    Touched(Option<&'a str>, &'a str),
    /// The type, or any, and the attribute, or any.
    Has(Option<&'a str>, Option<&'a str>),
}

impl Need<'_> {
    /// What tells less is greater.
    fn rank(&self) -> u8 {
        match self {
            Self::Id(_) => 0,
            Self::Text(..) | Self::Number(..) => 1,
            Self::Piece(_) => 2,
            Self::Between(..) => 3,
            Self::Touched(..) => 4,
            Self::Has(_, Some(_)) => 5,
            Self::Has(Some(_), None) => 6,
            Self::Has(None, None) => 7,
        }
    }
}

/// A number as an integer that sorts like it. What is unequal may become equal, never the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(i64);

impl Number {
    const LEAST: Self = Self(i64::MIN);
    const GREATEST: Self = Self(i64::MAX);

    /// Of a number of JSON.
    pub fn of(text: &str) -> Option<Self> {
        let number: f64 = text.parse().ok()?;
        // Two zeros are one. The bits of negative numbers sort the wrong way round.
        let bits = (number + 0.0).to_bits().cast_signed();
        Some(Self(if bits < 0 { bits ^ i64::MAX } else { bits }))
    }
}

/// What an entity must have one of to be selected, after a write that touched one of the attributes in `watched`, if
/// there are any; never empty.
pub fn of<'a>(selection: &'a Prepared, watched: &'a [String]) -> Vec<Need<'a>> {
    let of_entities = joined(selection.entities().iter().map(called));
    let of_q = selection.q().and_then(of_query);
    let best = [of_entities, of_q]
        .into_iter()
        .flatten()
        .min_by_key(|needs| rank(needs));
    match best {
        Some(best) if rank(&best) < 4 => best,
        _ => typed(selection, watched),
    }
}

/// How little the weakest of them tells.
fn rank(needs: &[Need]) -> u8 {
    needs.iter().map(Need::rank).max().unwrap_or(u8::MAX)
}

/// All of several, of which an entity must have one; `None` where one of them needs nothing.
fn joined<'a>(each: impl Iterator<Item = Option<Vec<Need<'a>>>>) -> Option<Vec<Need<'a>>> {
    let all: Vec<Vec<Need>> = each.collect::<Option<_>>()?;
    let all = all.concat();
    let is_few = all.len() <= MOST || all.iter().all(|need| matches!(need, Need::Id(_)));
    (is_few && !all.is_empty()).then_some(all)
}

fn called(selector: &EntitySelector) -> Option<Vec<Need<'_>>> {
    if !selector.ids.is_empty() {
        return Some(selector.ids.iter().map(|id| Need::Id(id)).collect());
    }
    let literals = selector.id_pattern.as_ref()?.literals();
    let longest = literals.max_by_key(|literal| literal.len())?;
    (longest.len() >= 3).then(|| vec![Need::Piece(longest)])
}

fn of_query(query: &Query) -> Option<Vec<Need<'_>>> {
    match query {
        Query::And(parts) => parts.iter().filter_map(of_query).min_by_key(|needs| rank(needs)),
        Query::Or(parts) => joined(parts.iter().map(of_query)),
        Query::Term(term) => of_term(term),
    }
}

fn of_term(Term { path, test }: &Term) -> Option<Vec<Need<'_>>> {
    let Path::Attribute { names, part } = path else {
        return None;
    };
    let attribute = names.first()?;
    let exact = match (names.len(), part) {
        (1, Part::Value) => of_test(attribute, test),
        _ => None,
    };
    // Whatever the test is, the attribute must be there.
    Some(exact.unwrap_or_else(|| vec![Need::Has(None, Some(attribute))]))
}

fn of_test<'a>(attribute: &'a str, test: &'a Test) -> Option<Vec<Need<'a>>> {
    match test {
        Test::Equals { not: false, any_of } => joined(any_of.iter().map(|operand| {
            let need = match operand {
                Operand::One(Value::Text(wanted) | Value::Date(wanted)) => Need::Text(attribute, wanted),
                Operand::One(Value::Number(wanted)) => Need::Number(attribute, wanted),
                Operand::Range(Value::Number(from), Value::Number(to)) => {
                    Need::Between(attribute, Number::of(from)?, Number::of(to)?)
                }
                // Times are written in many ways, truth values tell little, and other ranges are of texts.
                Operand::One(Value::DateTime(_) | Value::Time(_) | Value::Bool(_)) | Operand::Range(..) => {
                    return None;
                }
            };
            Some(vec![need])
        })),
        Test::Order(order, Value::Number(bound)) => {
            let bound = Number::of(bound)?;
            let (least, greatest) = match order {
                Order::Less | Order::LessOrEqual => (Number::LEAST, bound),
                Order::Greater | Order::GreaterOrEqual => (bound, Number::GREATEST),
            };
            Some(vec![Need::Between(attribute, least, greatest)])
        }
        _ => None,
    }
}

/// Types, and with each an attribute: each of those watched, or one that the query asks for.
fn typed<'a>(selection: &'a Prepared, watched: &'a [String]) -> Vec<Need<'a>> {
    let each = selection
        .entities()
        .iter()
        .map(|one| one.types.as_ref().and_then(one_of_types));
    let types: Option<Vec<Vec<&str>>> = each.collect();
    let types = types
        .map(|types| types.concat())
        .filter(|types| !types.is_empty());
    let types: Vec<Option<&str>> = match types {
        Some(types) if types.len() * watched.len().max(1) <= MOST => types.into_iter().map(Some).collect(),
        _ => vec![None],
    };
    if !watched.is_empty() && types.len() * watched.len() <= MOST {
        let touched = types
            .iter()
            .flat_map(|kind| watched.iter().map(|iri| Need::Touched(*kind, iri)));
        return touched.collect();
    }
    let asked = selection
        .q()
        .and_then(of_query)
        .and_then(|needs| match needs.as_slice() {
            [Need::Has(_, Some(attribute))] => Some(*attribute),
            _ => None,
        });
    types.into_iter().map(|kind| Need::Has(kind, asked)).collect()
}

/// Types of which an entity must have one to be selected; `None` where it may be of any.
fn one_of_types(selection: &TypeSelection) -> Option<Vec<&str>> {
    match selection {
        TypeSelection::All => None,
        TypeSelection::One(name) => Some(vec![name]),
        TypeSelection::And(parts) => parts.iter().filter_map(one_of_types).min_by_key(Vec::len),
        TypeSelection::Or(parts) => {
            let all: Vec<Vec<&str>> = parts.iter().map(one_of_types).collect::<Option<_>>()?;
            Some(all.concat())
        }
    }
}
