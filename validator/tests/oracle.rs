//! Generated entities of generated models, in each representation: the verdicts are those of an independent implementation,
//! which is asked of the simplified one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod support;

use mim_validator::tape::{Scratch, Tape};
use mim_validator::{Arena, Extent, Level, NodeId, Reading, Representation, Source, check, compile};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

const MODELS: usize = 400;
const ENTITIES: usize = 25;
const NAMES: [&str; 8] = [
    "no2",
    "level",
    "refDevice",
    "address",
    "tags",
    "place",
    "title",
    "raw",
];
const WORDS: [&str; 6] = ["low", "high", "", "Zürich", "a-b", "😀😀"];

const SIMPLE: Reading<'static> = Reading {
    representation: Representation::Simplified,
    extent: Extent::Whole,
    names: None,
};

/// An attribute as it is written in each representation.
struct Attribute {
    normalized: Json,
    concise: Json,
    simplified: Json,
}

fn one_of<'a, T: ?Sized>(rng: &mut StdRng, items: &[&'a T]) -> &'a T {
    items.choose(rng).unwrap()
}

/// A schema of a value.
fn value_schema(rng: &mut StdRng, depth: usize) -> Json {
    let deepest = depth == 0;
    match rng.random_range(0..if deepest { 8 } else { 18 }) {
        0 => {
            json!({"type": "number", "minimum": rng.random_range(-5..5), "exclusiveMaximum": rng.random_range(0..20)})
        }
        1 => json!({"type": "integer", "multipleOf": rng.random_range(1..4)}),
        2 => {
            json!({"type": "string", "minLength": rng.random_range(0..3), "maxLength": rng.random_range(2..6)})
        }
        3 => json!({"enum": [one_of(rng, &WORDS), 1, null, [1, "a"], {"a": 1.0}]}),
        4 => json!({"const": one_of(rng, &WORDS)}),
        5 => {
            json!({"type": ["boolean", "string", "null"], "pattern": one_of(rng, &["^[a-z]+$", "h", "^$", "\\d|ü"])})
        }
        6 => json!({"multipleOf": 0.5}),
        7 => json!(rng.random_bool(0.8)),
        8 | 9 => {
            json!({"type": "array", "items": value_schema(rng, depth - 1), "minItems": rng.random_range(0..2),
            "maxItems": rng.random_range(1..5), "uniqueItems": rng.random_bool(0.3)})
        }
        10 | 11 => object_schema(rng, depth - 1),
        12 => json!({"anyOf": schemas(rng, depth - 1)}),
        13 => json!({"oneOf": schemas(rng, depth - 1)}),
        14 => json!({"allOf": schemas(rng, depth - 1)}),
        15 => json!({"not": value_schema(rng, depth - 1)}),
        16 => json!({"contains": value_schema(rng, depth - 1)}),
        _ => json!({"if": value_schema(rng, depth - 1), "then": value_schema(rng, depth - 1),
            "else": value_schema(rng, depth - 1)}),
    }
}

fn schemas(rng: &mut StdRng, depth: usize) -> Vec<Json> {
    (0..rng.random_range(1..4))
        .map(|_| value_schema(rng, depth))
        .collect()
}

fn object_schema(rng: &mut StdRng, depth: usize) -> Json {
    let mut schema = json!({"type": "object", "properties": {"a": value_schema(rng, depth), "b": value_schema(rng, depth)}});
    match rng.random_range(0..6) {
        0 => schema["required"] = json!(["a"]),
        1 => schema["additionalProperties"] = json!(false),
        2 => schema["patternProperties"] = json!({"^c": value_schema(rng, depth)}),
        3 => schema["propertyNames"] = json!({"maxLength": 1}),
        4 => schema["dependentRequired"] = json!({"a": ["b"]}),
        _ => schema["unevaluatedProperties"] = json!(false),
    }
    schema
}

