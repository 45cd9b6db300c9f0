use super::*;
use crate::context::Context;
use crate::query::geo::{self, GeoQuery};
use crate::query::pattern::Pattern;
use crate::query::{EntitySelector, q, scope, types};
use crate::store::TenantId;
use proptest::prelude::*;

const CLOCKS: [Clock; 5] = [
    Clock::Any,
    Clock::Observed,
    Clock::Created,
    Clock::Modified,
    Clock::Deleted,
];

fn hours(from: i64, until: i64) -> Interval {
    let hour = |n: i64| Timestamp::from_second(n * 3600).unwrap();
    Interval {
        from: Some(hour(from)),
        until: Some(hour(until)),
    }
}

fn wanted(clock: Clock, last: Option<usize>, name: &str) -> Wanted {
    Wanted {
        query: TemporalQuery {
            clock,
            interval: hours(1, 2),
            last,
        },
        attrs: Some(vec![name.to_owned()]),
        without: vec![name.to_owned()],
        datasets: Some((true, vec![name.to_owned()])),
        limit: 123_456_789,
    }
}

fn selection(name: &str, q: &str) -> Selection {
    let context = Context::core();
    let geo = geo::parse(
        Some("within"),
        Some("Point"),
        Some("[8.123456,40.5]"),
        None,
        &context,
    )
    .unwrap();
    Selection {
        entities: vec![EntitySelector {
            types: Some(types::parse("T", &context).unwrap()),
            ids: vec![name.to_owned()],
            id_pattern: Some(Pattern::new("^urn").unwrap()),
        }],
        attrs: vec![name.to_owned()],
        q: Some(q::parse(q, &context).unwrap()),
        geo: Some(GeoQuery {
            property: name.to_owned(),
            ..geo.unwrap()
        }),
        scope: Some(scope::parse("/a/+,/b/#").unwrap()),
    }
}

/// Every statement there is about the past.
fn statements(name: &str, q: &str) -> Vec<Statement> {
    let selection = selection(name, q);
    let some = Which::Some {
        selection: &selection,
        limit: 234_567_891,
        offset: 345_678_912,
        descending: true,
    };
    let mut all = vec![exists(Reach::all(TenantId(1)), name, Some(&[name.to_owned()]))];
    for clock in CLOCKS {
        for last in [None, Some(456_789_123)] {
            let wanted = wanted(clock, last, name);
            all.push(count(Reach::all(TenantId(1)), &selection, &wanted));
            for rows in [Rows::Instances(Sizes::Small), Rows::Values, Rows::Kinds] {
                all.push(evolution(
                    Reach::all(TenantId(1)),
                    Which::One(name),
                    &wanted,
                    rows,
                ));
                all.push(evolution(Reach::all(TenantId(1)), some, &wanted, rows));
            }
        }
    }
    all
}

#[test]
fn what_a_client_sends_is_in_the_parameters_only() {
    const HOSTILE: &str = "Robert'); drop table x;--";
    for statement in statements(HOSTILE, "name==\"Robert'); drop table x;--\"") {
        assert!(
            !statement.sql.contains("Robert") && !statement.sql.contains("drop"),
            "{}",
            statement.sql
        );
        let bound = |param: &Param| match param {
            Param::Text(text) => text == HOSTILE,
            Param::Texts(texts) => texts.iter().any(|text| text == HOSTILE),
            _ => false,
        };
        assert!(statement.params.iter().any(bound), "{:?}", statement.params);
    }
}

#[test]
fn numbers_are_parameters_so_that_pages_share_a_statement() {
    for statement in statements("urn:x:1", "n>567891234") {
        for number in [
            "123456789",
            "234567891",
            "345678912",
            "456789123",
            "567891234",
            "123456790",
        ] {
            assert!(!statement.sql.contains(number), "{number} in {}", statement.sql);
        }
    }
}

#[test]
fn every_parameter_is_used_and_every_one_used_is_there() {
    for Statement { sql, params } in statements("urn:x:1", "a.b[c]==1..2;d~=\"x\"|e") {
        let used: std::collections::BTreeSet<usize> = sql
            .split('$')
            .skip(1)
            .map(|after| {
                let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().unwrap()
            })
            .collect();
        let there: std::collections::BTreeSet<usize> = (1..=params.len()).collect();
        assert_eq!(used, there, "{sql}");
    }
}

#[test]
fn every_read_of_the_past_is_of_one_tenant_and_of_one_entity() {
    for Statement { sql, .. } in statements("urn:x:1", "n>5") {
        for (table, entity) in [("mim.history h", "h.entity ="), ("mim.history d", "d.entity =")] {
            for read in sql.split(table).skip(1) {
                let tenant = format!(" where {}.tenant = $1 and {entity}", &entity[..1]);
                assert!(read.starts_with(&tenant), "{read}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_text_is_made_of_constants(a in "[a-z]{9,12}", s in "[^\u{0}]{9,20}", n in 100_000_000u32..) {
        let mut quoted = String::new();
        crate::model::json::write_string(&mut quoted, &s);
        let q = format!("{a}.{a}[{a}]=={quoted},{n}..{n};{a}>={quoted}|{a}[*]!={n}");
        for statement in statements(&s, &q) {
            let sql = &statement.sql;
            prop_assert!(!sql.contains(&a) && !sql.contains(&s) && !sql.contains(&n.to_string()), "{}", sql);
        }
    }
}
