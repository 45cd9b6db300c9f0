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
        Operand::One(Value::Date("2024-01-01".into()))
    );
    assert_eq!(
        one("a==12:00:00.5Z"),
        Operand::One(Value::Time("12:00:00.5Z".into()))
    );
    assert_eq!(
        one("a==\"2024-01-01T00:00:00Z\""),
        Operand::One(Value::DateTime("2024-01-01T00:00:00Z".into()))
    );
    assert_eq!(
        one("a==\"2024-01-01\""),
        Operand::One(Value::Text("2024-01-01".into()))
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
fn a_comma_may_be_of_a_list_or_of_a_fraction_of_a_second() {
    let values = |text: &str| match term(text).test {
        Test::Equals { any_of, .. } => any_of.len(),
        other => panic!("{other:?}"),
    };
    for (text, expected) in [
        ("a==2024-01-01T00:00:00,5Z", 1),
        ("a==2024-01-01T00:00:00,5Z,2024-01-01T00:00:01Z,7", 3),
        ("a==12:00:00,5Z..12:00:01Z", 1),
        ("a==1..2024-01-01T00:00:00,5Z,3", 2),
        ("a==12:00:00,5", 2),
        ("a==2024-01-01T00:00:00Z,5", 2),
    ] {
        assert_eq!(values(text), expected, "{text}");
    }
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
fn braces_lead_to_linked_entities() {
    let linked = |relationship: &str, types: &[&str], path: Path| Path::Linked {
        relationship: iri(relationship),
        types: types.iter().map(|name| iri(name)).collect(),
        path: Box::new(path),
    };
    let attribute = |name: &str| Path::Attribute {
        names: vec![iri(name)],
        part: Part::Value,
    };
    assert_eq!(term("r{a}").path, linked("r", &[], attribute("a")));
    assert_eq!(term("r{T:a}==5").path, linked("r", &["T"], attribute("a")));
    assert_eq!(term("r{T,U:a}>5").path, linked("r", &["T", "U"], attribute("a")));
    assert_eq!(
        term("r{T:s{U:a}}").path,
        linked("r", &["T"], linked("s", &["U"], attribute("a")))
    );
    assert_eq!(term("r{createdAt}").path, linked("r", &[], Path::CreatedAt));
    assert_eq!(query("a==1|(b;r{s{a}})").unwrap().links(), 2);
    // A colon follows a prefix as well.
    let ngsi = |name: &str| format!("https://uri.etsi.org/ngsi-ld/{name}");
    let Path::Linked { types, path, .. } = term("r{ngsi-ld:T}").path else {
        panic!()
    };
    assert!(types.is_empty());
    assert_eq!(
        *path,
        Path::Attribute {
            names: vec![ngsi("T")],
            part: Part::Value
        }
    );
    let Path::Linked { types, path, .. } = term("r{T,geojson:U:a[b]}").path else {
        panic!()
    };
    assert_eq!(types, [iri("T"), "https://purl.org/geojson/vocab#U".to_owned()]);
    assert!(matches!(
        *path,
        Path::Attribute {
            part: Part::Member { .. },
            ..
        }
    ));
    let Path::Linked { types, path, .. } = term("r{https://schema.org/a}").path else {
        panic!()
    };
    assert!(types.is_empty());
    assert_eq!(
        *path,
        Path::Attribute {
            names: vec!["https://schema.org/a".to_owned()],
            part: Part::Value
        }
    );
    let deep = format!("{}a{}", "r{".repeat(11), "}".repeat(11));
    for bad in [
        "r{", "r{}", "r{a", "r}", "r{a}}", "r{{a}}", "r{a}.b", "r{a}[b]", "r.s{a}", "{a}", "r{T:}", "r{:a}",
        "r{,T:a}", "r{T,:a}", "r{a,b}", "r{a;b}", "r{a==5}", "r{a|b}", "r{1:a}", &deep,
    ] {
        assert!(query(bad).is_err(), "{bad}");
    }
}

#[test]
fn values_are_names_and_members_are_json_where_the_client_says_so() {
    let context = Context::core();
    let reading = Reading::of(&context, Some(&["a", "r"]), Some(&["j"])).unwrap();
    let values = |text: &str| match parse_as(text, &reading).unwrap() {
        Query::Term(Term {
            test: Test::Equals { any_of, .. },
            ..
        }) => any_of,
        other => panic!("{other:?}"),
    };
    let text = |text: String| Operand::One(Value::Text(text));
    assert_eq!(values("a==Male"), [text(iri("Male"))]);
    assert_eq!(
        values("a==\"Male\",Female"),
        [text(iri("Male")), text(iri("Female"))]
    );
    assert_eq!(
        values("s{a}==Male"),
        [text(iri("Male"))],
        "also of linked entities"
    );
    assert_eq!(
        values("a==https://schema.org/x"),
        [text("https://schema.org/x".into())]
    );
    assert_eq!(values("b==\"Male\""), [text("Male".into())]);
    assert!(parse_as("b==Male", &reading).is_err());
    let Query::Term(Term {
        path: Path::Attribute { part, .. },
        ..
    }) = parse_as("j[k.l]", &reading).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        part,
        Part::Member {
            sent: vec!["k".into(), "l".into()],
            expanded: vec!["k".into(), "l".into()]
        }
    );
    for bad in [vec!["a-b"], vec![""], vec!["a"; 501]] {
        assert!(
            Reading::of(&context, Some(&bad), None).is_err()
                && Reading::of(&context, None, Some(&bad)).is_err()
        );
    }
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
    let of_types = |count: usize| format!("r{{{}:a}}", vec!["T"; count].join(","));
    assert!(query(&of_types(500)).is_ok() && query(&of_types(501)).is_err());
}

proptest! {
    #[test]
    fn any_text_in_quotes_is_one_value(text in "[^\u{0}]{0,30}") {
        let mut quoted = String::new();
        crate::model::json::write_string(&mut quoted, &text);
        let Test::Equals { any_of, .. } = term(&format!("a=={quoted}")).test else { panic!() };
        prop_assert_eq!(any_of, vec![Operand::One(Value::Text(text))]);
    }
}
