//! Objects that the rules let in or refuse, for the tests of this crate and for those against a real API server.

use serde::Deserialize;
use serde_json::{Value, json};

/// What a case expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The object is let in.
    Accepted,
    /// A CEL rule refuses it at `path`, with a message that holds `message`.
    RefusedByRule {
        /// Path of the field, as in the operator's own words: `spec.storage`; empty for the object itself.
        path: String,
        /// Part of the message.
        message: String,
    },
    /// The schema alone refuses it, and the API server names `path`.
    RefusedBySchema {
        /// Path of the field as the API server writes it.
        path: String,
    },
}

/// One object, and one before it if the case is an update.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is tried, for the message of a failed test.
    pub title: String,
    /// Kind of the object.
    pub kind: String,
    /// What is there before: create it first, then update it to `object`.
    pub old: Option<Value>,
    /// The object.
    pub object: Value,
    /// What happens.
    pub expected: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleCases {
    rule: String,
    path: String,
    good: Vec<Body>,
    bad: Vec<Body>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default = "city")]
    name: String,
    old: Option<Value>,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaCase {
    kind: String,
    path: String,
    spec: Value,
}

fn city() -> String {
    "city".to_owned()
}

/// All cases: of both kinds, each of ContextBroker also as a platform's section, and those of the schema alone.
pub fn all() -> Result<Vec<Case>, serde_yaml::Error> {
    let broker: Vec<RuleCases> = serde_yaml::from_str(include_str!("../tests/rules/context-broker.yaml"))?;
    let platform: Vec<RuleCases> =
        serde_yaml::from_str(include_str!("../tests/rules/urban-data-platform.yaml"))?;
    let schema: Vec<SchemaCase> = serde_yaml::from_str(include_str!("../tests/rules/schema.yaml"))?;
    let mut cases = Vec::new();
    for rule in &broker {
        of_rule(rule, "ContextBroker", &mut cases);
        if !rule.path.is_empty() {
            of_rule(&as_section(rule, "broker"), "UrbanDataPlatform", &mut cases);
        }
    }
    for rule in &platform {
        of_rule(rule, "UrbanDataPlatform", &mut cases);
    }
    for case in schema {
        cases.push(Case {
            title: format!("{}: {} {}", case.kind, case.path, case.spec),
            object: object(&case.kind, "city", &case.spec),
            old: None,
            expected: Expected::RefusedBySchema { path: case.path },
            kind: case.kind,
        });
    }
    Ok(cases)
}

fn of_rule(rule: &RuleCases, kind: &str, cases: &mut Vec<Case>) {
    let refused = Expected::RefusedByRule {
        path: rule.path.clone(),
        message: rule.rule.clone(),
    };
    for (bodies, expected) in [(&rule.good, Expected::Accepted), (&rule.bad, refused)] {
        for body in bodies {
            cases.push(Case {
                title: format!("{kind} {} {} ({})", body.name, body.spec, rule.rule),
                kind: kind.to_owned(),
                old: body.old.as_ref().map(|spec| object(kind, &body.name, spec)),
                object: object(kind, &body.name, &body.spec),
                expected: expected.clone(),
            });
        }
    }
}

fn as_section(rule: &RuleCases, section: &str) -> RuleCases {
    let wrap = |bodies: &[Body]| {
        bodies
            .iter()
            .map(|body| Body {
                name: body.name.clone(),
                old: body.old.as_ref().map(|spec| json!({section: spec})),
                spec: json!({section: body.spec}),
            })
            .collect()
    };
    RuleCases {
        rule: rule.rule.clone(),
        path: rule.path.replacen("spec", &format!("spec.{section}"), 1),
        good: wrap(&rule.good),
        bad: wrap(&rule.bad),
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{}/{}", crate::GROUP, crate::VERSION),
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_both_good_and_bad_objects() {
        for text in [
            include_str!("../tests/rules/context-broker.yaml"),
            include_str!("../tests/rules/urban-data-platform.yaml"),
        ] {
            for rule in serde_yaml::from_str::<Vec<RuleCases>>(text).unwrap() {
                assert!(!rule.good.is_empty() && !rule.bad.is_empty(), "{}", rule.rule);
            }
        }
    }
}
