use super::*;
use crate::model::temporal::period::Period;
use proptest::prelude::*;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_600_000_000 + minutes * 60).unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn aggregate(period: &str, values: &[(i64, Kind, &str)]) -> Aggregate {
    let aggregation = Aggregation {
        methods: Method::ALL.to_vec(),
        period: Period::parse(period).unwrap(),
    };
    let mut aggregate = Aggregate::new(&aggregation, at(0), None);
    for (minutes, kind, value) in values {
        aggregate.add(at(*minutes), *kind, &json(value));
    }
    aggregate
}

/// The results of a method, as text.
fn results(aggregate: &Aggregate, method: Method) -> Vec<String> {
    let mut all = aggregate.results();
    let (_, results) = all.find(|(m, _)| *m == method).unwrap();
    results.into_iter().map(|(value, ..)| value.to_text()).collect()
}

fn properties(values: &[&'static str]) -> Aggregate {
    let values: Vec<_> = values
        .iter()
        .zip(0..)
        .map(|(v, n)| (n, Kind::Property, *v))
        .collect();
    aggregate("PT0S", &values)
}

#[test]
fn numbers_and_truth_values_take_every_method() {
    let numbers = properties(&["2", "4", "4.0", "4", "5", "5", "7", "9", "true"]);
    for (method, expected) in [
        (Method::TotalCount, "9"),
        (Method::DistinctCount, "6"),
        (Method::Sum, "41"),
        (Method::Min, "1"),
        (Method::Max, "9"),
        (Method::Sumsq, "233"),
    ] {
        assert_eq!(results(&numbers, method), [expected], "{method:?}");
    }
    assert_eq!(numbers.unsuited(), None);
    let known = properties(&["2", "4", "4", "4", "5", "5", "7", "9"]);
    assert_eq!(results(&known, Method::Stddev), ["2"]);
    assert_eq!(results(&known, Method::Avg), ["5"]);
    assert_eq!(results(&properties(&["7"]), Method::Stddev), ["0"]);
}

#[test]
fn extremes_are_as_they_were_sent() {
    let large = properties(&["9007199254740993", "5.0", "9007199254740995"]);
    assert_eq!(
        results(&large, Method::Max),
        ["9007199254740993"].map(|_| "9007199254740995")
    );
    assert_eq!(results(&large, Method::Min), ["5.0"]);
}

#[test]
fn methods_apply_by_the_type_of_the_values() {
    let suited = |aggregate: &Aggregate| -> Vec<&str> {
        let suits = Method::ALL.iter().filter(|m| aggregate.suited.contains(m));
        suits.map(|m| m.name()).collect()
    };
    let counts = ["totalCount", "distinctCount"];
    let ordered = ["totalCount", "distinctCount", "min", "max"];
    let text = properties(&["\"b\"", "\"a\""]);
    assert_eq!(suited(&text), ordered);
    assert_eq!(
        (results(&text, Method::Min), results(&text, Method::Max)),
        (vec!["\"a\"".into()], vec!["\"b\"".into()])
    );
    let array = properties(&["[1,2,3]", "[]"]);
    assert_eq!(
        suited(&array),
        ["totalCount", "distinctCount", "sum", "avg", "min", "max"]
    );
    assert_eq!(
        (results(&array, Method::Avg), results(&array, Method::Sum)),
        (vec!["1.5".into()], vec!["3".into()])
    );
    assert_eq!(results(&array, Method::Stddev), [""; 0]);
    assert_eq!(suited(&properties(&[r#"{"a":1}"#])), counts);
    assert_eq!(
        suited(&properties(&[r#"{"@type":"URI","@value":"urn:a"}"#])),
        counts
    );
    for typed in [
        r#"{"@type":"DateTime","@value":"2024-01-01T00:00:00Z"}"#,
        r#"{"@type":"https://uri.etsi.org/ngsi-ld/Date","@value":"2024-01-01"}"#,
    ] {
        assert_eq!(suited(&properties(&[typed])), ordered, "{typed}");
    }
    let time = properties(&[
        r#"{"@type":"Time","@value":"08:00:00Z"}"#,
        r#"{"@type":"Time","@value":"09:00:01Z"}"#,
    ]);
    assert_eq!(
        suited(&time),
        ["totalCount", "distinctCount", "avg", "min", "max"]
    );
    assert_eq!(results(&time, Method::Avg), ["\"08:30:00.5Z\""]);
    for (kind, value) in [
        (Kind::Relationship, "\"urn:a\""),
        (Kind::ListRelationship, "[\"urn:a\"]"),
        (Kind::GeoProperty, r#"{"type":"Point","coordinates":[1,2]}"#),
        (Kind::LanguageProperty, r#"{"en":"a"}"#),
        (Kind::VocabProperty, "\"a\""),
        (Kind::JsonProperty, "[1]"),
    ] {
        assert_eq!(
            suited(&aggregate("PT0S", &[(0, kind, value)])),
            counts,
            "{kind:?}"
        );
    }
    assert_eq!(
        suited(&aggregate("PT0S", &[(0, Kind::ListProperty, "[1,2]")])).len(),
        6
    );
}

#[test]
fn an_attribute_is_not_eligible_where_a_method_applies_to_none_of_its_values() {
    assert_eq!(properties(&["\"a\""]).unsuited(), Some(Method::Sum));
    assert_eq!(properties(&["\"a\"", "1"]).unsuited(), None);
    assert_eq!(properties(&[]).unsuited(), None);
    assert_eq!(results(&properties(&["\"a\"", "1", "3"]), Method::Avg), ["2"]);
}

#[test]
fn periods_without_values_are_left_out_and_others_have_their_bounds() {
    let values = [
        (3, Kind::Property, "67"),
        (65, Kind::Property, "53"),
        (250, Kind::Property, "40"),
    ];
    let hours = aggregate("PT1H", &values);
    let (_, averages) = hours.results().find(|(m, _)| *m == Method::Avg).unwrap();
    let bounds: Vec<_> = averages
        .iter()
        .map(|(v, from, to)| (v.to_text(), *from, *to))
        .collect();
    assert_eq!(
        bounds,
        [
            ("67".to_owned(), at(0), at(60)),
            ("53".to_owned(), at(60), at(120)),
            ("40".to_owned(), at(240), at(300)),
        ]
    );
    let whole = aggregate("PT0S", &values);
    let (_, averages) = whole.results().next().unwrap();
    assert_eq!((averages[0].1, averages[0].2), (at(0), at(250)));
}

#[test]
fn values_may_come_in_any_order_and_the_weight_grows_with_what_is_kept() {
    let mut values = vec![
        (200, Kind::Property, "1"),
        (10, Kind::Property, "2"),
        (-70, Kind::Property, "3"),
    ];
    let one = aggregate("PT1H", &values);
    values.reverse();
    let other = aggregate("PT1H", &values);
    assert_eq!(results(&one, Method::Sum), results(&other, Method::Sum));
    assert_eq!(results(&one, Method::Sum), ["3", "2", "1"]);
    assert!(one.weight() >= 3 * 512);
}

proptest! {
    #[test]
    fn results_agree_with_the_plain_formulas(numbers in proptest::collection::vec(-1000..1000_i32, 1..50)) {
        let texts: Vec<String> = numbers.iter().map(i32::to_string).collect();
        let values: Vec<_> = texts.iter().zip(0..).map(|(t, n)| (n, Kind::Property, t.as_str())).collect();
        let aggregate = aggregate("PT0S", &values);
        let number = |method| results(&aggregate, method)[0].parse::<f64>().unwrap();
        let count = f64::from(u32::try_from(numbers.len()).unwrap());
        let mean = numbers.iter().copied().map(f64::from).sum::<f64>() / count;
        let squares = numbers.iter().map(|n| f64::from(*n).powi(2)).sum::<f64>();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        prop_assert!(near(number(Method::Avg), mean));
        prop_assert!(near(number(Method::Sumsq), squares));
        prop_assert!(near(number(Method::Stddev), (squares / count - mean * mean).max(0.0).sqrt()));
        prop_assert!(near(number(Method::Max), f64::from(*numbers.iter().max().unwrap())));
        let different: BTreeSet<_> = numbers.iter().collect();
        prop_assert!(near(number(Method::DistinctCount), f64::from(u32::try_from(different.len()).unwrap())));
    }
}
