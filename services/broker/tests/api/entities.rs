use crate::support::Broker;
use serde_json::json;

const ROOM: &str = r#"{"id":"urn:ngsi-ld:Room:1","type":"Room","temperature":{"type":"Property","value":21.50,"unitCode":"CEL","observedAt":"2024-01-01T00:00:00Z"},"isIn":{"type":"Relationship","object":"urn:ngsi-ld:House:1"},"location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[8.5,47.3]}}}"#;

#[tokio::test]
async fn an_entity_is_created_and_retrieved_in_three_representations() {
    let broker = Broker::ready().await;
    let created = broker.post("/entities", ROOM).await;
    assert_eq!((created.status, created.text().as_str()), (201, ""));
    assert_eq!(
        created.header("location"),
        "/ngsi-ld/v1/entities/urn:ngsi-ld:Room:1"
    );
    let read = broker.get("/entities/urn:ngsi-ld:Room:1").await;
    assert_eq!(read.status, 200);
    assert!(
        read.text().contains("21.50"),
        "numbers come back as sent: {}",
        read.text()
    );
    assert_eq!(
        read.json(),
        serde_json::from_str::<serde_json::Value>(ROOM).unwrap()
    );
    assert_eq!(read.header("content-type"), "application/json");
    assert!(
        read.header("link")
            .starts_with("<https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld>")
    );
    let simple = broker
        .get("/entities/urn:ngsi-ld:Room:1?options=keyValues")
        .await
        .json();
    assert_eq!(
        simple,
        json!({"id":"urn:ngsi-ld:Room:1","type":"Room","temperature":21.5,"isIn":"urn:ngsi-ld:House:1","location":{"type":"Point","coordinates":[8.5,47.3]}})
    );
    let concise = broker
        .get("/entities/urn:ngsi-ld:Room:1?format=concise")
        .await
        .json();
    assert_eq!(
        concise,
        json!({"id":"urn:ngsi-ld:Room:1","type":"Room","temperature":{"value":21.5,"unitCode":"CEL","observedAt":"2024-01-01T00:00:00Z"},"isIn":{"object":"urn:ngsi-ld:House:1"},"location":{"type":"Point","coordinates":[8.5,47.3]}})
    );
    let again = broker.post("/entities", ROOM).await;
    assert_eq!((again.status, again.error().as_str()), (409, "AlreadyExists"));
}
