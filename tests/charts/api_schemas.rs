//! The API server's OpenAPI document, cut into one JSON schema per kind, as kubeconform reads them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

const REFERENCE: &str = "#/definitions/";

/// Writes `schemas/<kind>-<group>-<version>.json` into `folder`, strict: an unknown field is an error.
pub fn write(openapi: &Value, folder: &Path) {
    let folder = folder.join("schemas");
    fs::create_dir_all(&folder).unwrap();
    let definitions = strict(openapi["definitions"].as_object().unwrap());
    let mut written = 0;
    for (name, definition) in &definitions {
        for kind in definition["x-kubernetes-group-version-kind"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let group = kind["group"].as_str().unwrap();
            let group = group
                .split('.')
                .next()
                .filter(|group| !group.is_empty())
                .map_or(String::new(), |group| format!("-{group}"));
            let file = format!(
                "{}{group}-{}.json",
                kind["kind"].as_str().unwrap(),
                kind["version"].as_str().unwrap()
            )
            .to_lowercase();
            let mut needed = BTreeSet::new();
            collect(&definitions, name, &mut needed);
            let used: Map<_, _> = needed
                .iter()
                .map(|name| (name.clone(), definitions[name].clone()))
                .collect();
            let schema = json!({"$ref": format!("{REFERENCE}{name}"), "definitions": used});
            fs::write(folder.join(file), schema.to_string()).unwrap();
            written += 1;
        }
    }
    assert!(written > 50, "the OpenAPI document has only {written} kinds");
}

fn collect(definitions: &Map<String, Value>, name: &str, needed: &mut BTreeSet<String>) {
    if needed.insert(name.to_owned()) {
        references(&definitions[name], &mut |name| collect(definitions, name, needed));
    }
}

fn references(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(members) => {
            if let Some(name) = members
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|name| name.strip_prefix(REFERENCE))
            {
                visit(name);
            }
            members.values().for_each(|value| references(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, visit)),
        _ => {}
    }
}

/// OpenAPI v2 cannot say "integer or string", and says nothing of unknown fields.
fn strict(definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut strict = definitions.clone();
    for (name, definition) in &mut strict {
        let Value::Object(members) = definition else {
            continue;
        };
        if name.ends_with(".IntOrString") || name.ends_with(".Quantity") {
            members.remove("type");
            members.insert(
                "anyOf".to_owned(),
                json!([{"type": "string"}, {"type": "number"}]),
            );
        }
        if members.contains_key("properties") && !members.contains_key("additionalProperties") {
            members.insert("additionalProperties".to_owned(), json!(false));
        }
    }
    strict
}
