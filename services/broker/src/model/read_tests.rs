use super::*;
use crate::model::change::create;
use crate::model::linked::Unlinked;
use crate::model::render::View;
use crate::model::stored;
use crate::model::view::{Representation, Shape};
use jiff::Timestamp;
use proptest::prelude::*;
use std::sync::Arc;

fn reader(context: &Context) -> Reader<'_> {
    Reader {
        context,
        nulls: Nulls::Refused,
    }
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn kind_of(attribute: &str) -> Result<Kind, Refusal> {
    let context = Context::core();
    let (_, instances) = reader(&context).attribute("a", &json(attribute))?;
    Ok(instances[0].kind)
}

#[test]
fn the_kind_is_told_or_implied() {
    for (attribute, kind) in [
        ("5", Kind::Property),
        ("\"text\"", Kind::Property),
        ("[1,2]", Kind::Property),
        ("[{\"x\":1}]", Kind::Property),
        ("{\"street\":\"x\"}", Kind::Property),
        ("{\"value\":5}", Kind::Property),
        (
            "{\"@type\":\"DateTime\",\"@value\":\"2024-01-01T00:00:00Z\"}",
            Kind::Property,
        ),
        ("{\"type\":\"Point\",\"coordinates\":[1,2]}", Kind::GeoProperty),
        (
            "{\"value\":{\"type\":\"Point\",\"coordinates\":[1,2]},\"observedAt\":\"2024-01-01T00:00:00Z\"}",
            Kind::GeoProperty,
        ),
        (
            "{\"type\":\"GeoProperty\",\"value\":\"{\\\"type\\\":\\\"Point\\\",\\\"coordinates\\\":[1,2]}\"}",
            Kind::GeoProperty,
        ),
        ("{\"object\":\"urn:a:1\"}", Kind::Relationship),
        ("{\"languageMap\":{\"en\":\"x\"}}", Kind::LanguageProperty),
        ("{\"vocab\":\"x\"}", Kind::VocabProperty),
        ("{\"json\":{}}", Kind::JsonProperty),
        ("{\"valueList\":[]}", Kind::ListProperty),
        ("{\"objectList\":[\"urn:a:1\"]}", Kind::ListRelationship),
    ] {
        assert_eq!(kind_of(attribute), Ok(kind), "{attribute}");
    }
}

#[test]
fn malformed_attributes_are_refused() {
    for bad in [
        "null",
        "{\"type\":\"Property\"}",
        "{\"type\":5,\"value\":1}",
        "{\"type\":\"Nothing\",\"value\":1}",
        "{\"type\":\"Property\",\"value\":null}",
        "{\"type\":\"Property\",\"value\":[null]}",
        "{\"type\":\"Property\",\"value\":{\"a\":\"urn:ngsi-ld:null\"}}",
        "{\"type\":\"Property\",\"value\":1,\"unitCode\":5}",
        "{\"type\":\"Property\",\"value\":1,\"observedAt\":\"yesterday\"}",
        "{\"type\":\"Property\",\"value\":1,\"datasetId\":\"no uri\"}",
        "{\"type\":\"Property\",\"value\":1,\"bad-name\":1}",
        "{\"type\":\"Property\",\"value\":1,\"object\":\"urn:a:1\"}",
        "{\"type\":\"GeoProperty\",\"value\":\"POINT(1 2)\"}",
        "{\"type\":\"Relationship\",\"object\":[]}",
        "{\"type\":\"Relationship\",\"object\":{}}",
        "{\"type\":\"LanguageProperty\",\"languageMap\":{\"en\":5}}",
        "{\"type\":\"LanguageProperty\",\"languageMap\":{\"e n\":\"x\"}}",
        "{\"type\":\"VocabProperty\",\"vocab\":5}",
        "{\"type\":\"JsonProperty\",\"json\":5}",
        "{\"type\":\"ListProperty\",\"valueList\":5}",
        "{\"type\":\"ListRelationship\",\"objectList\":[{}]}",
        "[{\"value\":1},{\"value\":2}]",
        "[{\"value\":1,\"datasetId\":\"urn:d\"},{\"value\":2,\"datasetId\":\"urn:d\"}]",
        "{\"value\":{\"ngsi-ld:default-context/x\":1,\"x\":2}}",
    ] {
        assert!(kind_of(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_refused_name_is_repeated_in_part() {
    let Refusal(why) = expanded_name(&Context::core(), &"a-".repeat(5_000)).unwrap_err();
    assert!(why.contains("a-a-") && why.len() < 300, "{why}");
}

/// A context with terms, prefixes and a term that hides a default name.
fn context() -> Arc<Context> {
    let iris = [
        ("name", "https://schema.org/name"),
        ("schema", "https://schema.org/"),
        ("a", "urn:x:a"),
    ];
    let iris = iris
        .map(|(t, i)| (t.to_owned(), i.to_owned()))
        .into_iter()
        .collect();
    Arc::new(Context::new(iris, &["schema".to_owned()], None))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        // An attribute that is called id would be a second id.
        "[a-z]{1,3}".prop_filter("a member of entities", |name| name != "id"),
        Just("name".to_owned()),
        Just("schema:other".to_owned()),
        Just("https://x.example/y".to_owned())
    ]
}

fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::Bool),
        "-?[1-9][0-9]{0,5}(\\.[0-9]{1,3})?".prop_map(|n| Json::Number(n.into())),
        "[^\u{0}]{0,8}".prop_map(Json::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            // Names that no two of which mean the same.
            prop::collection::btree_map("[b-z][a-z ]{0,2}|name|type|@x", inner, 0..4)
                .prop_map(|m| Json::Object(m.into_iter().collect())),
        ]
    })
}

