//! From specs to NGSI-LD.

use serde_json::{Value, json};

use super::*;
use crate::kinds::context_subscription::remote::fixtures::{ID, members, secrets, subscription};

fn written(spec: &Value, secrets: &Secrets) -> Body {
    let subscription = subscription(spec);
    let coordinates = json!([16.37, 48.21]);
    of(&subscription, ID, "city", &coordinates, secrets).unwrap()
}

fn sent(spec: &Value) -> Value {
    Value::Object(written(spec, &Secrets::default()).sent)
}

#[test]
fn a_short_spec_is_a_short_subscription() {
    assert_eq!(
        sent(&json!({})),
        json!({
            "id": ID, "type": "Subscription", "subscriptionName": "city/air", "isActive": true,
            "entities": [{"type": "Sensor"}],
            "notification": {"endpoint": {"uri": "https://app.example.org/changes"}},
        })
    );
}

#[test]
fn every_field_is_written_in_the_words_and_units_of_the_standard() {
    let spec = json!({
        "mode": "Paused",
        "entities": [{"type": "A|B", "id": "urn:a:1"}, {"type": "A", "idPattern": "^urn:b"}],
        "watchedAttributes": ["no2", "https://example.org/pm10"],
        "notificationTrigger": ["EntityCreated", "AttributeDeleted"],
        "throttling": "PT1M30.5S",
        "q": "no2>40", "scopeQ": "/Vienna/#", "lang": "de,en;q=0.5",
        "datasetId": ["urn:d:1", "@none"], "localOnly": "Enabled", "description": "who breathes it",
        "geoQ": {"georel": "near;maxDistance==2000", "geometry": "Point", "coordinates": "[16.37,48.21]", "geoproperty": "place"},
        "expiresAt": "2030-01-02T03:04:05.678Z",
        "jsonldContext": "https://example.org/context.jsonld",
        "notification": {
            "pick": ["id", "no2"], "omit": ["pm10"], "format": "Simplified", "sysAttrs": "Enabled", "showChanges": "Disabled",
            "join": "Inline", "joinLevel": 2,
            "endpoint": {
                "url": null, "serviceRef": {"name": "mosquitto", "port": 1883, "scheme": "Mqtt", "path": "/city/air"},
                "accept": "JsonLd", "timeout": "PT5S", "cooldown": "PT0.25S",
                "headers": [{"name": "X-City", "value": "vienna"}],
                "notifierInfo": [{"key": "MQTT-QoS", "value": "1"}],
            },
        },
    });
    assert_eq!(
        sent(&spec),
        json!({
            "id": ID, "type": "Subscription", "subscriptionName": "city/air", "isActive": false,
            "entities": [{"type": "A|B", "id": "urn:a:1"}, {"type": "A", "idPattern": "^urn:b"}],
            "watchedAttributes": ["no2", "https://example.org/pm10"],
            "notificationTrigger": ["entityCreated", "attributeDeleted"],
            "throttling": 90.5,
            "q": "no2>40", "scopeQ": "/Vienna/#", "lang": "de,en;q=0.5",
            "datasetId": ["urn:d:1", "@none"], "localOnly": true, "description": "who breathes it",
            "geoQ": {"georel": "near;maxDistance==2000", "geometry": "Point", "coordinates": [16.37, 48.21], "geoproperty": "place"},
            "expiresAt": "2030-01-02T03:04:05Z",
            "jsonldContext": "https://example.org/context.jsonld",
            "notification": {
                "pick": ["id", "no2"], "omit": ["pm10"], "format": "keyValues", "sysAttrs": true,
                "join": "inline", "joinLevel": 2,
                "endpoint": {
                    "uri": "mqtt://mosquitto.city.svc:1883/city/air", "accept": "application/ld+json", "timeout": 5000, "cooldown": 250,
                    "receiverInfo": [{"key": "X-City", "value": "vienna"}],
                    "notifierInfo": [{"key": "MQTT-QoS", "value": "1"}],
                },
            },
        })
    );
    let every = json!({"timeInterval": "PT5M"});
    assert_eq!(
        sent(&every)["timeInterval"],
        json!(300),
        "whole seconds are whole numbers"
    );
}

/// A spec with a header and MQTT credentials from Secrets.
fn secret_spec() -> Value {
    json!({"notification": {"endpoint": {
        "url": "mqtts://mqtt.example.org/city", "credentialsSecretRef": {"name": "mqtt"},
        "headers": [{"name": "Authorization", "secretKeyRef": {"name": "app", "key": "token"}}],
    }}})
}

const VALUES: [(&str, &str, &str); 3] = [
    ("app", "token", " Bearer 4711\n"),
    ("mqtt", "username", "city"),
    ("mqtt", "password", "p@ss/w:rd"),
];

#[test]
fn values_of_secrets_are_sent_and_stand_in_no_digest() {
    let body = written(&secret_spec(), &secrets("1", &VALUES));
    let endpoint = &body.sent["notification"]["endpoint"];
    assert_eq!(
        endpoint["uri"],
        "mqtts://city:p%40ss%2Fw%3Ard@mqtt.example.org/city"
    );
    assert_eq!(
        endpoint["receiverInfo"],
        json!([{"key": "Authorization", "value": "Bearer 4711"}])
    );
    let others = VALUES.map(|(name, key, _)| (name, key, "another"));
    let same_version = written(&secret_spec(), &secrets("1", &others));
    assert_eq!(
        body.digest, same_version.digest,
        "it follows from the version alone"
    );
    let next_version = written(&secret_spec(), &secrets("2", &VALUES));
    assert_ne!(
        body.digest, next_version.digest,
        "a changed Secret is written again"
    );
}

#[test]
fn another_spec_is_another_digest_and_the_same_spec_the_same() {
    let digest = |spec: Value| written(&spec, &Secrets::default()).digest;
    assert_eq!(digest(json!({})), digest(json!({})));
    for spec in [
        json!({"mode": "Paused"}),
        json!({"q": "a>1"}),
        json!({"notification": {"format": "Concise"}}),
        json!({"notification": {"endpoint": {"headers": [{"name": "a", "value": "b"}]}}}),
    ] {
        assert_ne!(digest(spec.clone()), digest(json!({})), "{spec}");
    }
}

#[test]
fn a_moment_ends_in_z_and_has_no_fraction() {
    for (text, expected) in [
        ("2030-01-02T03:04:05+02:00", "2030-01-02T01:04:05Z"),
        ("2030-01-02T03:04:05.999999999Z", "2030-01-02T03:04:05Z"),
    ] {
        assert_eq!(moment(text.parse().unwrap()), expected);
    }
    assert_eq!(seconds(1), json!(0.001));
    assert_eq!(members(json!({})).len(), 0);
}
