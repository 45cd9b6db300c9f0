//! Entities, in each representation and extent, against the schema of a model.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use mim_validator::tape::{Scratch, Tape};
use mim_validator::{Arena, Extent, Level, Names, NodeId, Reading, Representation, Source, check, compile};
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use std::sync::Arc;

struct Model {
    arena: Arena,
    root: NodeId,
}

fn model(schema: &Json) -> Model {
    let mut arena = Arena::default();
    let source = Source {
        schema,
        uri: "https://models.example/AirQualityObserved/schema.json",
        level: Level::Entity,
        type_name: Some("AirQualityObserved"),
        formats: true,
    };
    let root = compile(&mut arena, source, &Arc::default()).unwrap();
    Model { arena, root }
}

const FULL: Reading<'static> = Reading {
    representation: Representation::Full,
    extent: Extent::Whole,
    names: None,
};
const SIMPLE: Reading<'static> = Reading {
    representation: Representation::Simplified,
    ..FULL
};
const PART: Reading<'static> = Reading {
    extent: Extent::Part,
    ..FULL
};

impl Model {
    /// What is wrong, a line each.
    fn wrong(&self, entity: &Json, reading: Reading<'_>) -> Vec<String> {
        let text = entity.to_string();
        let mut scratch = Scratch::default();
        let tape = Tape::parse(text.as_bytes(), &mut scratch).unwrap();
        let found = check(&self.arena, self.root, tape.root(), reading);
        let found = found.err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }
}

fn air() -> Model {
    model(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "allOf": [{"$ref": "#/$defs/commons"}],
        "properties": {
            "type": {"enum": ["AirQualityObserved"]},
            "no2": {"type": "number", "minimum": 0, "maximum": 1000},
            "level": {"enum": ["low", "high"]},
            "dateObserved": {"type": "string", "format": "date-time"},
            "refDevice": {"type": "string", "format": "uri"},
            "address": {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
            "title": {"type": "object", "required": ["languageMap"],
                "properties": {"languageMap": {"type": "object", "additionalProperties": {"type": "string"}}}},
            "raw": {"type": "object", "required": ["json"], "additionalProperties": false,
                "properties": {"json": {"type": "object", "required": ["a"]}}},
            "route": {"type": "array", "items": {"type": "string", "format": "uri"}},
        },
        "required": ["id", "type", "no2"],
        "$defs": {"commons": {"properties": {
            "id": {"type": "string", "pattern": "^urn:"},
            "location": {"type": "object", "properties": {"type": {"const": "Point"}}, "required": ["coordinates"]},
        }}},
    }))
}

fn entity(members: &Json) -> Json {
    let mut entity = json!({"id": "urn:x:1", "type": "AirQualityObserved"});
    for (name, value) in members.as_object().unwrap() {
        entity[name] = value.clone();
    }
    entity
}

#[test]
fn the_same_values_are_good_in_every_representation() {
    let air = air();
    let point = json!({"type": "Point", "coordinates": [1.0, 2.0]});
    let normalized = entity(&json!({
        "no2": {"type": "Property", "value": 12.5, "unitCode": "GQ", "observedAt": "2026-11-30T12:00:00Z",
            "accuracy": {"type": "Property", "value": "any"}},
        "level": {"type": "Property", "value": "low"},
        "refDevice": {"type": "Relationship", "object": "urn:d:1"},
        "location": {"type": "GeoProperty", "value": point},
        "title": {"type": "LanguageProperty", "languageMap": {"de": "Luft"}},
        "raw": {"type": "JsonProperty", "json": {"a": null}},
        "tags": {"type": "ListProperty", "valueList": ["a", "b"]},
        "route": {"type": "ListRelationship", "objectList": [{"object": "urn:a"}, {"object": "urn:b"}]},
    }));
    let concise = entity(&json!({
        "no2": {"value": 12.5, "unitCode": "GQ"},
        "level": "low",
        "refDevice": {"object": "urn:d:1"},
        "location": point,
        "title": {"languageMap": {"de": "Luft"}},
        "raw": {"json": {"a": null}},
        "tags": ["a", "b"],
        "address": {"street": "s"},
        "route": {"objectList": ["urn:a", "urn:b"]},
        "@context": "https://context.example/c.jsonld",
    }));
    let simplified = entity(&json!({
        "no2": 12.5,
        "level": "low",
        "refDevice": "urn:d:1",
        "location": point,
        "title": {"languageMap": {"de": "Luft"}},
        "raw": {"json": {"a": null}},
        "tags": ["a", "b"],
        "route": ["urn:a", "urn:b"],
    }));
    assert_eq!(air.wrong(&normalized, FULL), [""; 0]);
    assert_eq!(air.wrong(&concise, FULL), [""; 0]);
    assert_eq!(air.wrong(&simplified, SIMPLE), [""; 0]);
}

