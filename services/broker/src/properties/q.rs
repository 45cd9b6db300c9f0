//! The query language.

use super::{TENANT, assert_is_short, entity, joined, statement};
use crate::context::Context;
use crate::context::core::{DEFAULT_VOCABULARY, NGSI_LD};
use crate::model::entity::Entity;
use crate::model::json::write_string;
use crate::model::names::{is_name, is_uri};
use crate::model::terms::of_attributes;
use crate::model::view::join::MAX_LEVELS;
use crate::query::Selection;
use crate::query::evaluate::{Prepared, Subject};
use crate::query::index::Index;
use crate::query::pattern::Pattern;
use crate::query::q::{
    MAX_DEPTH, MAX_LENGTH, MAX_TERMS, MAX_VALUES, Operand, Order, Part, Path, Query, Reading, System, Term,
    Test, Value, parse_as,
};
use crate::query::sql::Param;
use std::sync::LazyLock;

/// What queries are asked of: every kind of attribute, under names of one letter.
static ENTITIES: LazyLock<[Entity; 2]> = LazyLock::new(|| {
    [
        r#"{"id":"urn:x:1","type":"T","a":5.0,"b":{"value":"x","a":1,"observedAt":"2024-01-01T00:00:00Z"},
            "c":[1,"x",true,[2]],"d":{"languageMap":{"en":"x","fr":["y","z"]}},"j":{"json":{"k":{"l":1}}},
            "r":{"object":["urn:x:1","urn:x:3"]}}"#,
        r#"{"id":"urn:x:2","type":"T","a":{"@type":"DateTime","@value":"2024-01-01T00:00:00Z"},"b":true,
            "c":{"k":{"l":"12:00:00"}},"d":{"valueList":["x",5]},"v":{"vocab":"a"},
            "e":[{"value":1,"unitCode":"CEL"},{"value":"2024-01-01","datasetId":"urn:d:1"}]}"#,
    ]
    .map(entity)
});

/// Holds of any text but those with the character U+0000, which no parameter and no JSON has.
pub fn q(text: &str) {
    if text.contains('\0') {
        return;
    }
    let context = Context::core();
    let with_names = Reading::of(&context, Some(&["a", "v"]), Some(&["j"])).expect("these are names");
    for reading in [Reading::new(&context), with_names] {
        match parse_as(text, &reading) {
            Ok(query) => {
                is_bounded(&query);
                comes_back(&query, &reading, &context);
                reaches_the_database_as_parameters(&query);
                is_answered_alike(&query);
            }
            Err(refusal) => assert_is_short(&refusal),
        }
    }
}

fn is_bounded(query: &Query) {
    let terms = terms(query);
    assert!((1..=MAX_TERMS).contains(&terms.len()) && query.links() <= MAX_LEVELS);
    for Term { path, test } in terms {
        let mut path = path;
        while let Path::Linked {
            relationship,
            types,
            path: next,
        } = path
        {
            assert!(types.len() <= MAX_VALUES && types.iter().chain([relationship]).all(|name| is_uri(name)));
            path = next;
        }
        if let Path::Attribute { names, .. } = path {
            assert!((1..=MAX_DEPTH).contains(&names.len()) && names.iter().all(|name| is_uri(name)));
        }
        if let Test::Equals { any_of, .. } = test {
            assert!((1..=MAX_VALUES).contains(&any_of.len()));
        }
    }
}

/// Written out and read again it is the same.
fn comes_back(query: &Query, reading: &Reading<'_>, context: &Context) {
    let written = written_or(query, context);
    match parse_as(&written, reading) {
        Ok(again) => assert_eq!(again, *query, "{written}"),
        // Quotes, escapes and prefixes make it longer.
        Err(refusal) => assert!(written.len() > MAX_LENGTH, "{refusal}: {written}"),
    }
}

/// Other names and values in the place of those that were sent leave the text of the statement as it is.
fn reaches_the_database_as_parameters(query: &Query) {
    let [own, other] = [query.clone(), masked(query)].map(|query| statement(&selection(query)));
    assert_eq!(own.sql, other.sql);
}

/// What is selected in memory is found by the indexes, that of subscriptions and that of the database.
fn is_answered_alike(query: &Query) {
    let prepared = match Prepared::of(&selection(query.clone())) {
        Ok(prepared) => prepared,
        Err(refusal) => return assert!(query.links() > 0, "{refusal}"),
    };
    let mut index = Index::default();
    index.insert((), &prepared, &[]);
    // The terms of a condition; of several joined ones an entity need not have those of each.
    let wanted = match query {
        Query::Term(_) => statement(&selection(query.clone())).params,
        _ => Vec::new(),
    };
    for entity in &*ENTITIES {
        if !prepared.selects(&mut Subject::of(entity)) {
            continue;
        }
        let touched = entity.attributes.keys().map(String::as_str);
        assert_eq!(index.candidates(entity, touched).count(), 1, "{query:?}");
        let terms = of_attributes(TENANT.0, &entity.attributes);
        for param in &wanted {
            if let Param::Integers(wanted) = param {
                assert!(wanted.iter().any(|term| terms.contains(term)), "{query:?}");
            }
        }
    }
}

fn selection(query: Query) -> Selection {
    Selection {
        q: Some(query),
        ..Selection::default()
    }
}

fn terms(query: &Query) -> Vec<&Term> {
    match query {
        Query::And(parts) | Query::Or(parts) => parts.iter().flat_map(terms).collect(),
        Query::Term(term) => vec![term],
    }
}

fn written_or(query: &Query, context: &Context) -> String {
    match query {
        Query::Or(parts) => joined(parts, "|", |part| written_and(part, context)),
        other => written_and(other, context),
    }
}

