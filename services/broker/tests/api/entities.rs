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

#[tokio::test]
async fn replace_keeps_the_age_and_loses_what_is_not_sent() {
    let broker = Broker::ready().await;
    broker.create(ROOM).await;
    let path = "/entities/urn:ngsi-ld:Room:1";
    let before = broker.get(&format!("{path}?options=sysAttrs")).await.json();
    let body = r#"{"id":"urn:ngsi-ld:Room:1","type":["Room","Hall"],"temperature":{"type":"Property","value":5},"scope":["/a/b"]}"#;
    assert_eq!(broker.send("PUT", path, &[], Some(body)).await.status, 204);
    let after = broker.get(&format!("{path}?options=sysAttrs")).await.json();
    assert_eq!(after["createdAt"], before["createdAt"]);
    assert_eq!(
        after["temperature"]["createdAt"],
        before["temperature"]["createdAt"]
    );
    assert!(after["modifiedAt"].as_str() > before["modifiedAt"].as_str());
    assert_eq!(after["temperature"]["modifiedAt"], after["modifiedAt"]);
    assert_eq!(
        (&after["type"], &after["scope"], &after["isIn"]),
        (&json!(["Room", "Hall"]), &json!("/a/b"), &json!(null))
    );
    assert_eq!(broker.ids("type=Hall").await, ["urn:ngsi-ld:Room:1"]);
    assert!(
        broker
            .ids("type=Room&georel=near;maxDistance==100&geometry=Point&coordinates=[8.5,47.3]")
            .await
            .is_empty()
    );
    let other = body.replace("Room:1", "Room:2");
    assert_eq!(
        broker.send("PUT", path, &[], Some(&other)).await.error(),
        "BadRequestData"
    );
    assert_eq!(
        broker
            .send(
                "PUT",
                "/entities/urn:ngsi-ld:Room:9",
                &[],
                Some(&body.replace("Room:1", "Room:9"))
            )
            .await
            .error(),
        "ResourceNotFound"
    );
}

#[tokio::test]
async fn a_deleted_entity_is_gone_from_every_query() {
    let broker = Broker::ready().await;
    broker.create(ROOM).await;
    let path = "/entities/urn:ngsi-ld:Room:1";
    let deleted = broker.send("DELETE", path, &[], None).await;
    assert_eq!((deleted.status, deleted.header("content-length")), (204, ""));
    assert_eq!(broker.get(path).await.error(), "ResourceNotFound");
    assert_eq!(
        broker.send("DELETE", path, &[], None).await.error(),
        "ResourceNotFound"
    );
    assert!(broker.ids("type=Room").await.is_empty());
    assert!(broker.ids("attrs=temperature").await.is_empty());
    for table in ["entities", "entity_types", "entity_geometries"] {
        assert_eq!(
            broker.database.psql(&format!("select count(*) from mim.{table}")),
            "0"
        );
    }
}

