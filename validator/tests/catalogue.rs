//! The built-in catalogue, as models use it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use mim_validator::tape::{Scratch, Tape};
use mim_validator::{Arena, Extent, Level, Reading, Representation, Source, catalogue, check, compile};
use serde_json::{Value as Json, json};

/// What is wrong with an entity of a model that is made of the commons, as Smart Data Models are.
fn wrong(entity: &Json) -> Vec<String> {
    let commons = "https://smart-data-models.github.io/data-models/common-schema.json#/definitions/";
    let of = |name: &str| json!({"$ref": format!("{commons}{name}")});
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://smart-data-models.github.io/dataModel.Parks/Park/schema.json",
        "type": "object",
        "allOf": [of("GSMA-Commons"), of("Location-Commons"), of("DateTime-Commons"), of("Contact-Commons"),
            {"properties": {"type": {"enum": ["Park"]}, "refKeeper": of("EntityIdentifierType")}}],
        "required": ["id", "type"],
    });
    let source = Source {
        schema: &schema,
        uri: "https://models.example/Park.json",
        level: Level::Entity,
        type_name: Some("Park"),
        formats: true,
    };
    let mut arena = Arena::default();
    let root = compile(&mut arena, source, catalogue()).unwrap();
    let text = entity.to_string();
    let mut scratch = Scratch::default();
    let tape = Tape::parse(text.as_bytes(), &mut scratch).unwrap();
    let reading = Reading {
        representation: Representation::Full,
        extent: Extent::Whole,
        names: None,
    };
    let found = check(&arena, root, tape.root(), reading);
    found
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_model_that_refers_to_the_commons_needs_no_document_from_elsewhere() {
    let good = json!({
        "id": "urn:ngsi-ld:Park:1",
        "type": "Park",
        "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [16.3, 48.2]}},
        "address": {"type": "Property", "value": {"streetAddress": "Prater 1", "postalCode": "1020"}},
        "seeAlso": "https://city.example/parks/1",
        "owner": ["urn:ngsi-ld:Organization:1"],
        "refKeeper": {"type": "Relationship", "object": "urn:ngsi-ld:Person:1"},
        "openingHoursSpecification": [{"opens": "08:00:00Z", "closes": "20:00:00Z", "dayOfWeek": "Monday",
            "validFrom": "2026-01-01"}],
        "contactPoint": {"type": "Property", "value": {"email": "park@city.example", "availableLanguage": ["de", "en"]}},
    });
    assert_eq!(wrong(&good), [""; 0]);
    let bad = json!({
        "id": "urn:ngsi-ld:Park:1",
        "type": "Park",
        "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [16.3]}},
        "seeAlso": "somewhere",
        "dateCreated": {"type": "Property", "value": "today"},
        "openingHoursSpecification": [{"dayOfWeek": "Mo"}],
        "contactPoint": {"type": "Property", "value": {"email": "nobody"}},
    });
    let mut found = wrong(&bad);
    found.sort();
    let places: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "/contactPoint/value/email",
            "/dateCreated/value",
            "/location/value",
            "/openingHoursSpecification/0/dayOfWeek",
            "/seeAlso",
        ]
    );
}

#[test]
fn every_definition_of_the_catalogue_compiles_at_each_of_its_addresses() {
    assert!(catalogue().len() >= 3);
    for (uri, document) in catalogue().iter() {
        let definitions = document["definitions"].as_object().unwrap();
        assert!(definitions.len() >= 15);
        for name in definitions.keys() {
            let schema = json!({"$ref": format!("{uri}#/definitions/{name}")});
            let source = Source {
                schema: &schema,
                uri: "https://models.example/one.json",
                level: Level::Value,
                type_name: None,
                formats: true,
            };
            compile(&mut Arena::default(), source, catalogue()).unwrap();
        }
    }
}
