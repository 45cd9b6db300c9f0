use super::*;
use proptest::prelude::*;

fn text(source: &str) -> Result<String, Malformed> {
    Json::parse(source.as_bytes()).map(|v| v.to_text())
}

#[test]
fn numbers_come_back_as_they_were_sent() {
    for source in [
        "5",
        "5.0",
        "-0",
        "1.50",
        "1e3",
        "123456789012345678901234567890",
        "0.1",
    ] {
        assert_eq!(text(source).unwrap(), source);
    }
}

#[test]
fn numbers_that_no_double_holds_are_refused() {
    for source in ["1e100000", "-1e400", "1e-100000", &"9".repeat(401)] {
        assert!(matches!(text(source), Err(Malformed::Refused { .. })), "{source}");
    }
    assert_eq!(text("0e99999").unwrap(), "0");
}

#[test]
fn numbers_that_become_long_when_they_are_written_out_are_refused() {
    let long = format!("1.{}e-300", "1".repeat(389));
    assert!(matches!(text(&long), Err(Malformed::Refused { .. })));
    for (number, digits) in [
        ("5", 1),
        ("1e300", 301),
        ("1.5E+2", 3),
        ("12.5e-1", 3),
        ("5e-324", 324),
        ("2.2250738585072014e-308", 324),
    ] {
        assert_eq!(digits_written_out(number), digits, "{number}");
    }
    let stored = format!("[{}]", "1.5,".repeat(600_000) + "0." + &"7".repeat(700));
    assert!(matches!(
        Json::parse(stored.as_bytes()),
        Err(Malformed::Refused { .. })
    ));
    assert_eq!(Json::parse_stored(&stored).unwrap().to_text(), stored);
}

#[test]
fn what_is_not_json_is_a_syntax_error() {
    for source in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "01",
        "1.",
        "+1",
        ".5",
        "tru",
        "\"a",
        "\"\\x\"",
        "[1] 2",
        "nul",
        "{a:1}",
        "'a'",
    ] {
        assert!(matches!(text(source), Err(Malformed::Syntax { .. })), "{source}");
    }
    assert!(matches!(Json::parse(b"\"\xff\""), Err(Malformed::Syntax { .. })));
}

#[test]
fn what_cannot_be_stored_is_refused() {
    for source in [
        r#""\u0000""#,
        r#""\ud800""#,
        r#""\ud800\u0041""#,
        r#""\udc00""#,
        r#"{"a":1,"a":2}"#,
    ] {
        assert!(matches!(text(source), Err(Malformed::Refused { .. })), "{source}");
    }
    let many = (0..20)
        .map(|n| format!("\"k{}\":0", n % 19))
        .collect::<Vec<_>>()
        .join(",");
    assert!(matches!(
        text(&format!("{{{many}}}")),
        Err(Malformed::Refused { .. })
    ));
}

#[test]
fn nesting_is_refused_before_it_can_exhaust_the_stack() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(text(&deep(MAX_DEPTH)).is_ok());
    assert!(matches!(
        text(&deep(MAX_DEPTH + 1)),
        Err(Malformed::Refused { .. })
    ));
    assert!(matches!(
        text(&"[".repeat(1_000_000)),
        Err(Malformed::Refused { .. })
    ));
    assert!(matches!(
        text(&"{\"a\":".repeat(1_000_000)),
        Err(Malformed::Refused { .. })
    ));
}

#[test]
fn documents_of_very_many_small_values_are_refused() {
    let list = |n: usize, item: &str| format!("[{}]", vec![item; n].join(","));
    assert!(text(&list(19_000, "0")).is_ok());
    assert!(matches!(
        text(&list(200_000, "0")),
        Err(Malformed::Refused { .. })
    ));
    assert!(text(&list(200_000, "0.12345")).is_ok());
    assert!(matches!(
        text(&list(600_000, "\"0.12345\"")),
        Err(Malformed::Refused { .. })
    ));
}

#[test]
fn surrogate_pairs_and_control_characters_survive() {
    assert_eq!(
        Json::parse(br#""\ud83d\ude00""#).unwrap(),
        Json::string("\u{1f600}")
    );
    assert_eq!(text("\"\\u0001\\b\"").unwrap(), "\"\\u0001\\u0008\"");
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(|n| Json::Number(n.to_string().into())),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite() && *n != 0.0)
            .prop_map(Json::number),
        "[^\u{0}]*".prop_map(Json::String),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::btree_map("[a-z\"\\\\é]{0,4}", inner, 0..12)
                .prop_map(|m| Json::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn row_broker_any_text_is_parsed_or_refused_never_a_panic(source in "\\PC*") {
        let _ = Json::parse(source.as_bytes());
    }

    #[test]
    fn row_broker_any_bytes_are_parsed_or_refused_never_a_panic(source in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Json::parse(&source);
    }

    #[test]
    fn near_json_is_parsed_as_another_parser_does(source in "[\\[\\]{}\",:0-9a-e\\\\.+-truefalsn \t]{0,40}") {
        let ours = Json::parse(source.as_bytes());
        let theirs = serde_json::from_str::<serde_json::Value>(&source);
        match ours {
            Ok(_) => prop_assert!(theirs.is_ok(), "{source}"),
            Err(Malformed::Syntax { .. }) => prop_assert!(theirs.is_err(), "{source}"),
            Err(Malformed::Refused { .. }) => {}
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same(value in any_json()) {
        let written = value.to_text();
        prop_assert_eq!(Json::parse(written.as_bytes()).unwrap(), value);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok());
    }
}
