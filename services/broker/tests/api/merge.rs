//! `PATCH /entities/{id}` (clauses 5.6.17 and 6.5.3.4).

use crate::support::Broker;
use serde_json::{Value, json};

const PATH: &str = "/entities/urn:ngsi-ld:Building:1";

async fn broker() -> Broker {
    let broker = Broker::ready().await;
    let building = json!({
        "id": "urn:ngsi-ld:Building:1", "type": "Building", "scope": "/a",
        "air": {"type": "Property", "value": 4, "unitCode": "C62", "observedAt": "2020-09-09T16:40:00Z",
            "by": {"type": "Relationship", "object": "urn:a:1", "since": {"type": "Property", "value": 2020}}},
        "address": {"type": "Property", "value": {"street": "x", "city": "y", "geo": {"a": 1, "b": 2}}},
        "street": {"type": "LanguageProperty", "languageMap": {"fr": "Grand Place", "nl": "Grote Markt"}},
        "raw": {"type": "JsonProperty", "json": {"k": {"l": 1, "m": [1, 2]}}},
        "location": {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [8.5, 47.3]}}
    });
    broker.create(&building.to_string()).await;
    broker
}

async fn merge(broker: &Broker, query: &str, body: &Value) -> crate::support::Answer {
    let path = format!("{PATH}{query}");
    broker.send("PATCH", &path, &[], Some(&body.to_string())).await
}

async fn merged(broker: &Broker, query: &str, body: &Value) -> Value {
    let answer = merge(broker, query, body).await;
    assert_eq!((answer.status, answer.text().as_str()), (204, ""), "{body}");
    broker.get(PATH).await.json()
}

#[tokio::test]
async fn a_merge_goes_as_deep_as_what_is_sent_and_leaves_the_rest() {
    let broker = broker().await;
    let before = broker.get(PATH).await.json();
    let patch = json!({
        "id": "urn:ngsi-ld:Building:1", "type": "House", "scope": ["/b", "/c"],
        "air": {"type": "Property", "value": 1, "by": {"type": "Relationship", "since": {"type": "Property", "value": 2021}}},
        "address": {"type": "Property", "value": {"street": "z", "city": "urn:ngsi-ld:null", "geo": {"b": "urn:ngsi-ld:null", "c": 3}}},
        "street": {"type": "LanguageProperty", "languageMap": {"nl": "urn:ngsi-ld:null", "de": "Platz"}},
        "raw": {"type": "JsonProperty", "json": {"k": {"m": [3]}}},
        "name": {"type": "Property", "value": "new"}
    });
    let after = merged(&broker, "", &patch).await;
    assert_eq!(after["type"], json!(["Building", "House"]));
    assert_eq!(after["scope"], json!(["/b", "/c"]));
    assert_eq!(
        after["air"],
        json!({"type": "Property", "value": 1, "unitCode": "C62", "observedAt": "2020-09-09T16:40:00Z",
            "by": {"type": "Relationship", "object": "urn:a:1", "since": {"type": "Property", "value": 2021}}})
    );
    assert_eq!(
        after["address"]["value"],
        json!({"street": "z", "geo": {"a": 1, "c": 3}})
    );
    assert_eq!(
        after["street"]["languageMap"],
        json!({"fr": "Grand Place", "de": "Platz"})
    );
    assert_eq!(after["raw"]["json"], json!({"k": {"l": 1, "m": [3]}}));
    assert_eq!(after["name"]["value"], "new");
    assert_eq!(after["location"], before["location"]);
    assert_eq!(broker.ids("type=House").await, ["urn:ngsi-ld:Building:1"]);
    assert_eq!(broker.ids("q=name==%22new%22").await.len(), 1);
    let same = merged(
        &broker,
        "",
        &json!({"id": "urn:ngsi-ld:Building:1", "type": "Building"}),
    )
    .await;
    assert_eq!(same, after, "an entity without attributes merges nothing");
}

#[tokio::test]
async fn null_deletes_attributes_instances_and_their_members() {
    let broker = broker().await;
    broker
        .post(
            &format!("{PATH}/attrs"),
            r#"{"air":{"type":"Property","value":9,"datasetId":"urn:d:1"}}"#,
        )
        .await;
    let patch = json!({
        "air": [
            {"type": "Property", "unitCode": "urn:ngsi-ld:null", "observedAt": "urn:ngsi-ld:null", "by": "urn:ngsi-ld:null"},
            {"type": "Property", "value": "urn:ngsi-ld:null", "datasetId": "urn:d:1"}
        ],
        "street": {"type": "LanguageProperty", "languageMap": {"@none": "urn:ngsi-ld:null"}},
        "location": {"type": "GeoProperty", "value": "urn:ngsi-ld:null"},
        "raw": "urn:ngsi-ld:null",
        "scope": "urn:ngsi-ld:null",
        "unknown": "urn:ngsi-ld:null"
    });
    let after = merged(&broker, "", &patch).await;
    assert_eq!(after["air"], json!({"type": "Property", "value": 4}));
    let names: Vec<&String> = after.as_object().unwrap().keys().collect();
    assert_eq!(names, ["address", "air", "id", "type"]);
    let near = "type=Building&georel=near;maxDistance==9&geometry=Point&coordinates=[8.5,47.3]";
    assert!(broker.ids(near).await.is_empty(), "its place is no longer found");
    assert!(broker.ids("attrs=raw").await.is_empty());
}