fn written_and(query: &Query, context: &Context) -> String {
    match query {
        Query::And(parts) => joined(parts, ";", |part| written_unit(part, context)),
        other => written_unit(other, context),
    }
}

fn written_unit(query: &Query, context: &Context) -> String {
    match query {
        Query::Term(Term { path, test }) => written_path(path, context) + &written_test(test),
        several => format!("({})", written_or(several, context)),
    }
}

fn written_path(path: &Path, context: &Context) -> String {
    match path {
        Path::CreatedAt => "createdAt".to_owned(),
        Path::ModifiedAt => "modifiedAt".to_owned(),
        Path::Attribute { names, part } => {
            let names = joined(names, ".", |name| written_name(name, context));
            let part = match part {
                Part::Value => String::new(),
                Part::Member { sent, .. } => format!("[{}]", sent.join(".")),
                Part::AnyLanguage => "[*]".to_owned(),
                Part::System(system) => format!(".{}", written_system(*system)),
            };
            names + &part
        }
        Path::Linked {
            relationship,
            types,
            path,
        } => {
            let types = match types.as_slice() {
                [] => String::new(),
                types => joined(types, ",", |name| context.compact(name).into_owned()) + ":",
            };
            let relationship = written_name(relationship, context);
            format!("{relationship}{{{types}{}}}", written_path(path, context))
        }
    }
}

/// A name that has no dot and is no time of the broker's, or the whole IRI, which may have dots.
fn written_name(iri: &str, context: &Context) -> String {
    let of_ngsi_ld = iri
        .strip_prefix(NGSI_LD)
        .filter(|_| !iri.starts_with(DEFAULT_VOCABULARY));
    let short = match of_ngsi_ld {
        Some(rest) => format!("ngsi-ld:{rest}"),
        None => context.name(iri).into_owned(),
    };
    if !short.contains('.') && context.expand(&short) == iri && is_name(&short) {
        short
    } else {
        iri.to_owned()
    }
}

fn written_system(system: System) -> &'static str {
    match system {
        System::ObservedAt => "observedAt",
        System::CreatedAt => "createdAt",
        System::ModifiedAt => "modifiedAt",
        System::UnitCode => "unitCode",
        System::DatasetId => "datasetId",
    }
}

fn written_test(test: &Test) -> String {
    match test {
        Test::Exists => String::new(),
        Test::Equals { not, any_of } => {
            let operator = if *not { "!=" } else { "==" };
            let values = joined(any_of, ",", |operand| match operand {
                Operand::One(value) => written_value(value),
                Operand::Range(from, to) => format!("{}..{}", written_value(from), written_value(to)),
            });
            format!("{operator}{values}")
        }
        Test::Order(order, value) => {
            let operator = match order {
                Order::Less => "<",
                Order::LessOrEqual => "<=",
                Order::Greater => ">",
                Order::GreaterOrEqual => ">=",
            };
            format!("{operator}{}", written_value(value))
        }
        Test::Matches { not, pattern } => {
            let operator = if *not { "!~=" } else { "~=" };
            format!("{operator}{}", quoted(pattern.text()))
        }
    }
}

fn written_value(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Text(text) => quoted(text),
        Value::Number(text) | Value::DateTime(text) | Value::Date(text) | Value::Time(text) => text.clone(),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    write_string(&mut quoted, text);
    quoted
}

/// A query of the same shape with other names and values.
fn masked(query: &Query) -> Query {
    let all = |parts: &[Query]| parts.iter().map(masked).collect();
    match query {
        Query::And(parts) => Query::And(all(parts)),
        Query::Or(parts) => Query::Or(all(parts)),
        Query::Term(Term { path, test }) => Query::Term(Term {
            path: masked_path(path),
            test: masked_test(test),
        }),
    }
}

fn masked_path(path: &Path) -> Path {
    let name = || "urn:masked".to_owned();
    match path {
        Path::CreatedAt | Path::ModifiedAt => path.clone(),
        Path::Attribute { names, part } => Path::Attribute {
            names: names.iter().map(|_| name()).collect(),
            part: match part {
                Part::Member { .. } => Part::Member {
                    sent: vec![name()],
                    expanded: vec![name()],
                },
                other => other.clone(),
            },
        },
        Path::Linked { types, path, .. } => Path::Linked {
            relationship: name(),
            types: types.iter().map(|_| name()).collect(),
            path: Box::new(masked_path(path)),
        },
    }
}

fn masked_test(test: &Test) -> Test {
    match test {
        Test::Exists => Test::Exists,
        Test::Equals { not, any_of } => Test::Equals {
            not: *not,
            any_of: any_of
                .iter()
                .map(|operand| match operand {
                    Operand::One(value) => Operand::One(masked_value(value)),
                    Operand::Range(from, to) => Operand::Range(masked_value(from), masked_value(to)),
                })
                .collect(),
        },
        Test::Order(order, value) => Test::Order(*order, masked_value(value)),
        Test::Matches { not, .. } => Test::Matches {
            not: *not,
            pattern: Pattern::new("masked").expect("this is a pattern"),
        },
    }
}

fn masked_value(value: &Value) -> Value {
    match value {
        Value::Bool(value) => Value::Bool(!value),
        Value::Number(_) => Value::Number("1".to_owned()),
        Value::Text(_) => Value::Text("masked".to_owned()),
        Value::DateTime(_) => Value::DateTime("2000-01-01T00:00:00Z".to_owned()),
        Value::Date(_) => Value::Date("2000-01-01".to_owned()),
        Value::Time(_) => Value::Time("00:00:00".to_owned()),
    }
}