#[test]
fn every_violation_names_its_place_its_rule_and_the_value() {
    let air = air();
    let long = "x".repeat(100);
    let bad = entity(&json!({
        "no2": {"type": "Property", "value": -3},
        "level": {"type": "Property", "value": long},
        "dateObserved": {"value": "yesterday"},
        "refDevice": {"type": "Relationship", "object": "no uri"},
        "address": {"type": "Property", "value": {"street": 5}},
        "tags": ["a", "a"],
        "location": {"type": "Polygon", "coordinates": []},
        "title": {"type": "LanguageProperty", "languageMap": {"de": ["a"]}},
        "raw": {"type": "JsonProperty", "json": {"b": 1}},
        "route": {"type": "ListRelationship", "objectList": [{"object": "urn:a"}, {"object": "no uri"}]},
    }));
    let mut found = air.wrong(&bad, FULL);
    found.sort();
    assert_eq!(
        found,
        [
            "/address/value/street: it is a text, not 5".to_owned(),
            r#"/dateObserved/value: it is a date-time like 2026-11-30T12:00:00Z (RFC 3339), not "yesterday""#
                .to_owned(),
            format!(
                r#"/level/value: it is one of "low", "high", not "{}…"#,
                "x".repeat(63)
            ),
            r#"/location/type: it is one of "Point", not "Polygon""#.to_owned(),
            "/no2/value: it is at least 0, not -3".to_owned(),
            r#"/raw/json: it has the member "a", not {"b":1}"#.to_owned(),
            r#"/refDevice/object: it is a URI with its scheme (RFC 3986), not "no uri""#.to_owned(),
            r#"/route/objectList/1: it is a URI with its scheme (RFC 3986), not "no uri""#.to_owned(),
            r#"/tags: its items differ, not ["a","a"]"#.to_owned(),
            r#"/title/languageMap/de: it is a text, not ["a"]"#.to_owned(),
        ]
    );
    let missing = air.wrong(&json!({"id": "x", "type": "AirQualityObserved"}), FULL);
    assert_eq!(
        missing,
        [
            r#": it has the member "no2", not {"id":"x","type":"AirQualityObserved"}"#,
            r#"/id: it matches ^urn:, not "x""#,
        ]
    );
}

#[test]
fn every_instance_of_an_attribute_is_checked() {
    let air = air();
    let several = entity(&json!({"no2": [
        {"type": "Property", "value": 1},
        {"value": -1, "datasetId": "urn:d:1"},
    ]}));
    assert_eq!(
        air.wrong(&several, FULL),
        ["/no2/1/value: it is at least 0, not -1"]
    );
    let simplified = entity(&json!({"no2": {"dataset": {"@none": 1, "urn:d:1": -1}}}));
    assert_eq!(
        air.wrong(&simplified, SIMPLE),
        ["/no2/dataset/urn:d:1: it is at least 0, not -1"]
    );
    // An array that is one value.
    let tags = entity(&json!({"no2": 1, "tags": {"type": "Property", "value": ["a", 1]}}));
    assert_eq!(air.wrong(&tags, FULL), ["/tags/value/1: it is a text, not 1"]);
}

#[test]
fn of_a_part_only_what_is_there_is_checked_and_deletions_pass() {
    let air = air();
    for good in [
        json!({"level": {"type": "Property", "value": "low"}}),
        json!({"level": "low", "unknown": 1}),
        json!({"no2": "urn:ngsi-ld:null"}),
        json!({"no2": {"type": "Property", "value": "urn:ngsi-ld:null"}}),
        json!({"no2": null}),
    ] {
        assert_eq!(air.wrong(&good, PART), [""; 0], "{good}");
    }
    let bad = json!({"level": {"value": "middle"}, "location": {"type": "Polygon", "coordinates": []}});
    let mut found = air.wrong(&bad, PART);
    found.sort();
    assert_eq!(
        found,
        [
            r#"/level/value: it is one of "low", "high", not "middle""#,
            r#"/location/type: it is one of "Point", not "Polygon""#,
        ]
    );
}

