//! The models of a city, asked by what the names in a document mean.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use mim_grammar::context::Context;
use mim_grammar::context::compile::Terms;
use mim_grammar::json::Json as Document;
use mim_validator::set::{Door, Fault, ModelPart, Part, Set};
use mim_validator::tape::{Scratch, Tape};
use mim_validator::{Extent, Representation};
use serde_json::{Value as Json, json};
use std::sync::Arc;

const CONTEXT: &str = "https://models.example/context.jsonld";

fn model(name: &str, schema: Json) -> ModelPart {
    ModelPart {
        type_iri: format!("https://models.example/{name}"),
        name: name.to_owned(),
        version: "1.0".to_owned(),
        uri: format!("https://models.example/{name}/schema.json"),
        schema,
        contexts: vec![CONTEXT.to_owned()],
    }
}

fn part(models: Vec<ModelPart>) -> Part {
    let context = json!({"@context": {
        "m": "https://models.example/",
        "Air": "m:Air",
        "no2": "m:no2",
        "street": "m:street",
        "address": "m:address",
    }});
    Part {
        models,
        contexts: [(CONTEXT.to_owned(), context)].into(),
        ..Part::default()
    }
}

fn air() -> Part {
    part(vec![model(
        "Air",
        json!({
            "properties": {
                "type": {"const": "Air"},
                "no2": {"type": "number", "minimum": 0},
                "address": {"type": "object", "properties": {"street": {"type": "string"}}},
                "pm10": {"type": "number"},
            },
            "required": ["no2"],
        }),
    )])
}

/// What a client's context says.
fn context(terms: &Json) -> Arc<Context> {
    let document = Document::parse(terms.to_string().as_bytes()).unwrap();
    let Document::Object(members) = document else {
        panic!("an object");
    };
    let mut compiled = Terms::default();
    compiled.add(&members).unwrap();
    Arc::new(Context::new(compiled.iris, &compiled.prefixes, None))
}

/// The violations of an entity, and its types without a model.
fn judged(part: &Part, terms: &Json, entity: &Json) -> (Vec<String>, Vec<String>) {
    let (set, faults) = Set::compile(part);
    assert_eq!(faults, []);
    let door = Door::new(Arc::new(set), context(terms));
    let text = entity.to_string();
    let mut scratch = Scratch::default();
    let tape = Tape::parse(text.as_bytes(), &mut scratch).unwrap();
    let types = door.types(&tape.root());
    let wrong = door.judge(tape.root(), &types, Representation::Full, Extent::Whole);
    let lines = wrong.iter().flat_map(|wrong| {
        let of_model = |violation| format!("{} {}: {violation}", wrong.model.name, wrong.model.version);
        wrong.violations.iter().map(of_model)
    });
    let unknown = door.unknown(&types).into_iter().map(str::to_owned).collect();
    (lines.collect(), unknown)
}

#[test]
fn row_gateway_a_context_that_renames_a_type_or_an_attribute_does_not_slip_past_a_model() {
    let own = json!({"Air": "https://models.example/Air", "no2": "https://models.example/no2"});
    let other = json!({"Luft": "https://models.example/Air", "stickstoff": "https://models.example/no2"});
    let prefix = json!({"x": "https://models.example/"});
    let swapped = json!({"Air": "https://models.example/Air", "no2": "https://other.example/no2",
        "n": "https://models.example/no2"});
    for (terms, entity, pointer) in [
        (&own, json!({"type": "Air", "no2": -1}), "/no2"),
        (
            &other,
            json!({"type": "Luft", "stickstoff": {"type": "Property", "value": -1}}),
            "/stickstoff/value",
        ),
        (&prefix, json!({"type": "x:Air", "x:no2": -1}), "/x:no2"),
        (
            &own,
            json!({"type": "https://models.example/Air", "https://models.example/no2": -1}),
            "/https:~1~1models.example~1no2",
        ),
        (
            &own,
            json!({"type": ["https://else.example/Thing", "Air"], "no2": -1}),
            "/no2",
        ),
        (&swapped, json!({"type": "Air", "no2": "free", "n": -1}), "/n"),
        (&own, json!({"type": "Air", "no2": -1, "@context": []}), "/no2"),
    ] {
        let (lines, _) = judged(&air(), terms, &entity);
        assert_eq!(
            lines,
            [format!("Air 1.0: {pointer}: it is at least 0, not -1")],
            "{terms} {entity}"
        );
    }
}

