use super::*;
use proptest::prelude::*;
use serde_json::Value as Json;

fn parsed<T>(text: &str, then: impl FnOnce(Value<'_>) -> T) -> Result<T, Malformed> {
    let mut scratch = Scratch::default();
    let tape = Tape::parse(text.as_bytes(), &mut scratch)?;
    Ok(then(tape.root()))
}

/// What a tape says, as JSON.
fn json(value: Value<'_>) -> Json {
    match value.kind() {
        Kind::Null => Json::Null,
        Kind::False => false.into(),
        Kind::True => true.into(),
        Kind::Number => serde_json::from_str(value.raw()).unwrap(),
        Kind::String | Kind::Escaped => value.text().unwrap().into_owned().into(),
        Kind::Array => value.items().map(json).collect(),
        Kind::Object => value
            .members()
            .map(|(name, value)| (name.text().unwrap().into_owned(), json(value)))
            .collect(),
    }
}

fn why(text: &str) -> Why {
    parsed(text, |_| ()).unwrap_err().why
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (text, expected) in [
        ("", Why::Ends),
        ("  ", Why::Ends),
        ("{", Why::Ends),
        ("[1,", Why::Ends),
        (r#"{"a""#, Why::Ends),
        (r#""abc"#, Why::Ends),
        ("[1,]", Why::Unexpected),
        (r#"{"a":1,}"#, Why::Unexpected),
        (r"{a:1}", Why::Unexpected),
        (r#"{"a" 1}"#, Why::Unexpected),
        ("[1}", Why::Unexpected),
        (r#"{"a":1]"#, Why::Unexpected),
        ("nul", Why::Unexpected),
        ("truely", Why::Trailing),
        ("1 2", Why::Trailing),
        ("[] []", Why::Trailing),
        ("01", Why::Number),
        ("-", Why::Number),
        ("1.", Why::Number),
        (".5", Why::Unexpected),
        ("1e", Why::Number),
        ("+1", Why::Unexpected),
        ("NaN", Why::Unexpected),
        ("\"a\nb\"", Why::Unexpected),
        ("\"long enough for a chunk \u{1} of eight\"", Why::Unexpected),
        (r#""\x""#, Why::Escape),
        (r#""\u12g4""#, Why::Escape),
        (r#""\ud800""#, Why::Escape),
        (r#""\ud800\u0041""#, Why::Escape),
        (r#""\udc00""#, Why::Escape),
        (r#"{"a":1,"b":2,"a":3}"#, Why::Twice),
        (r#"{"a":1,"\u0061":3}"#, Why::Twice),
        (r#"[{"x":{"a":1,"a":1}}]"#, Why::Twice),
    ] {
        assert_eq!(why(text), expected, "{text}");
    }
    assert_eq!(parsed("[1, x]", |_| ()).unwrap_err().at, 4);
    assert_eq!(
        Tape::parse(b"\"\xff\"", &mut Scratch::default()).unwrap_err().why,
        Why::NotUtf8
    );
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parsed(&nested(MAX_DEPTH), |_| ()).is_ok());
    assert_eq!(why(&nested(MAX_DEPTH + 1)), Why::TooDeep);
    assert_eq!(why(&"[".repeat(1_000_000)), Why::TooDeep);
}

#[test]
fn a_name_that_is_there_twice_is_found_among_many() {
    let object = |names: &mut dyn Iterator<Item = usize>| {
        let members: Vec<String> = names.map(|n| format!("\"attribute{n}\":{n}")).collect();
        format!("{{{}}}", members.join(","))
    };
    for count in [2, 7, 60, 64, 65, 5000] {
        assert!(parsed(&object(&mut (0..count)), |_| ()).is_ok(), "{count}");
        for twice in [0, count / 2, count - 1] {
            assert_eq!(
                why(&object(&mut (0..count).chain([twice]))),
                Why::Twice,
                "{count} {twice}"
            );
        }
    }
}

#[test]
fn values_are_equal_by_what_they_mean() {
    for (one, other, expected) in [
        ("1", "1.0", true),
        (r#""a""#, r#""\u0061""#, true),
        (r#"{"a":1,"b":[2]}"#, r#"{"b":[2.0],"a":1}"#, true),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
        ("[1,2]", "[2,1]", false),
        ("[]", "{}", false),
        ("null", "false", false),
        ("0", "false", false),
        (r#""1""#, "1", false),
    ] {
        let (mut a, mut b) = (Scratch::default(), Scratch::default());
        let (a, b) = (
            Tape::parse(one.as_bytes(), &mut a).unwrap().root(),
            Tape::parse(other.as_bytes(), &mut b).unwrap().root(),
        );
        assert_eq!(
            (a.equals(&b), b.equals(&a)),
            (expected, expected),
            "{one} {other}"
        );
        let hashes = std::hash::RandomState::new();
        assert_eq!(
            a.hash_with(&hashes) == b.hash_with(&hashes),
            expected,
            "{one} {other}"
        );
    }
}

/// Texts that are JSON, nearly: of pieces that make it, and end it.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "\"\\u0061\"",
        "\"\\n\"",
        "\"é😀\"",
        "1",
        "-0.5e3",
        "0",
        "true",
        "null",
        " ",
        "\n",
        "\"",
        "\\",
        "\"\\ud83d\\ude00\"",
        "e",
        ".",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<i32>().prop_map(|n| Json::from(f64::from(n) / 8.0)),
        ".{0,20}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::from),
            prop::collection::hash_map(".{0,12}", inner, 0..8).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_json_is_read_as_it_is(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert_eq!(parsed(&text, json).unwrap(), value.clone());
        }
    }

    /// An independent parser says the same, but for names that are there twice, which that one lets pass.
    #[test]
    fn any_text_is_read_or_refused_as_another_parser_does(text in nearly_json()) {
        let theirs = serde_json::from_str::<Json>(&text);
        match parsed(&text, json) {
            Ok(ours) => prop_assert_eq!(ours, theirs.unwrap()),
            Err(Malformed { why: Why::Twice, .. }) => prop_assert!(theirs.is_ok()),
            Err(_) => prop_assert!(theirs.is_err(), "{}", text),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let ours = Tape::parse(&bytes, &mut Scratch::default()).is_ok();
        let theirs = serde_json::from_slice::<Json>(&bytes).is_ok();
        prop_assert!(theirs || !ours);
    }
}