#[tokio::test]
async fn every_kind_of_attribute_goes_round() {
    let broker = Broker::ready().await;
    let sent = json!({
        "id": "urn:ngsi-ld:All:1", "type": "All",
        "text": {"type": "Property", "value": "Grüße \u{1f600} \"'; --"},
        "struct": {"type": "Property", "value": {"a b": [1, 2.50, {"type": "x"}], "empty": {}, "nothing": null}},
        "when": {"type": "Property", "value": {"@type": "DateTime", "@value": "2024-01-01T00:00:00Z"}},
        "area": {"type": "GeoProperty", "value": {"type": "Polygon", "coordinates": [[[0,0],[1,1],[1,0],[0,1],[0,0]]]}},
        "several": {"type": "Relationship", "object": ["urn:a:1", "urn:a:2"], "objectType": "Thing"},
        "label": {"type": "LanguageProperty", "languageMap": {"en": "door", "fr": ["porte"], "@none": "x"}},
        "kindOf": {"type": "VocabProperty", "vocab": ["door", "https://schema.org/x"]},
        "raw": {"type": "JsonProperty", "json": {"https://not.expanded/": [null, 1]}},
        "steps": {"type": "ListProperty", "valueList": [1, "a", {"b": 2}]},
        "stops": {"type": "ListRelationship", "objectList": [{"object": "urn:a:1"}, {"object": "urn:a:2"}]},
        "deep": {"type": "Property", "value": 1, "sub": {"type": "Property", "value": 2, "subsub": {"type": "Relationship", "object": "urn:a:1"}}},
        "multi": [{"type": "Property", "value": 1}, {"type": "Property", "value": 2, "datasetId": "urn:d:2"}]
    });
    broker.create(&sent.to_string()).await;
    assert_eq!(broker.get("/entities/urn:ngsi-ld:All:1").await.json(), sent);
    let concise = broker
        .get("/entities/urn:ngsi-ld:All:1?options=concise")
        .await
        .text();
    assert_eq!(
        broker
            .send("PUT", "/entities/urn:ngsi-ld:All:1", &[], Some(&concise))
            .await
            .status,
        204
    );
    assert_eq!(
        broker.get("/entities/urn:ngsi-ld:All:1").await.json(),
        sent,
        "concise says the same: {concise}"
    );
    let simple = broker
        .get("/entities/urn:ngsi-ld:All:1?format=simplified")
        .await
        .json();
    assert_eq!(simple["multi"], json!({"dataset": {"@none": 1, "urn:d:2": 2}}));
    assert_eq!(simple["stops"], json!(["urn:a:1", "urn:a:2"]));
    assert_eq!(simple["label"]["languageMap"]["en"], "door");
    assert_eq!(
        (
            &simple["kindOf"]["vocab"][0],
            &simple["raw"]["json"]["https://not.expanded/"][1]
        ),
        (&json!("door"), &json!(1))
    );
}

#[tokio::test]
async fn media_types_decide_where_the_context_is() {
    let broker = Broker::ready().await;
    broker.create(ROOM).await;
    let core = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld";
    for path in ["/entities/urn:ngsi-ld:Room:1", "/entities?type=Room"] {
        let ld = broker
            .send("GET", path, &[("accept", "application/ld+json")], None)
            .await;
        let json = ld.json();
        let one = json.get(0).unwrap_or(&json);
        assert_eq!((ld.header("link"), one["@context"].as_str()), ("", Some(core)));
        let geo = broker
            .send("GET", path, &[("accept", "application/geo+json")], None)
            .await;
        assert_eq!(geo.header("content-type"), "application/geo+json");
        let json = geo.json();
        let feature = json["features"].get(0).unwrap_or(&json);
        assert_eq!(
            (feature["type"].as_str(), feature["geometry"]["type"].as_str()),
            (Some("Feature"), Some("Point"))
        );
        assert_eq!(
            (
                &feature["properties"]["type"],
                &feature["properties"]["temperature"]["unitCode"]
            ),
            (&json!("Room"), &json!("CEL"))
        );
        assert_eq!(json["@context"], core);
        let plain = broker
            .send(
                "GET",
                path,
                &[("accept", "application/geo+json"), ("prefer", "body=json")],
                None,
            )
            .await;
        assert!(plain.json().get("@context").is_none() && plain.header("link").contains(core));
    }
    let none = broker
        .send(
            "GET",
            "/entities/urn:ngsi-ld:Room:1",
            &[("accept", "text/html")],
            None,
        )
        .await;
    assert_eq!((none.status, none.error().as_str()), (406, "InvalidRequest"));
    assert_eq!(
        broker
            .send("GET", "/types", &[("accept", "application/geo+json")], None)
            .await
            .status,
        406
    );
}

#[tokio::test]
async fn attrs_and_type_narrow_a_retrieval() {
    let broker = Broker::ready().await;
    broker.create(ROOM).await;
    let path = "/entities/urn:ngsi-ld:Room:1";
    let some = broker.get(&format!("{path}?attrs=temperature,none")).await.json();
    assert!(some["temperature"].is_object() && some["isIn"].is_null());
    assert_eq!(
        broker.get(&format!("{path}?attrs=none")).await.error(),
        "ResourceNotFound"
    );
    assert_eq!(broker.get(&format!("{path}?type=Room")).await.status, 200);
    assert_eq!(
        broker.get(&format!("{path}?type=Car")).await.error(),
        "ResourceNotFound"
    );
}
