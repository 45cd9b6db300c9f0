use super::*;
use proptest::prelude::*;

fn query(text: &str) -> Result<Query, Refusal> {
    parse(text, &Context::core())
}

fn term(text: &str) -> Term {
    match query(text).unwrap() {
        Query::Term(term) => term,
        other => panic!("{other:?}"),
    }
}

fn iri(name: &str) -> String {
    format!("https://uri.etsi.org/ngsi-ld/default-context/{name}")
}

#[test]
fn and_binds_tighter_than_or() {
    let Query::Or(parts) = query("a;b|c").unwrap() else {
        panic!()
    };
    assert!(matches!(parts.as_slice(), [Query::And(_), Query::Term(_)]));
    let Query::And(parts) = query("a;(b|c)").unwrap() else {
        panic!()
    };
    assert!(matches!(parts.as_slice(), [Query::Term(_), Query::Or(_)]));
}

#[test]
fn values_have_types() {
    let one = |text: &str| match term(text).test {
        Test::Equals { mut any_of, .. } => any_of.pop().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(one("a==5.0"), Operand::One(Value::Number("5.0".into())));
    assert_eq!(one("a==true"), Operand::One(Value::Bool(true)));
    assert_eq!(one("a==\"true\""), Operand::One(Value::Text("true".into())));
    assert_eq!(
        one("a==urn:ngsi-ld:X:1"),
        Operand::One(Value::Text("urn:ngsi-ld:X:1".into()))
    );
    assert_eq!(
        one("a==2024-01-01T00:00:00Z"),
        Operand::One(Value::DateTime("2024-01-01T00:00:00Z".into()))
    );
    assert_eq!(
        one("a==2024-01-01"),
        Operand::One(Value::DateOrTime("2024-01-01".into()))
    );
    assert_eq!(
        one("a==1..2"),
        Operand::Range(Value::Number("1".into()), Value::Number("2".into()))
    );
    assert_eq!(
        one("a==\"x;|)\\\"y\""),
        Operand::One(Value::Text("x;|)\"y".into()))
    );
}

#[test]
fn lists_and_ranges_mix() {
    let Test::Equals { not: true, any_of } = term("a!=1,3..4,\"x\"").test else {
        panic!()
    };
    assert_eq!(any_of.len(), 3);
}

#[test]
fn paths_lead_to_attributes_members_and_system_attributes() {
    assert_eq!(
        term("a.b[c.d]>1").path,
        Path::Attribute {
            names: vec![iri("a"), iri("b")],
            part: Part::Member {
                sent: vec!["c".into(), "d".into()],
                expanded: vec![iri("c"), iri("d")]
            }
        }
    );
    assert_eq!(
        term("a.observedAt>2024-01-01T00:00:00Z").path,
        Path::Attribute {
            names: vec![iri("a")],
            part: Part::System(System::ObservedAt)
        }
    );
    assert_eq!(term("modifiedAt>2024-01-01T00:00:00Z").path, Path::ModifiedAt);
    assert_eq!(
        term("a[*]==\"x\"").path,
        Path::Attribute {
            names: vec![iri("a")],
            part: Part::AnyLanguage
        }
    );
    assert_eq!(
        term("https://schema.org/a.b").path,
        Path::Attribute {
            names: vec!["https://schema.org/a.b".into()],
            part: Part::Value
        }
    );
}

#[test]
fn malformed_queries_are_refused() {
    for bad in [
        "",
        ";",
        "a;",
        "a|",
        "(a",
        "a)",
        "()",
        "a==",
        "a=5",
        "a==b",
        "a===5",
        "a==\"x",
        "a[",
        "a[]",
        "a[b",
        "a..b",
        ".a",
        "1a",
        "a b",
        "a==5 or 1=1",
        "a;--",
        "a';--",
        "a==\"x\"';--",
        "a~=[",
        "a~=",
        "a~=\"(?i)x\"",
        "a>1..2",
        "a==1e100000",
        "a==\"\\u0000\"",
    ] {
        assert!(query(bad).is_err(), "{bad}");
    }
    assert!(query(&"(".repeat(10_000)).is_err());
    assert!(query(&"a;".repeat(5_000)).is_err());
    assert!(query(&vec!["a"; 101].join(";")).is_err());
}

proptest! {
    #[test]
    fn row_broker_parsing_a_query_never_panics(text in "[ab.;|()\\[\\]=!<>~\"\\\\0-9,*:' -]{0,40}") {
        let _ = query(&text);
    }

    #[test]
    fn any_text_in_quotes_is_one_value(text in "[^\u{0}]{0,30}") {
        let mut quoted = String::new();
        crate::model::json::write_string(&mut quoted, &text);
        let Test::Equals { any_of, .. } = term(&format!("a=={quoted}")).test else { panic!() };
        prop_assert_eq!(any_of, vec![Operand::One(Value::Text(text))]);
    }
}
