use super::*;
use crate::context::Context;
use crate::model::stored;
use crate::model::view::Shape;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_600_000_000 + second).unwrap()
}

fn name(term: &str) -> String {
    format!("https://uri.etsi.org/ngsi-ld/default-context/{term}")
}

fn past(attr: &str, second: i64, body: &str) -> PastInstance {
    let mut instance = stored::read(&format!("{{\"urn:a\":[{body}]}}")).unwrap()["urn:a"][0].clone();
    instance.observed_at = Some(at(second).to_string());
    PastInstance {
        entity: 1,
        attr: if attr.contains(':') {
            attr.to_owned()
        } else {
            name(attr)
        },
        id: format!("urn:ngsi-ld:instance:{second}"),
        instance,
        is_deletion: false,
        created: at(1000 + second),
        modified: at(2000 + second),
        key: at(second),
    }
}

fn number(attr: &str, second: i64) -> PastInstance {
    past(
        attr,
        second,
        &format!("{{\"type\":\"Property\",\"value\":{second}}}"),
    )
}

fn entity() -> PastEntity {
    PastEntity {
        id: "urn:x:1".to_owned(),
        types: vec![name("T")],
        created: at(0),
        modified: at(1),
    }
}

struct Given<'g> {
    shape: &'g Shape,
    form: Form,
    clock: Clock,
    backwards: bool,
}

fn shown(
    given: &Given<'_>,
    instances: &[PastInstance],
    next: Option<i64>,
) -> (serde_json::Value, Option<Span>) {
    let context = Context::core();
    let view = View::new(&context, given.shape, false);
    let mut evolution = Evolution::new(view, given.form, given.clock, given.backwards);
    for instance in instances {
        evolution.add(instance);
    }
    if let Some(next) = next {
        evolution.cut(at(next));
    }
    let span = evolution.span();
    let mut out = String::new();
    evolution.finish(&mut out, &[(1, entity())], &[given.shape.shown()]);
    (serde_json::from_str(&out).unwrap(), span)
}

fn plain(form: Form, instances: &[PastInstance]) -> serde_json::Value {
    let given = Given {
        shape: &Shape::default(),
        form,
        clock: Clock::Observed,
        backwards: false,
    };
    shown(&given, instances, None).0
}

#[test]
fn instances_stand_in_arrays_with_their_ids_and_datasets_beside_each_other() {
    let other = past(
        "n",
        7,
        r#"{"type":"Property","value":7,"datasetId":"urn:d:1","unitCode":"C"}"#,
    );
    let json = plain(Form::Instances, &[number("n", 5), other]);
    let expected = serde_json::json!({"id": "urn:x:1", "type": "T", "n": [
        {"type": "Property", "value": 5, "observedAt": "2020-09-13T12:26:45Z", "instanceId": "urn:ngsi-ld:instance:5"},
        {"type": "Property", "value": 7, "unitCode": "C", "observedAt": "2020-09-13T12:26:47Z", "datasetId": "urn:d:1", "instanceId": "urn:ngsi-ld:instance:7"},
    ]});
    assert_eq!(json, expected);
}