#[tokio::test]
async fn simplified_values_keep_the_kind_that_is_there() {
    let broker = broker().await;
    let patch = json!({
        "air": 7, "address": {"street": "w", "type": "Postal"}, "street": "Platz", "location": {"type": "Point", "coordinates": [1, 2]},
        "raw": {"json": {"k": {"l": 2}}}
    });
    for query in [
        "?format=simplified&lang=de",
        "?options=keyValues&lang=de",
        "?format=keyValues&options=concise&lang=de",
    ] {
        let after = merged(&broker, query, &patch).await;
        assert_eq!(
            (&after["air"]["value"], &after["air"]["unitCode"]),
            (&json!(7), &json!("C62"))
        );
        assert_eq!(after["address"]["value"]["street"], "w");
        assert_eq!(
            (
                &after["address"]["value"]["type"],
                &after["address"]["value"]["city"]
            ),
            (&json!("Postal"), &json!("y"))
        );
        assert_eq!(
            after["street"]["languageMap"],
            json!({"fr": "Grand Place", "nl": "Grote Markt", "de": "Platz"})
        );
        assert_eq!(after["location"]["value"]["coordinates"], json!([1, 2]));
        assert_eq!(after["raw"]["json"], json!({"k": {"l": 2, "m": [1, 2]}}));
    }
    let shown = broker.get(&format!("{PATH}?format=simplified")).await.json();
    let before = broker.get(PATH).await.json();
    assert_eq!(
        merged(&broker, "?format=simplified", &shown).await,
        before,
        "what is shown merges into itself"
    );
    let other = merge(
        &broker,
        "?format=simplified",
        &json!({"air": {"languageMap": {"en": "x"}}}),
    )
    .await;
    assert_eq!(other.error(), "BadRequestData");
}

#[tokio::test]
async fn a_common_time_is_given_to_what_had_one() {
    let broker = broker().await;
    let time = "2024-05-05T00:00:00Z";
    let after = merged(
        &broker,
        &format!("?observedAt={time}"),
        &json!({"air": 5, "address": "x", "new": 1}),
    )
    .await;
    assert_eq!(after["air"]["observedAt"], time);
    assert!(after["address"].get("observedAt").is_none() && after["new"].get("observedAt").is_none());
}

#[tokio::test]
async fn the_context_of_the_body_names_what_is_merged() {
    let broker = broker().await;
    let body = json!({"@context": {"luft": "https://uri.etsi.org/ngsi-ld/default-context/air"}, "luft": {"value": 3}});
    let answer = broker
        .send(
            "PATCH",
            PATH,
            &[("content-type", "application/ld+json")],
            Some(&body.to_string()),
        )
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(broker.get(PATH).await.json()["air"]["value"], 3);
    let body = json!({"air": {"value": 2}});
    let answer = broker
        .send(
            "PATCH",
            PATH,
            &[("content-type", "application/merge-patch+json")],
            Some(&body.to_string()),
        )
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[tokio::test]
async fn a_merge_that_cannot_be_is_refused_and_changes_nothing() {
    let broker = broker().await;
    let before = broker.get(&format!("{PATH}?options=sysAttrs")).await.text();
    for (query, body, status, error) in [
        ("", json!({}), 400, "BadRequestData"),
        ("", json!([]), 400, "BadRequestData"),
        (
            "",
            json!({"id": "urn:ngsi-ld:Building:2", "air": 1}),
            400,
            "BadRequestData",
        ),
        ("", json!({"air": 5, "address": null}), 400, "BadRequestData"),
        (
            "",
            json!({"air": 5, "address": {"value": ["urn:ngsi-ld:null"]}}),
            400,
            "BadRequestData",
        ),
        ("", json!({"street": "which language"}), 400, "BadRequestData"),
        ("?observedAt=now", json!({"air": 5}), 400, "BadRequestData"),
        ("?lang=a%20b", json!({"air": 5}), 400, "BadRequestData"),
        ("?format=nonsense", json!({"air": 5}), 400, "InvalidRequest"),
        ("?options=noOverwrite", json!({"air": 5}), 400, "InvalidRequest"),
        ("?type=Car", json!({"air": 5}), 404, "ResourceNotFound"),
        ("?type=1", json!({"air": 5}), 400, "BadRequestData"),
    ] {
        let answer = merge(&broker, query, &body).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (status, error),
            "{query} {body}"
        );
    }
    let unknown = broker
        .send(
            "PATCH",
            "/entities/urn:ngsi-ld:Building:9",
            &[],
            Some(r#"{"air":5}"#),
        )
        .await;
    assert_eq!(unknown.error(), "ResourceNotFound");
    assert_eq!(
        broker
            .send("PATCH", "/entities/nouri", &[], Some(r#"{"air":5}"#))
            .await
            .error(),
        "BadRequestData"
    );
    assert_eq!(
        broker.send("PATCH", PATH, &[], Some("{")).await.error(),
        "InvalidRequest"
    );
    assert_eq!(
        broker.get(&format!("{PATH}?options=sysAttrs")).await.text(),
        before
    );
}

#[tokio::test]
async fn row_broker_concurrent_merges_of_two_replicas_lose_nothing() {
    let broker = broker().await;
    let other = Broker::start_with(broker.database.clone(), broker.config.clone());
    other.until_ready().await;
    let mut sent = Vec::new();
    for n in 0..40 {
        let replica = if n % 2 == 0 { &broker } else { &other };
        sent.push(
            async move { merge(replica, "", &json!({"address": {"value": {format!("m{n}"): n}}})).await },
        );
    }
    for answer in futures::future::join_all(sent).await {
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    let address = broker.get(PATH).await.json()["address"]["value"].clone();
    for n in 0..40 {
        assert_eq!(address[format!("m{n}")], n);
    }
    assert_eq!(address["city"], "y");
}