#[test]
fn what_depends_on_other_attributes_is_checked_of_whole_entities_alone() {
    let model = model(&json!({
        "if": {"properties": {"level": {"const": "high"}}, "required": ["level"]},
        "then": {"required": ["cause"]},
        "dependentRequired": {"cause": ["level"]},
        "anyOf": [{"required": ["level"]}, {"required": ["cause"]}],
        "properties": {"level": {"type": "string"}},
    }));
    let high = entity(&json!({"level": {"type": "Property", "value": "high"}}));
    assert_eq!(model.wrong(&high, FULL).len(), 1);
    assert_eq!(model.wrong(&high, PART), [""; 0]);
    let low = entity(&json!({"level": "low"}));
    assert_eq!(model.wrong(&low, FULL), [""; 0]);
    assert_eq!(model.wrong(&entity(&json!({"cause": 1})), FULL).len(), 1);
    assert_eq!(
        model.wrong(&entity(&json!({})), FULL),
        [r#": it is one of 2 alternatives, not {"id":"urn:x:1","type":"AirQualityObserved"}"#]
    );
    assert_eq!(
        model.wrong(&json!({"level": 5}), PART),
        ["/level: it is a text, not 5"]
    );
}

/// A context in which `stickstoff` is the schema's `no2`, and `no2` is something else.
struct Renamed;

impl Names for Renamed {
    fn in_schema<'n>(&'n self, name: &'n str) -> Cow<'n, str> {
        Cow::Borrowed(match name {
            "stickstoff" => "no2",
            "strasse" => "street",
            "no2" | "street" => "",
            other => other,
        })
    }
}

#[test]
fn names_count_by_what_they_mean() {
    let air = air();
    let renamed = Reading {
        names: Some(&Renamed),
        ..FULL
    };
    let bad = entity(&json!({"stickstoff": {"type": "Property", "value": -1}}));
    assert_eq!(
        air.wrong(&bad, renamed),
        ["/stickstoff/value: it is at least 0, not -1"]
    );
    let other = entity(
        &json!({"no2": -1, "stickstoff": 1, "address": {"type": "Property", "value": {"strasse": 1}}}),
    );
    assert_eq!(
        air.wrong(&other, renamed),
        ["/address/value/strasse: it is a text, not 1"]
    );
    let escaped = r#"{"id":"urn:x:1","type":"AirQualityObserved","n\u006f2":-1}"#;
    let mut scratch = Scratch::default();
    let tape = Tape::parse(escaped.as_bytes(), &mut scratch).unwrap();
    let found = check(&air.arena, air.root, tape.root(), FULL).unwrap_err();
    assert_eq!(found[0].to_string(), "/no2: it is at least 0, not -1");
}

#[test]
fn members_that_no_model_has_are_refused_where_it_says_so() {
    let strict = model(&json!({
        "properties": {"id": true, "type": true, "no2": {"type": "number"}},
        "patternProperties": {"^x_": {"type": "boolean"}},
        "additionalProperties": false,
    }));
    let good = entity(&json!({"no2": 1, "x_a": true, "@context": []}));
    assert_eq!(strict.wrong(&good, FULL), [""; 0]);
    let bad = entity(&json!({"pm10": 1, "x_a": {"type": "Property", "value": 1}}));
    assert_eq!(
        strict.wrong(&bad, FULL),
        [
            "/pm10: the model has no such member, not 1",
            "/x_a/value: it is true or false, not 1"
        ]
    );
}

#[test]
fn an_entity_that_is_wrong_everywhere_is_told_in_twenty_lines() {
    let model = model(&json!({"additionalProperties": {"type": "string"}}));
    let many: serde_json::Map<String, Json> = (0..500).map(|n| (format!("a{n}"), 1.into())).collect();
    assert_eq!(model.wrong(&Json::Object(many), FULL).len(), 20);
}

#[test]
fn row_gateway_a_schema_that_branches_without_end_gives_up_and_lets_nothing_pass() {
    // Each level asks the next one twice: 2^25 schemas for one value.
    let mut definitions = serde_json::Map::new();
    for level in 0..25 {
        let next = json!({"$ref": format!("#/$defs/l{}", level + 1)});
        definitions.insert(
            format!("l{level}"),
            json!({"anyOf": [{"allOf": [next, false]}, next]}),
        );
    }
    definitions.insert("l25".to_owned(), json!({"type": "object"}));
    let model = model(&json!({"$ref": "#/$defs/l0", "$defs": definitions}));
    let found = model.wrong(&entity(&json!({})), FULL);
    assert!(
        found.last().unwrap().contains("it costs more to check"),
        "{found:?}"
    );
}
