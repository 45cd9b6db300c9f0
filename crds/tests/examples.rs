//! The manifests that users copy: of known kinds, without unknown fields, and let in by every rule.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a wrong shape is a failed test"
)]

use std::{collections::BTreeMap, fs};

use mim_crds::{ContextBroker, ContextSubscription, UrbanDataPlatform, rules::validate_value};
use serde::Deserialize;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

fn examples() -> BTreeMap<String, (String, Vec<Value>)> {
    let mut examples = BTreeMap::new();
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let documents = serde_yaml::Deserializer::from_str(&text)
                .map(|document| Value::deserialize(document).unwrap())
                .collect();
            examples.insert(
                path.file_name().unwrap().to_string_lossy().into_owned(),
                (text, documents),
            );
        }
    }
    examples
}

/// Fields of `value` that the schema does not have; a map takes any key.
fn unknown(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let here = format!("{path}.{name}");
                let of = &schema["properties"][name];
                let map = &schema["additionalProperties"];
                match (of.is_object(), map.is_object()) {
                    (true, _) => unknown(of, field, &here, found),
                    (false, true) => unknown(map, field, &here, found),
                    (false, false) => found.push(here),
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| unknown(&schema["items"], item, path, found)),
        _ => {}
    }
}

#[test]
fn every_example_is_let_in_and_has_no_unknown_field() {
    let schemas: BTreeMap<_, _> = mim_crds::all()
        .into_iter()
        .map(|crd| {
            let crd = serde_json::to_value(crd).unwrap();
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
            (
                kind,
                crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
            )
        })
        .collect();
    let mut ours = 0;
    for (file, (_, documents)) in examples() {
        for document in documents {
            let kind = document["kind"].as_str().unwrap();
            let Some(schema) = schemas.get(kind) else {
                assert_eq!(document["apiVersion"], "v1", "{file}: {kind}");
                continue;
            };
            ours += 1;
            assert_eq!(document["apiVersion"], "mim.city/v1alpha1", "{file}");
            let mut found = Vec::new();
            unknown(
                &schema["properties"]["spec"],
                &document["spec"],
                "spec",
                &mut found,
            );
            assert!(found.is_empty(), "{file}: unknown {found:?}");
            assert_eq!(validate_value(kind, &document, None), [], "{file}");
            match kind {
                "ContextBroker" => drop(serde_json::from_value::<ContextBroker>(document.clone()).unwrap()),
                "ContextSubscription" => {
                    drop(serde_json::from_value::<ContextSubscription>(document.clone()).unwrap());
                }
                "UrbanDataPlatform" => {
                    drop(serde_json::from_value::<UrbanDataPlatform>(document.clone()).unwrap());
                }
                other => unreachable!("{file}: {other} is new: say here how it is read"),
            }
        }
    }
    assert!(ours >= 4);
}

#[test]
fn the_examples_of_the_readme_are_there_and_the_first_is_short() {
    let examples = examples();
    for name in [
        "minimal.yaml",
        "city.yaml",
        "external-broker.yaml",
        "multi-tenant.yaml",
        "subscription.yaml",
    ] {
        assert!(examples.contains_key(name), "{name}");
    }
    let (minimal, _) = &examples["minimal.yaml"];
    assert!(minimal.lines().count() <= 15);
    let (city, _) = &examples["city.yaml"];
    assert!(
        city.lines().filter(|line| line.contains('#')).count() >= 10,
        "city.yaml explains itself"
    );
}