fn object(members: Vec<(&str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())
}

fn instance() -> impl Strategy<Value = Json> {
    let uri = "urn:[a-z]{1,4}:[0-9]".prop_map(Json::String);
    let geometry = (-180.0..180.0_f64, -90.0..90.0_f64).prop_map(|(x, y)| {
        object(vec![
            ("type", Json::string("Point")),
            ("coordinates", Json::Array(vec![Json::number(x), Json::number(y)])),
        ])
    });
    let core = prop_oneof![
        value().prop_map(|v| ("Property", "value", v)),
        geometry.prop_map(|v| ("GeoProperty", "value", v)),
        uri.clone().prop_map(|v| ("Relationship", "object", v)),
        prop::collection::vec(uri.clone(), 1..3).prop_map(|v| ("Relationship", "object", Json::Array(v))),
        "[a-z]{2}".prop_map(|tag| (
            "LanguageProperty",
            "languageMap",
            Json::Object(vec![(tag, Json::string("x"))])
        )),
        name().prop_map(|n| ("VocabProperty", "vocab", Json::String(n))),
        value().prop_map(|v| ("JsonProperty", "json", Json::Array(vec![v, Json::Null]))),
        prop::collection::vec(value(), 0..3).prop_map(|v| ("ListProperty", "valueList", Json::Array(v))),
        prop::collection::vec(uri, 0..3).prop_map(|v| {
            (
                "ListRelationship",
                "objectList",
                Json::Array(v.into_iter().map(|u| object(vec![("object", u)])).collect()),
            )
        }),
    ];
    let optional = (any::<bool>(), any::<bool>(), any::<bool>());
    let plain = (core, optional).prop_map(|((kind, member, value), (unit, observed, dataset))| {
        let mut members = vec![("type", Json::string(kind)), (member, value)];
        if unit {
            members.push(("unitCode", Json::string("CEL")));
        }
        if observed {
            members.push(("observedAt", Json::string("2024-01-01T00:00:00.10Z")));
        }
        if dataset {
            members.push(("datasetId", Json::string("urn:d:1")));
        }
        object(members)
    });
    plain.prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), "[b-z]{1,3}", inner).prop_map(|(holder, name, sub)| match holder {
            Json::Object(mut members) if members.iter().all(|(n, _)| *n != name) => {
                members.push((format!("s{name}"), sub));
                Json::Object(members)
            }
            other => other,
        })
    })
}

pub(in crate::model) fn entity() -> impl Strategy<Value = Json> {
    prop::collection::btree_map(name(), instance(), 0..5).prop_map(|attributes| {
        let mut members = vec![
            ("id".to_owned(), Json::string("urn:x:1")),
            ("type".to_owned(), Json::string("Thing")),
        ];
        members.extend(attributes);
        Json::Object(members)
    })
}