#[test]
fn values_stand_by_kind_and_dataset_each_with_its_time() {
    for (body, member, value) in [
        (r#"{"type":"Property","value":5}"#, "values", "5"),
        (
            r#"{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,2]}}"#,
            "values",
            r#"{"type":"Point","coordinates":[1,2]}"#,
        ),
        (
            r#"{"type":"Relationship","value":"urn:y:1"}"#,
            "objects",
            r#""urn:y:1""#,
        ),
        (
            r#"{"type":"LanguageProperty","value":{"en":"a"}}"#,
            "languageMaps",
            r#"{"languageMap":{"en":"a"}}"#,
        ),
        (
            r#"{"type":"VocabProperty","value":"urn:v"}"#,
            "vocabs",
            r#"{"vocab":"urn:v"}"#,
        ),
        (
            r#"{"type":"JsonProperty","value":[1]}"#,
            "jsons",
            r#"{"json":[1]}"#,
        ),
        (r#"{"type":"ListProperty","value":[1,2]}"#, "valueLists", "[1,2]"),
        (
            r#"{"type":"ListRelationship","value":["urn:y:1"]}"#,
            "objectLists",
            r#"["urn:y:1"]"#,
        ),
    ] {
        let json = plain(Form::Values, &[past("n", 5, body)]);
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        let kind: serde_json::Value =
            serde_json::from_str::<serde_json::Value>(body).unwrap()["type"].clone();
        let expected = serde_json::json!({"type": kind, member: [[value, "2020-09-13T12:26:45Z"]]});
        assert_eq!(json["n"], expected);
    }
    let other = past("n", 7, r#"{"type":"Property","value":7,"datasetId":"urn:d:1"}"#);
    let json = plain(Form::Values, &[number("n", 5), other, number("n", 8)]);
    assert_eq!(json["n"][0]["values"].as_array().unwrap().len(), 2);
    assert_eq!(
        (
            json["n"][1]["datasetId"].as_str(),
            json["n"][1]["values"][0][0].as_i64()
        ),
        (Some("urn:d:1"), Some(7))
    );
}

#[test]
fn the_time_that_was_asked_by_is_shown_and_the_others_with_sys_attrs() {
    let with = Shape {
        sys_attrs: true,
        ..Shape::default()
    };
    let times = |shape, clock, instance: &PastInstance| {
        let given = Given {
            shape,
            form: Form::Instances,
            clock,
            backwards: false,
        };
        let json = shown(&given, std::slice::from_ref(instance), None).0;
        let shown = &json["n"][0];
        ["observedAt", "createdAt", "modifiedAt", "deletedAt"].map(|name| shown[name].as_str().is_some())
    };
    let plain = &Shape::default();
    let mut instance = number("n", 5);
    assert_eq!(times(plain, Clock::Any, &instance), [true, false, false, false]);
    assert_eq!(
        times(plain, Clock::Created, &instance),
        [true, true, false, false]
    );
    assert_eq!(
        times(plain, Clock::Modified, &instance),
        [true, false, true, false]
    );
    assert_eq!(
        times(&with, Clock::Observed, &instance),
        [true, true, true, false]
    );
    instance.instance.observed_at = None;
    assert_eq!(times(plain, Clock::Any, &instance), [false, true, false, false]);
    instance.instance = deletion(&name("n"), Kind::Property, None);
    instance.is_deletion = true;
    assert_eq!(
        times(&with, Clock::Deleted, &instance),
        [false, false, false, true]
    );
}

#[test]
fn deletions_are_nulls_of_their_kind_and_an_empty_scope() {
    let gone = |attr: &str, kind| PastInstance {
        instance: deletion(attr, kind, None),
        is_deletion: true,
        ..number(attr, 5)
    };
    let json = plain(
        Form::Instances,
        &[
            gone(&name("p"), Kind::Property),
            gone(&name("r"), Kind::Relationship),
            gone(&name("l"), Kind::LanguageProperty),
            gone(SCOPE, Kind::Property),
        ],
    );
    assert_eq!(json["p"][0]["value"], "urn:ngsi-ld:null");
    assert_eq!(json["r"][0]["object"], "urn:ngsi-ld:null");
    assert_eq!(json["l"][0]["languageMap"]["@none"], "urn:ngsi-ld:null");
    assert_eq!(json["scope"][0]["value"], serde_json::json!([]));
    assert!(json["scope"][0]["deletedAt"].is_string());
}

#[test]
fn all_attributes_are_cut_at_one_instant_whose_instances_are_all_left_out() {
    let shape = Shape::default();
    let given = |backwards| Given {
        shape: &shape,
        form: Form::Values,
        clock: Clock::Observed,
        backwards,
    };
    let mut instances = vec![
        number("a", 1),
        number("b", 1),
        number("a", 2),
        number("a", 3),
        number("b", 3),
    ];
    let values = |json: &serde_json::Value, attr: &str| {
        let values = json[attr]["values"].as_array().unwrap();
        values.iter().map(|v| v[0].as_i64().unwrap()).collect::<Vec<_>>()
    };
    // More come at the time of the last ones.
    let (json, span) = shown(&given(false), &instances, Some(3));
    assert_eq!((values(&json, "a"), values(&json, "b")), (vec![1, 2], vec![1]));
    assert_eq!(
        span,
        Some(Span {
            first: at(1),
            last: at(2)
        })
    );
    // More come later.
    let (json, span) = shown(&given(false), &instances, Some(4));
    assert_eq!(
        (values(&json, "a"), values(&json, "b")),
        (vec![1, 2, 3], vec![1, 3])
    );
    assert_eq!(
        span,
        Some(Span {
            first: at(1),
            last: at(3)
        })
    );
    // From the latest on: still shown in the order of time.
    instances.reverse();
    let (json, span) = shown(&given(true), &instances, Some(1));
    assert_eq!((values(&json, "a"), values(&json, "b")), (vec![2, 3], vec![3]));
    assert_eq!(
        span,
        Some(Span {
            first: at(3),
            last: at(2)
        })
    );
    // Where all have one time there is nothing to cut at.
    let (json, span) = shown(&given(false), &[number("a", 1), number("b", 1)], Some(1));
    assert_eq!((values(&json, "a"), values(&json, "b")), (vec![1], vec![1]));
    assert_eq!(
        span,
        Some(Span {
            first: at(1),
            last: at(1)
        })
    );
}

#[test]
fn an_attribute_of_which_nothing_is_left_is_empty_and_not_absent() {
    let shape = Shape::default();
    let given = |form| Given {
        shape: &shape,
        form,
        clock: Clock::Observed,
        backwards: false,
    };
    let instances = [number("a", 1), number("b", 2)];
    assert_eq!(
        shown(&given(Form::Instances), &instances, Some(2)).0["b"],
        serde_json::json!([])
    );
    let values = shown(&given(Form::Values), &instances, Some(2)).0;
    assert_eq!(values["b"], serde_json::json!({"type": "Property", "values": []}));
}

proptest! {
    #[test]
    fn what_is_kept_is_all_there_was_up_to_the_cut(
        mut seconds in proptest::collection::vec((0..20_i64, "[abc]"), 1..60),
        next in 0..21_i64,
    ) {
        seconds.sort();
        let next = next.max(seconds.last().unwrap().0);
        let instances: Vec<_> = seconds.iter().map(|(second, attr)| number(attr, *second)).collect();
        let given = Given { shape: &Shape::default(), form: Form::Values, clock: Clock::Observed, backwards: false };
        let (json, span) = shown(&given, &instances, Some(next));
        let last = span.unwrap().last;
        for attr in ["a", "b", "c"] {
            let kept = json[attr]["values"].as_array().map_or(0, Vec::len);
            let wanted = instances.iter().filter(|i| i.attr == name(attr) && i.key <= last).count();
            prop_assert_eq!(kept, wanted);
        }
        let several = instances.first().unwrap().key != instances.last().unwrap().key;
        prop_assert!(!several || last < at(next));
    }
}
