//! `?type=` on operations on one entity (clause 4.17): an entity of other types is not there.

use crate::support::Broker;
use serde_json::json;

const PATH: &str = "/entities/urn:ngsi-ld:Car:1";

async fn broker() -> Broker {
    let broker = Broker::ready().await;
    broker
        .create(r#"{"id":"urn:ngsi-ld:Car:1","type":["Car","Thing"],"speed":{"type":"Property","value":1}}"#)
        .await;
    broker
}

const OPERATIONS: [(&str, &str, Option<&str>); 9] = [
    ("GET", "", None),
    ("PATCH", "", Some(r#"{"speed":2}"#)),
    ("POST", "/attrs", Some(r#"{"speed":3}"#)),
    ("PATCH", "/attrs", Some(r#"{"speed":4}"#)),
    ("PATCH", "/attrs/speed", Some(r#"{"value":5}"#)),
    ("PUT", "/attrs/speed", Some(r#"{"value":6}"#)),
    ("PUT", "", Some(r#"{"type":["Car","Thing"],"speed":7}"#)),
    ("DELETE", "/attrs/speed", None),
    ("DELETE", "", None),
];

#[tokio::test]
async fn an_entity_of_other_types_is_not_found_and_not_changed() {
    let broker = broker().await;
    let before = broker.get(&format!("{PATH}?options=sysAttrs")).await.text();
    for (method, rest, body) in OPERATIONS {
        for types in ["Bus", "(Car;Bus)", "Bus,Van", "https%3A%2F%2Fschema.org%2FCar"] {
            let path = format!("{PATH}{rest}?type={types}");
            let answer = broker.send(method, &path, &[], body).await;
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (404, "ResourceNotFound"),
                "{method} {path}"
            );
        }
        for bad in ["", "1", "Car;;Thing", "(Car"] {
            let path = format!("{PATH}{rest}?type={bad}");
            let answer = broker.send(method, &path, &[], body).await;
            assert_eq!(answer.error(), "BadRequestData", "{method} {path}");
        }
    }
    assert_eq!(
        broker.get(&format!("{PATH}?options=sysAttrs")).await.text(),
        before
    );
}

#[tokio::test]
async fn an_entity_of_selected_types_is_read_and_changed() {
    let broker = broker().await;
    for (method, rest, body) in OPERATIONS {
        let path = format!("{PATH}{rest}?type=(Car;Thing)|Bus");
        let answer = broker.send(method, &path, &[], body).await;
        assert!(
            matches!(answer.status, 200 | 204),
            "{method} {path}: {}",
            answer.text()
        );
    }
    assert_eq!(broker.get(PATH).await.status, 404);
}

#[tokio::test]
async fn type_names_are_those_of_the_context_of_the_request() {
    let broker = broker().await;
    let body = json!({"@context": {"Auto": "https://uri.etsi.org/ngsi-ld/default-context/Car"}, "speed": 9});
    for (types, status) in [("Auto", 204), ("Wagen", 404)] {
        for (method, rest) in [("PATCH", ""), ("PATCH", "/attrs"), ("POST", "/attrs")] {
            let answer = broker
                .send(
                    method,
                    &format!("{PATH}{rest}?type={types}"),
                    &[("content-type", "application/ld+json")],
                    Some(&body.to_string()),
                )
                .await;
            assert_eq!(
                answer.status,
                status,
                "{method} {rest} {types}: {}",
                answer.text()
            );
        }
    }
}