/// Members in one order, to compare what order does not matter to.
pub(in crate::model) fn sorted(json: &Json) -> Json {
    match json {
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(n, v)| (n.clone(), sorted(v))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(members)
        }
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[test]
fn nulls_inside_lists_and_maps_are_refused_where_nulls_delete_too() {
    let context = Context::core();
    let reader = Reader {
        context: &context,
        nulls: Nulls::Delete,
    };
    for bad in [
        r#"{"object":["urn:a:1","urn:ngsi-ld:null"]}"#,
        r#"{"objectList":["urn:ngsi-ld:null"]}"#,
        r#"{"objectList":[{"object":"urn:ngsi-ld:null"}]}"#,
        r#"{"languageMap":{"en":"urn:ngsi-ld:null"}}"#,
        r#"{"languageMap":{"@none":"urn:ngsi-ld:null","en":"x"}}"#,
        r#"{"languageMap":{"@none":["urn:ngsi-ld:null"]}}"#,
        r#"{"vocab":["x","urn:ngsi-ld:null"]}"#,
        r#"{"valueList":["urn:ngsi-ld:null"]}"#,
        r#"{"json":["urn:ngsi-ld:null"]}"#,
        r#"{"value":{"a":"urn:ngsi-ld:null"}}"#,
    ] {
        let read = reader.attribute("a", &json(bad));
        assert!(
            read.as_ref()
                .is_err_and(|Refusal(why)| why.contains("urn:ngsi-ld:null")),
            "{bad}: {read:?}"
        );
    }
    for good in [
        r#"{"value":"urn:ngsi-ld:null"}"#,
        r#"{"object":"urn:ngsi-ld:null"}"#,
        r#"{"vocab":"urn:ngsi-ld:null"}"#,
        r#"{"objectList":"urn:ngsi-ld:null"}"#,
        r#"{"languageMap":{"@none":"urn:ngsi-ld:null"}}"#,
    ] {
        let (_, instances) = reader.attribute("a", &json(good)).unwrap();
        assert!(instances[0].is_deletion(), "{good}");
    }
}

proptest! {
    #[test]
    fn normalized_entities_come_back_as_they_were_sent(sent in entity()) {
        let context = context();
        let fragment = match reader(&context).entity(&sent) {
            Ok(fragment) => fragment,
            // Two generated names may mean the same attribute.
            Err(Refusal(why)) => {
                prop_assert!(why.contains("two members"), "{why}: {}", sent.to_text());
                return Ok(());
            }
        };
        let mut entity = create(fragment.clone(), Timestamp::UNIX_EPOCH);
        entity.attributes = stored::read(&stored::write(&entity.attributes).unwrap()).unwrap();
        let view = |representation| {
            let shape = Shape { representation, ..Shape::default() };
            let mut shown = String::new();
            View::new(&context, &shape, false).entity(&entity, &[shape.shown()], &mut shown, &mut Unlinked);
            shown
        };
        let shown = view(Representation::Normalized);
        prop_assert_eq!(sorted(&json(&shown)).to_text(), sorted(&renamed(&sent, &context)).to_text());
        let concise = view(Representation::Concise);
        prop_assert_eq!(reader(&context).entity(&json(&concise)).unwrap(), fragment, "{}", concise);
        let simple = json(&view(Representation::Simplified));
        for (iri, instances) in &entity.attributes {
            let shown = simple.get(&context.compact(iri)).unwrap();
            let bare = instances[0].dataset.is_none();
            prop_assert_eq!(shown.get("dataset").is_none() || bare, bare);
        }
    }

    #[test]
    fn row_broker_any_json_is_refused_or_comes_back(attributes in prop::collection::vec((name(), value()), 0..4)) {
        let members = attributes.into_iter().chain([("id".to_owned(), Json::string("urn:x:1")), ("type".to_owned(), Json::string("T"))]).collect();
        crate::properties::json_ld(Json::Object(members).to_text().as_bytes());
    }
}

/// Names as the context gives them back: a term where there is one for what a client spelled otherwise.
fn renamed(json: &Json, context: &Context) -> Json {
    let Json::Object(members) = json else {
        return json.clone();
    };
    Json::Object(
        members
            .iter()
            .map(|(name, value)| match name.as_str() {
                "id" | "type" => (name.clone(), value.clone()),
                _ => (context.compact(&context.expand(name)).into_owned(), value.clone()),
            })
            .collect(),
    )
}
