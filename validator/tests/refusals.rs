//! Schemas that do not compile say where and why.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use mim_validator::{Arena, Level, Library, Refusal, Source, compile};
use serde_json::{Value as Json, json};
use std::sync::Arc;

fn refusal(schema: &Json, library: &Arc<Library>) -> Refusal {
    let source = Source {
        schema,
        uri: "https://models.example/Tree/schema.json",
        level: Level::Entity,
        type_name: Some("Tree"),
        formats: true,
    };
    compile(&mut Arena::default(), source, library).unwrap_err()
}

/// A schema; where and in which words it is refused.
const CASES: [(&str, &str, &str); 26] = [
    ("5", "", "a schema is an object"),
    (
        r#"{"$schema":"http://json-schema.org/draft-04/schema#"}"#,
        "",
        "write that of draft-07",
    ),
    (
        r#"{"$schema":"https://own.example/words"}"#,
        "",
        "write that of draft-07",
    ),
    (
        r#"{"properties":{"a":{"type":"text"}}}"#,
        "/properties/a/type",
        "boolean, number",
    ),
    (
        r#"{"properties":{"a":{"minimum":"0"}}}"#,
        "/properties/a/minimum",
        "it is a number",
    ),
    (
        r#"{"properties":{"a":{"multipleOf":0}}}"#,
        "/properties/a/multipleOf",
        "above 0",
    ),
    (
        r#"{"properties":{"a":{"minLength":1.5}}}"#,
        "/properties/a/minLength",
        "whole number",
    ),
    (
        r#"{"properties":{"a":{"maxItems":-1}}}"#,
        "/properties/a/maxItems",
        "whole number",
    ),
    (
        r#"{"properties":{"a":{"pattern":"("}}}"#,
        "/properties/a/pattern",
        "no regular expression",
    ),
    (
        r#"{"properties":{"a":{"pattern":"a(?=b)"}}}"#,
        "/properties/a/pattern",
        "in linear time",
    ),
    (
        r#"{"properties":{"a":{"pattern":"(\\w{99}){99}{99}"}}}"#,
        "/properties/a/pattern",
        "too large",
    ),
    (
        r#"{"properties":{"a/b~c":{"enum":"x"}}}"#,
        "/properties/a~1b~0c/enum",
        "array of values",
    ),
    (r#"{"properties":[]}"#, "/properties", "it is an object"),
    (r#"{"required":"id"}"#, "/required", "array of names"),
    (r#"{"allOf":[]}"#, "/allOf", "at least one schema"),
    (r#"{"anyOf":{"type":"object"}}"#, "/anyOf", "array of schemas"),
    (
        r#"{"const":{"id":"urn:x:1"}}"#,
        "/const",
        "say it of its properties",
    ),
    (
        r#"{"dependentRequired":{"a":"b"}}"#,
        "/dependentRequired/a",
        "array of names",
    ),
    (
        r#"{"properties":{"a":{"uniqueItems":"yes"}}}"#,
        "/properties/a/uniqueItems",
        "true or false",
    ),
    (
        r#"{"properties":{"type":{"const":"Bush"}}}"#,
        "/properties/type",
        "does not let in \"Tree\"",
    ),
    (r#"{"$ref":5}"#, "/$ref", "URI reference"),
    (
        r##"{"allOf":[{"$ref":"#/$defs/none"}]}"##,
        "/allOf/0/$ref",
        "leads nowhere",
    ),
    (
        r#"{"allOf":[{"$ref":"https://other.example/x.json#/a"}]}"#,
        "/allOf/0/$ref",
        "add it to the set",
    ),
    (
        r#"{"allOf":[{"$ref":"../common.json"}]}"#,
        "/allOf/0/$ref",
        "add it to the set",
    ),
    (r##"{"$ref":"#"}"##, "", "refers to itself"),
    (
        r##"{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"}]},"b":{"not":{"$ref":"#/$defs/a"}}},"$ref":"#/$defs/a"}"##,
        "",
        "refers to itself",
    ),
];

#[test]
fn every_refusal_has_a_pointer_and_says_what_to_write() {
    for (schema, pointer, words) in CASES {
        let refusal = refusal(&serde_json::from_str(schema).unwrap(), &Arc::default());
        let place = (refusal.document.as_deref(), refusal.pointer.as_str());
        assert_eq!(place, (None, pointer), "{schema}: {refusal}");
        assert!(refusal.why.contains(words), "{schema}: {refusal}");
    }
}

#[test]
fn what_is_wrong_in_another_document_is_told_with_its_address() {
    let library = Arc::new(Library::from([(
        "https://models.example/common.json".to_owned(),
        json!({"definitions": {"Commons": {"properties": {"name": {"type": "word"}}}}}),
    )]));
    let schema = json!({"allOf": [{"$ref": "../common.json#/definitions/Commons"}]});
    let refusal = refusal(&schema, &library);
    assert_eq!(
        refusal.document.as_deref(),
        Some("https://models.example/common.json")
    );
    assert_eq!(refusal.pointer, "/definitions/Commons/properties/name/type");
}

#[test]
fn schemas_that_lie_deep_in_each_other_are_refused_and_recursive_ones_are_not() {
    let mut chain = serde_json::Map::new();
    for level in 0..200 {
        chain.insert(
            format!("l{level}"),
            json!({"not": {"$ref": format!("#/$defs/l{}", level + 1)}}),
        );
    }
    chain.insert("l200".to_owned(), json!({}));
    let deep = refusal(&json!({"$ref": "#/$defs/l0", "$defs": chain}), &Arc::default());
    assert!(deep.why.contains("deep"), "{deep}");
    let tree = json!({"properties": {"parts": {"items": {"$ref": "#/$defs/part"}}},
        "$defs": {"part": {"properties": {"parts": {"items": {"$ref": "#/$defs/part"}}}}}});
    let source = Source {
        schema: &tree,
        uri: "https://models.example/Tree/schema.json",
        level: Level::Entity,
        type_name: None,
        formats: true,
    };
    compile(&mut Arena::default(), source, &Arc::default()).unwrap();
}

#[test]
fn models_that_say_the_same_share_their_nodes() {
    let mut arena = Arena::default();
    let schema = |extra: &str| json!({"properties": {"id": {"type": "string", "minLength": 1}, extra: {"type": "number"}}});
    for (n, extra) in ["a", "b", "c", "d"].iter().enumerate() {
        let schema = schema(extra);
        let source = Source {
            schema: &schema,
            uri: "https://models.example/x.json",
            level: Level::Entity,
            type_name: None,
            formats: true,
        };
        compile(&mut arena, source, &Arc::default()).unwrap();
        // Anything, nothing, the id, a number, the attribute of a number, and a root for each.
        assert_eq!(arena.len(), 6 + n);
    }
}