/// A schema of entities, and of each attribute the part that is about it.
fn entity_schema(rng: &mut StdRng) -> Json {
    let draft = one_of(
        rng,
        &[
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2019-09/schema",
            "https://json-schema.org/draft/2020-12/schema",
        ],
    );
    let mut properties = Map::new();
    properties.insert(
        "id".to_owned(),
        json!({"type": "string", "pattern": "^urn:ngsi-ld:"}),
    );
    properties.insert("type".to_owned(), json!({"enum": ["T", "U"]}));
    for name in NAMES {
        if rng.random_bool(0.8) {
            properties.insert(name.to_owned(), value_schema(rng, 3));
        }
    }
    let mut schema =
        json!({"$schema": draft, "type": "object", "properties": properties, "required": ["id", "type"]});
    let (one, other) = (one_of(rng, &NAMES), one_of(rng, &NAMES));
    let of_one = |schema: Json| json!({"properties": {one: schema}, "required": [one]});
    match rng.random_range(0..10) {
        0 => schema["required"] = json!(["id", "type", one]),
        1 => schema["additionalProperties"] = json!(false),
        2 => schema["anyOf"] = json!([{"required": [one]}, {"required": [other]}]),
        3 => schema["not"] = of_one(value_schema(rng, 1)),
        4 => {
            schema["if"] = of_one(value_schema(rng, 1));
            schema["then"] = json!({"required": [other]});
        }
        5 => schema["allOf"] = json!([{"$ref": "#/definitions/commons"}]),
        6 => schema["maxProperties"] = json!(7),
        7 => {
            // Newer drafts do not have the older word; some implementations read it still, as ours does.
            let word = if draft.contains("draft-07") {
                "dependencies"
            } else {
                "dependentSchemas"
            };
            schema[word] = json!({one: {"properties": {other: value_schema(rng, 1)}}});
        }
        8 => schema["oneOf"] = json!([of_one(value_schema(rng, 1)), {"required": [other]}]),
        _ => schema["patternProperties"] = json!({"^[lt]": value_schema(rng, 1)}),
    }
    schema["definitions"] =
        json!({"commons": {"properties": {one: value_schema(rng, 1)}, "required": [other]}});
    schema
}

/// A value; mostly of a kind that some schema asks for.
fn value(rng: &mut StdRng, depth: usize) -> Json {
    match rng.random_range(0..if depth == 0 { 7 } else { 10 }) {
        0 => json!(rng.random_range(-6..20)),
        1 => json!(f64::from(rng.random_range(-6..20_i32)) / 2.0),
        2 | 3 => json!(one_of(rng, &WORDS)),
        4 => json!(rng.random_bool(0.5)),
        5 => json!(1e3),
        6 => json!(rng.random_range(0..3)),
        7 => (0..rng.random_range(0..4))
            .map(|_| value(rng, depth - 1))
            .collect(),
        _ => {
            let names = ["a", "b", "cc"]
                .into_iter()
                .filter(|_| rng.random_bool(0.5))
                .collect::<Vec<_>>();
            names
                .into_iter()
                .map(|name| (name.to_owned(), value(rng, depth - 1)))
                .collect()
        }
    }
}

fn attribute(rng: &mut StdRng) -> Attribute {
    let property = |rng: &mut StdRng| {
        let value = value(rng, 2);
        let mut normalized = json!({"type": "Property", "value": value});
        if rng.random_bool(0.3) {
            normalized["observedAt"] = json!("2026-11-30T12:00:00Z");
        }
        let concise = if rng.random_bool(0.5) {
            value.clone()
        } else {
            json!({"value": value})
        };
        Attribute {
            normalized,
            concise,
            simplified: value,
        }
    };
    let within = |kind: &str, member: &str, inner: Json| Attribute {
        normalized: json!({"type": kind, member: inner}),
        concise: json!({member: inner}),
        simplified: json!({member: inner}),
    };
    match rng.random_range(0..12) {
        0 => {
            let target = json!("urn:ngsi-ld:D:1");
            let normalized = json!({"type": "Relationship", "object": target});
            Attribute {
                normalized,
                concise: json!({"object": target}),
                simplified: target,
            }
        }
        1 => {
            let point = json!({"type": "Point", "coordinates": [rng.random_range(0..9), 2.5]});
            let normalized = json!({"type": "GeoProperty", "value": point});
            Attribute {
                normalized,
                concise: point.clone(),
                simplified: point,
            }
        }
        2 => within(
            "LanguageProperty",
            "languageMap",
            json!({"de": one_of(rng, &WORDS)}),
        ),
        3 => within("JsonProperty", "json", json!({"a": value(rng, 1)})),
        4 => within("VocabProperty", "vocab", json!("low")),
        5 => {
            let list = json!([value(rng, 1), value(rng, 1)]);
            let normalized = json!({"type": "ListProperty", "valueList": list});
            Attribute {
                normalized,
                concise: json!({"valueList": list}),
                simplified: list,
            }
        }
        6 => {
            let normalized =
                json!({"type": "ListRelationship", "objectList": [{"object": "urn:a"}, {"object": "urn:b"}]});
            Attribute {
                normalized,
                concise: json!({"objectList": ["urn:a", "urn:b"]}),
                simplified: json!(["urn:a", "urn:b"]),
            }
        }
        _ => property(rng),
    }
}

/// What a model says of each of its attributes, to find values that suit: random ones rarely do.
struct Parts {
    arena: Arena,
    roots: HashMap<String, NodeId>,
}

