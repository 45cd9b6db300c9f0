//! Every CEL rule of every definition has an object that it lets in and one that it refuses, evaluated as in the operator's guard.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a wrong shape is a failed test"
)]

use std::collections::BTreeSet;

use mim_crds::{
    ContextBroker, ContextBrokerSpec, Storage,
    cases::{self, Expected},
    rules::{validate, validate_value},
};
use serde_json::Value;

#[test]
fn every_case_ends_as_it_says() {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for case in cases::all().unwrap() {
        let found = validate_value(&case.kind, &case.object, case.old.as_ref());
        let right = match &case.expected {
            Expected::Accepted => found.is_empty(),
            Expected::RefusedByRule { path, message } => {
                found.len() == 1 && found[0].path == *path && found[0].message.contains(message.as_str())
            }
            Expected::RefusedBySchema { .. } => continue,
        };
        tried += 1;
        if !right {
            wrong.push(format!(
                "{}\n    expected {:?}\n    found {found:?}",
                case.title, case.expected
            ));
        }
    }
    assert!(tried > 150, "only {tried} cases");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Every rule of a definition: the place that it names in a refusal, and its message.
fn rules(path: &str, schema: &Value, into: &mut BTreeSet<(String, String)>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let field = rule["fieldPath"].as_str().unwrap_or_default();
        let place = format!("{path}{field}");
        into.insert((
            place.trim_start_matches('.').to_owned(),
            rule["message"].as_str().unwrap().to_owned(),
        ));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        rules(&format!("{path}.{name}"), property, into);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            rules(&format!("{path}{mark}"), &schema[key], into);
        }
    }
}

/// A rule that stands at two places is two rules: one of them may have been lost where the schema is put together.
#[test]
fn every_rule_of_every_definition_has_a_case_at_its_place() {
    let cases = cases::all().unwrap();
    let mut lacking = Vec::new();
    for crd in mim_crds::all() {
        let kind = crd.spec.names.kind.clone();
        let crd = serde_json::to_value(crd).unwrap();
        let mut found = BTreeSet::new();
        rules(
            "",
            &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            &mut found,
        );
        assert!(found.len() > 10, "{kind}");
        for (place, rule) in found {
            let tried = cases.iter().any(|case| {
                case.kind == kind
                    && matches!(&case.expected, Expected::RefusedByRule { path, message }
                        if path.replace("[0]", "[]") == place && rule.contains(message.as_str()))
            });
            if !tried {
                lacking.push(format!("{kind} {place}: {rule}"));
            }
        }
    }
    assert!(
        lacking.is_empty(),
        "no case in tests/rules is refused by\n{}",
        lacking.join("\n")
    );
}

#[test]
fn a_typed_object_is_refused_in_the_same_words() {
    let spec = ContextBrokerSpec {
        storage: Some(Storage::default()),
        ..ContextBrokerSpec::default()
    };
    let found = validate(&ContextBroker::new("city", spec), None);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .to_string()
            .starts_with("spec.storage: write exactly one of"),
        "{}",
        found[0]
    );
}

#[test]
fn a_kind_that_is_not_ours_is_a_violation_and_no_silence() {
    assert_eq!(validate_value("Deployment", &Value::Null, None)[0].path, "kind");
}
