//! Subscriptions and brokers for tests.

use mim_crds::ContextSubscription;
use mim_egress::Token;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Found, Wanted, body};
use crate::kinds::context_subscription::dereference::Secrets;
use crate::kinds::context_subscription::plan::Broker;

pub(crate) const ID: &str = "urn:ngsi-ld:Subscription:mim.city:city:air:u";

pub(crate) fn broker() -> Broker {
    Broker {
        name: "ContextBroker vienna".into(),
        endpoint: "https://broker.example.org/base".into(),
        subscriptions: Url::parse("https://broker.example.org/base/ngsi-ld/v1/subscriptions/").unwrap(),
        namespace: "city".into(),
        is_ours: false,
        token: Some(Token::new("token-not-to-be-told")),
        ca_pem: None,
    }
}

/// A ContextSubscription, of which the spec says what every one needs.
pub(crate) fn subscription(spec: &Value) -> ContextSubscription {
    let mut whole = json!({
        "brokerRef": {"name": "vienna"}, "entities": [{"type": "Sensor"}],
        "notification": {"endpoint": {"url": "https://app.example.org/changes"}},
    });
    merge(&mut whole, spec);
    let mut subscription = ContextSubscription::new("air", serde_json::from_value(whole).unwrap());
    subscription.metadata.generation = Some(1);
    assert_eq!(mim_crds::validate(&subscription, None), []);
    subscription
}

fn merge(whole: &mut Value, over: &Value) {
    match (&mut *whole, over) {
        (Value::Object(members), Value::Object(over)) => {
            for (name, value) in over {
                if value.is_null() {
                    members.remove(name);
                } else {
                    merge(members.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        _ => *whole = over.clone(),
    }
}

/// Secrets with one value each, of that version.
pub(crate) fn secrets(version: &str, values: &[(&str, &str, &str)]) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, key, value) in values {
        let of = ((*name).to_owned(), (*key).to_owned());
        secrets.values.insert(of, (*value).to_owned());
        secrets.versions.insert((*name).to_owned(), version.to_owned());
    }
    secrets
}

pub(crate) fn wanted_with(spec: &Value, secrets: &Secrets) -> Wanted {
    let subscription = subscription(spec);
    let coordinates = subscription
        .spec
        .geo_q
        .as_ref()
        .map_or(Value::Null, |geo| serde_json::from_str(&geo.coordinates).unwrap());
    Wanted {
        broker: broker(),
        tenant: Some("north".into()),
        id: ID.into(),
        body: Some(body::of(&subscription, ID, "city", &coordinates, secrets).unwrap()),
        expired: false,
    }
}

pub(crate) fn wanted(spec: &Value) -> Wanted {
    wanted_with(spec, &Secrets::default())
}

/// As a broker shows what it was sent, with what it adds.
pub(crate) fn shown(wanted: &Wanted, more: &Value) -> Found {
    let mut body = Value::Object(wanted.body.as_ref().unwrap().sent.clone());
    body["status"] = "active".into();
    body["createdAt"] = "2026-01-01T00:00:00Z".into();
    merge(&mut body, more);
    Found::read(members(body))
}

pub(crate) fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}