impl Parts {
    fn of(schema: &Json) -> Self {
        let mut arena = Arena::default();
        let properties = schema["properties"].as_object().unwrap();
        let root = |(name, schema): (&String, &Json)| {
            let source = Source {
                schema,
                uri: "https://models.example/part.json",
                level: Level::Value,
                type_name: None,
                formats: false,
            };
            (
                name.clone(),
                compile(&mut arena, source, &Arc::default()).unwrap(),
            )
        };
        let roots = properties.iter().map(root).collect();
        Self { arena, roots }
    }

    fn suits(&self, name: &str, value: &Json) -> bool {
        let Some(root) = self.roots.get(name) else {
            return true;
        };
        let text = value.to_string();
        let mut scratch = Scratch::default();
        let tape = Tape::parse(text.as_bytes(), &mut scratch).unwrap();
        check(&self.arena, *root, tape.root(), SIMPLE).is_ok()
    }
}

/// One entity: normalized, concise, simplified.
fn entity(rng: &mut StdRng, parts: &Parts) -> [Json; 3] {
    let id = one_of(
        rng,
        &[
            "urn:ngsi-ld:T:1",
            "urn:ngsi-ld:T:2",
            "urn:ngsi-ld:T:3",
            "urn:other:4",
        ],
    );
    let mut entities = [(); 3].map(|()| json!({"id": id, "type": "T"}));
    for name in NAMES {
        if rng.random_bool(0.4) {
            continue;
        }
        let careless = rng.random_bool(0.05);
        let found = (0..20)
            .map(|_| attribute(rng))
            .find(|attribute| careless || parts.suits(name, &attribute.simplified));
        let Some(attribute) = found else {
            continue;
        };
        let forms = [attribute.normalized, attribute.concise, attribute.simplified];
        for (entity, form) in entities.iter_mut().zip(forms) {
            entity[name] = form;
        }
    }
    entities
}

/// What the oracle says of simplified entities, a list for each model.
fn oracle(tasks: &[(Json, Vec<[Json; 3]>)]) -> Vec<Vec<bool>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/verdicts.py");
    let mut python = Command::new(support::oracle().join("venv/bin/python"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, from) = (python.stdin.take().unwrap(), python.stdout.take().unwrap());
    let mut answers = BufReader::new(from).lines();
    let verdicts = tasks.iter().map(|(schema, entities)| {
        let instances: Vec<&Json> = entities.iter().map(|[.., simplified]| simplified).collect();
        writeln!(to, "{}", json!({"schema": schema, "instances": instances})).unwrap();
        serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap()
    });
    let verdicts = verdicts.collect();
    drop(to);
    assert!(python.wait().unwrap().success());
    verdicts
}

#[test]
fn verdicts_of_generated_entities_are_those_of_an_independent_implementation_in_each_representation() {
    let mut rng = StdRng::seed_from_u64(0x6d69_6d32);
    let tasks: Vec<_> = (0..MODELS)
        .map(|_| {
            let schema = entity_schema(&mut rng);
            let parts = Parts::of(&schema);
            let entities = (0..ENTITIES).map(|_| entity(&mut rng, &parts));
            let entities = entities.collect::<Vec<_>>();
            (schema, entities)
        })
        .collect();
    let mut counts = [0, 0];
    for ((schema, entities), expected) in tasks.iter().zip(oracle(&tasks)) {
        let mut arena = Arena::default();
        let source = Source {
            schema,
            uri: "https://models.example/T/schema.json",
            level: Level::Entity,
            type_name: Some("T"),
            formats: false,
        };
        let root = compile(&mut arena, source, &Arc::default()).unwrap();
        for (entity, expected) in entities.iter().zip(expected) {
            counts[usize::from(expected)] += 1;
            let forms = [
                Representation::Full,
                Representation::Full,
                Representation::Simplified,
            ];
            for (document, representation) in entity.iter().zip(forms) {
                let text = document.to_string();
                let mut scratch = Scratch::default();
                let tape = Tape::parse(text.as_bytes(), &mut scratch).unwrap();
                let reading = Reading {
                    representation,
                    ..SIMPLE
                };
                let found = check(&arena, root, tape.root(), reading);
                assert_eq!(found.is_ok(), expected, "{schema}\n{document}\n{found:?}");
                // What is wrong is told.
                assert!(found.is_ok() || found.is_err_and(|lines| !lines.is_empty()));
            }
        }
    }
    assert_eq!(counts[0] + counts[1], MODELS * ENTITIES);
    assert!(
        counts.iter().all(|count| *count > 1_000),
        "wrong and right ones: {counts:?}"
    );
}