#[test]
fn row_gateway_two_names_of_one_meaning_are_refused_and_stand_for_nothing_else() {
    let terms = json!({"Air": "https://models.example/Air", "no2": "https://models.example/no2",
        "n": "https://models.example/no2", "address": "https://models.example/address",
        "s": "https://models.example/street", "street": "https://models.example/street"});
    let twice = json!({"type": "Air", "no2": 1, "n": 2});
    let (lines, _) = judged(&air(), &terms, &twice);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("its members mean different things"),
        "{lines:?}"
    );
    let within =
        json!({"type": "Air", "no2": 1, "address": {"type": "Property", "value": {"s": "a", "street": "b"}}});
    let (lines, _) = judged(&air(), &terms, &within);
    assert!(
        lines[0].starts_with("Air 1.0: /address/value: its members mean different things"),
        "{lines:?}"
    );
}

#[test]
fn names_inside_values_count_by_their_meaning_and_those_inside_json_do_not() {
    let terms = json!({"Air": "https://models.example/Air", "no2": "https://models.example/no2",
        "address": "https://models.example/address", "s": "https://models.example/street"});
    let entity = |address: Json| json!({"type": "Air", "no2": 1, "address": address});
    let (lines, _) = judged(
        &air(),
        &terms,
        &entity(json!({"type": "Property", "value": {"s": 5}})),
    );
    assert_eq!(lines, ["Air 1.0: /address/value/s: it is a text, not 5"]);
    // What is no term of the context means something in the default vocabulary.
    let (lines, _) = judged(
        &air(),
        &terms,
        &entity(json!({"type": "Property", "value": {"street": 5}})),
    );
    assert_eq!(lines, [""; 0]);
}

#[test]
fn types_without_a_model_are_told() {
    let terms = json!({"Air": "https://models.example/Air"});
    let (lines, unknown) = judged(
        &air(),
        &terms,
        &json!({"type": ["Air", "Park"], "https://models.example/no2": 1}),
    );
    assert_eq!(lines, [""; 0]);
    assert_eq!(unknown, ["https://uri.etsi.org/ngsi-ld/default-context/Park"]);
}

#[test]
fn a_model_that_is_wrong_is_told_and_the_others_are_in_force() {
    let mut part = part(vec![
        model("Good", json!({"properties": {"no2": {"type": "number"}}})),
        model("Broken", json!({"properties": {"no2": {"type": "word"}}})),
        model("Twice", json!({})),
        ModelPart {
            name: "Again".to_owned(),
            ..model("Twice", json!({}))
        },
        ModelPart {
            contexts: vec!["https://models.example/none.jsonld".to_owned()],
            ..model("Lost", json!({}))
        },
        ModelPart {
            contexts: vec!["https://models.example/remote.jsonld".to_owned()],
            ..model("Remote", json!({}))
        },
    ]);
    let remote = json!({"@context": ["https://else.example/context.jsonld"]});
    part.contexts
        .insert("https://models.example/remote.jsonld".to_owned(), remote);
    let (set, faults) = Set::compile(&part);
    assert_eq!(set.len(), 1);
    assert!(set.model("https://models.example/Good").is_some());
    let told: Vec<(usize, String)> = faults
        .iter()
        .map(|(place, fault)| (*place, fault.to_string()))
        .collect();
    assert_eq!(told[0], (1, "#/properties/no2/type: it is one or more of null, boolean, number, integer, string, array and object".to_owned()));
    assert!(
        told[1].1.contains("as is Again") && told[2].1.contains("as is Twice"),
        "{told:?}"
    );
    assert_eq!(
        told[3],
        (
            4,
            "context https://models.example/none.jsonld: it is not in the set".to_owned()
        )
    );
    assert!(
        told[4].1.contains("name that document as a context of the model"),
        "{told:?}"
    );
    assert!(matches!(faults[1].1, Fault::Twice { .. }));
    // It travels, and is the same when it arrives.
    let travelled: Part = serde_json::from_value(serde_json::to_value(&part).unwrap()).unwrap();
    assert_eq!(travelled, part);
}
