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

/// A rule of an embedded type, and the places where that type stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddedCases {
    places: Vec<Place>,
    rule: String,
    path: String,
    good: Vec<Value>,
    bad: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    path: String,
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

/// All cases: of all kinds, each of ContextBroker also as a platform's section, each of a shape that stands at two places at both, and
/// those of the schema alone.
pub fn all() -> Result<Vec<Case>, serde_yaml::Error> {
    let mut broker: Vec<RuleCases> =
        serde_yaml::from_str(include_str!("../tests/rules/context-broker.yaml"))?;
    let embedded: Vec<EmbeddedCases> = serde_yaml::from_str(include_str!("../tests/rules/selectors.yaml"))?;
    broker.extend(embedded.iter().flat_map(at_its_places));
    let twins: Vec<_> = broker.iter().filter_map(at_the_second_place).collect();
    broker.extend(twins);
    let platform: Vec<RuleCases> =
        serde_yaml::from_str(include_str!("../tests/rules/urban-data-platform.yaml"))?;
    let subscription: Vec<RuleCases> =
        serde_yaml::from_str(include_str!("../tests/rules/context-subscription.yaml"))?;
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
    for rule in &subscription {
        of_rule(&completed(rule), "ContextSubscription", &mut cases);
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

/// The rule with what every ContextSubscription needs, where a body does not say it itself.
fn completed(rule: &RuleCases) -> RuleCases {
    let complete = |spec: &Value| {
        let mut whole = json!({
            "brokerRef": {"name": "city"},
            "entities": [{"type": "Sensor"}],
            "notification": {"endpoint": {"url": "https://app.example.org/changes"}},
        });
        overlay(&mut whole, spec);
        whole
    };
    moved(rule, "", "", complete)
}

/// Lays one value over another, as a merge patch does: null removes.
fn overlay(whole: &mut Value, over: &Value) {
    let (Value::Object(members), Value::Object(over)) = (&mut *whole, over) else {
        *whole = over.clone();
        return;
    };
    for (name, value) in over {
        if value.is_null() {
            members.remove(name);
        } else {
            overlay(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn as_section(rule: &RuleCases, section: &str) -> RuleCases {
    moved(
        rule,
        "spec",
        &format!("spec.{section}"),
        |spec| json!({section: spec}),
    )
}

/// The rule where its shape stands a second time: the database's pod has the fields of the broker's, and where a broker may go is written
/// as who may come in.
fn at_the_second_place(rule: &RuleCases) -> Option<RuleCases> {
    if rule.path.starts_with("spec.podTemplate") || rule.path.starts_with("spec.resources") {
        let managed = |spec: &Value| json!({"storage": {"managed": spec}});
        Some(moved(rule, "spec", "spec.storage.managed", managed))
    } else if rule.path.starts_with("spec.network.clients[0]") {
        let egress =
            |spec: &Value| json!({"network": {"egress": [{"to": spec.pointer("/network/clients")}]}});
        Some(moved(
            rule,
            "spec.network.clients[0]",
            "spec.network.egress[0].to[0]",
            egress,
        ))
    } else {
        None
    }
}

fn moved(rule: &RuleCases, from: &str, to: &str, spec: impl Fn(&Value) -> Value) -> RuleCases {
    let bodies = |bodies: &[Body]| {
        bodies
            .iter()
            .map(|body| Body {
                name: body.name.clone(),
                old: body.old.as_ref().map(&spec),
                spec: spec(&body.spec),
            })
            .collect()
    };
    RuleCases {
        rule: rule.rule.clone(),
        path: rule.path.replacen(from, to, 1),
        good: bodies(&rule.good),
        bad: bodies(&rule.bad),
    }
}

fn at_its_places(cases: &EmbeddedCases) -> Vec<RuleCases> {
    let bodies = |place: &Place, bodies: &[Value]| {
        bodies
            .iter()
            .map(|body| Body {
                name: city(),
                old: None,
                spec: with(&place.spec, body),
            })
            .collect()
    };
    cases
        .places
        .iter()
        .map(|place| RuleCases {
            rule: cases.rule.clone(),
            path: format!("{}{}", place.path, cases.path),
            good: bodies(place, &cases.good),
            bad: bodies(place, &cases.bad),
        })
        .collect()
}

/// `spec` with the body in the place of the word `SELECTOR`.
fn with(spec: &Value, body: &Value) -> Value {
    match spec {
        Value::String(word) if word == "SELECTOR" => body.clone(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), with(field, body)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| with(item, body)).collect(),
        other => other.clone(),
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
            include_str!("../tests/rules/context-subscription.yaml"),
        ] {
            for rule in serde_yaml::from_str::<Vec<RuleCases>>(text).unwrap() {
                assert!(!rule.good.is_empty() && !rule.bad.is_empty(), "{}", rule.rule);
            }
        }
    }
}
