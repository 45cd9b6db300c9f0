//! What notifications show beside entities as they are: what was before, and what they link to.

use crate::support::{Broker, Receiver};
use serde_json::{Value, json};

async fn subscribe(broker: &Broker, id: &str, notification: Value, more: Value) {
    let mut body = json!({
        "id": id, "type": "Subscription", "entities": [{"type": "T"}], "notification": notification
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let answer = broker.post("/subscriptions", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn send(broker: &Broker, method: &str, path: &str, body: Option<&str>) {
    let answer = broker.send(method, path, &[], body).await;
    assert!(
        (200..300).contains(&answer.status),
        "{method} {path}: {}",
        answer.text()
    );
}

const TRIGGERS: [&str; 4] = [
    "entityCreated",
    "attributeUpdated",
    "attributeDeleted",
    "entityDeleted",
];

const ALL_KINDS: &str = r#"{"id":"urn:x:1","type":"T","same":1,
    "n":{"value":5,"unitCode":"CEL"},"place":{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,2]}},
    "r":{"object":"urn:y:1"},"l":{"languageMap":{"en":"a","de":"b"}},"v":{"vocab":"A"},"j":{"json":{"a":1}},
    "list":{"valueList":[1,2]},"links":{"objectList":["urn:y:1"]}}"#;
const ALL_ELSE: &str = r#"{"n":{"value":6},"place":{"type":"GeoProperty","value":{"type":"Point","coordinates":[3,4]}},
    "r":{"object":"urn:y:2"},"l":{"languageMap":{"en":"c"}},"v":{"vocab":"B"},"j":{"json":{"a":2}},
    "list":{"valueList":[3]},"links":{"objectList":["urn:y:2"]}}"#;

/// What was before of each, as `previous…` members.
fn previous() -> Value {
    json!({
        "n": {"previousValue": 5}, "place": {"previousValue": {"type": "Point", "coordinates": [1, 2]}},
        "r": {"previousObject": "urn:y:1"}, "l": {"previousLanguageMap": {"en": "a", "de": "b"}},
        "v": {"previousVocab": "A"}, "j": {"previousJson": {"a": 1}}, "list": {"previousValueList": [1, 2]},
        "links": {"previousObjectList": [{"object": "urn:y:1"}]}
    })
}

fn shown_previous(entity: &Value) -> Value {
    let mut found = json!({});
    for (name, attribute) in entity.as_object().unwrap() {
        let members = attribute.as_object().into_iter().flatten();
        let previous = members.filter(|(member, _)| member.starts_with("previous"));
        let previous: serde_json::Map<_, _> = previous.map(|(m, v)| (m.clone(), v.clone())).collect();
        if !previous.is_empty() {
            found[name] = previous.into();
        }
    }
    found
}

#[tokio::test]
async fn changes_are_shown_with_what_was_before_of_every_kind_of_attribute() {
    let broker = Broker::ready().await;
    let (normalized, concise, silent) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    let triggers = json!({"notificationTrigger": TRIGGERS});
    for (id, receiver, format) in [
        ("urn:s:1", &normalized, "normalized"),
        ("urn:s:2", &concise, "concise"),
    ] {
        let notification =
            json!({"format": format, "showChanges": true, "endpoint": {"uri": receiver.url()}});
        subscribe(&broker, id, notification, triggers.clone()).await;
    }
    subscribe(
        &broker,
        "urn:s:3",
        json!({"endpoint": {"uri": silent.url()}}),
        triggers.clone(),
    )
    .await;
    broker.create(ALL_KINDS).await;
    send(&broker, "PATCH", "/entities/urn:x:1/attrs", Some(ALL_ELSE)).await;
    send(&broker, "DELETE", "/entities/urn:x:1/attrs/n", None).await;
    send(&broker, "DELETE", "/entities/urn:x:1", None).await;
    for receiver in [&normalized, &concise] {
        let told = receiver.until(4).await;
        assert_eq!(shown_previous(&told[0]), json!({}), "nothing was before");
        assert_eq!(shown_previous(&told[1]), previous());
        assert_eq!(shown_previous(&told[2]), json!({"n": {"previousValue": 6}}));
        let gone = &told[3];
        assert!(gone["deletedAt"].is_string(), "{gone}");
        let mut before = previous();
        before["same"] = json!({"previousValue": 1});
        before.as_object_mut().unwrap().remove("n");
        assert_eq!(
            shown_previous(gone)
                .as_object()
                .unwrap()
                .keys()
                .collect::<Vec<_>>(),
            before.as_object().unwrap().keys().collect::<Vec<_>>()
        );
        assert_eq!(gone["l"]["languageMap"], json!({"@none": "urn:ngsi-ld:null"}));
    }
    let told = normalized.taken();
    assert_eq!(
        told[1]["n"],
        json!({"type": "Property", "value": 6, "previousValue": 5})
    );
    assert_eq!(
        told[2]["n"],
        json!({"type": "Property", "value": "urn:ngsi-ld:null", "previousValue": 6})
    );
    assert_eq!(
        told[3]["same"],
        json!({"type": "Property", "value": "urn:ngsi-ld:null", "previousValue": 1})
    );
    let told = concise.taken();
    assert_eq!(
        (&told[1]["n"], &told[1]["same"]),
        (&json!({"value": 6, "previousValue": 5}), &json!(1))
    );
    assert!(
        silent
            .until(4)
            .await
            .iter()
            .all(|entity| shown_previous(entity) == json!({}))
    );
}

#[tokio::test]
async fn what_was_before_is_shown_of_each_dataset_in_the_language_that_is_asked_for() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    let notification = json!({"showChanges": true, "endpoint": {"uri": receiver.url()}});
    subscribe(&broker, "urn:s:1", notification, json!({"lang": "de"})).await;
    broker
        .create(r#"{"id":"urn:x:1","type":"T","n":[{"value":1},{"value":2,"datasetId":"urn:d:1"}],"l":{"languageMap":{"en":"a","de":"b"}}}"#)
        .await;
    let change = r#"{"n":[{"value":1},{"value":3,"datasetId":"urn:d:1"}],"l":{"languageMap":{"de":"c"}}}"#;
    send(&broker, "PATCH", "/entities/urn:x:1/attrs", Some(change)).await;
    let told = &receiver.until(2).await[1];
    assert_eq!(
        told["n"],
        json!([{"type": "Property", "value": 1},
            {"type": "Property", "value": 3, "previousValue": 2, "datasetId": "urn:d:1"}])
    );
    assert_eq!(
        told["l"],
        json!({"type": "Property", "value": "c", "lang": "de", "previousValue": "b"})
    );
}

#[tokio::test]
async fn who_does_not_ask_what_is_gone_is_not_told_because_another_one_does() {
    let broker = Broker::ready().await;
    let (asking, other) = (Receiver::start().await, Receiver::start().await);
    let all = json!({"notificationTrigger": ["entityUpdated"]});
    subscribe(
        &broker,
        "urn:s:1",
        json!({"endpoint": {"uri": asking.url()}}),
        all,
    )
    .await;
    subscribe(
        &broker,
        "urn:s:2",
        json!({"endpoint": {"uri": other.url()}}),
        json!({}),
    )
    .await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    send(
        &broker,
        "PUT",
        "/entities/urn:x:1",
        Some(r#"{"id":"urn:x:1","type":"T","m":2}"#),
    )
    .await;
    let null = json!({"type": "Property", "value": "urn:ngsi-ld:null"});
    assert_eq!(asking.until(2).await[1]["n"], null);
    let told = &other.until(2).await[1];
    assert!(told["m"].is_object() && told["n"].is_null(), "{told}");
}

#[tokio::test]
async fn deleted_entities_are_features_where_features_are_asked_for() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    let endpoint = json!({"uri": receiver.url(), "accept": "application/geo+json"});
    let triggers = json!({"notificationTrigger": ["entityDeleted"]});
    subscribe(&broker, "urn:s:1", json!({"endpoint": endpoint}), triggers).await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    send(&broker, "DELETE", "/entities/urn:x:1", None).await;
    crate::support::eventually(10, "it is told", async || !receiver.all().is_empty()).await;
    let data = receiver.all().remove(0).body["data"].clone();
    let feature = &data["features"][0];
    assert_eq!(
        (&feature["id"], &feature["type"]),
        (&json!("urn:x:1"), &json!("Feature"))
    );
    assert_eq!(
        (&feature["geometry"], &feature["properties"]["type"]),
        (&Value::Null, &json!("T"))
    );
    assert!(feature["properties"]["deletedAt"].is_string(), "{feature}");
}

#[tokio::test]
async fn linked_entities_are_told_inside_or_after_what_links_to_them() {
    let broker = Broker::ready().await;
    let (inline, flat, deep, none) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    for (id, receiver, wish) in [
        (
            "urn:s:1",
            &inline,
            json!({"join": "inline", "format": "keyValues"}),
        ),
        ("urn:s:2", &flat, json!({"join": "flat", "format": "keyValues"})),
        (
            "urn:s:3",
            &deep,
            json!({"join": "inline", "joinLevel": 2, "pick": ["id", "to{id,up{id,n}}"]}),
        ),
        ("urn:s:4", &none, json!({"join": "@none", "format": "keyValues"})),
    ] {
        let mut notification = wish;
        notification["endpoint"] = json!({"uri": receiver.url()});
        subscribe(&broker, id, notification, json!({})).await;
    }
    broker.create(r#"{"id":"urn:z:1","type":"Z","n":1}"#).await;
    broker
        .create(r#"{"id":"urn:y:1","type":"Y","n":2,"up":{"object":"urn:z:1"}}"#)
        .await;
    broker
        .create(r#"{"id":"urn:x:1","type":"T","to":{"object":"urn:y:1"},"at":{"object":"urn:none:1"}}"#)
        .await;
    let linked = json!({"id": "urn:y:1", "type": "Y", "n": 2, "up": "urn:z:1"});
    let alone = json!({"id": "urn:x:1", "type": "T", "to": "urn:y:1", "at": "urn:none:1"});
    let mut inside = alone.clone();
    inside["to"] = linked.clone();
    assert_eq!(inline.until(1).await, [inside]);
    assert_eq!(flat.until(2).await, [alone.clone(), linked]);
    assert_eq!(none.until(1).await, [alone]);
    assert_eq!(
        deep.until(1).await,
        [
            json!({"id": "urn:x:1", "to": {"type": "Relationship", "object": "urn:y:1", "entity":
            {"id": "urn:y:1", "up": {"type": "Relationship", "object": "urn:z:1", "entity":
                {"id": "urn:z:1", "n": {"type": "Property", "value": 1}}}}}})
        ]
    );
    // An interval tells them, too.
    let interval = Receiver::start().await;
    let notification = json!({"join": "flat", "format": "keyValues", "endpoint": {"uri": interval.url()}});
    subscribe(&broker, "urn:s:5", notification, json!({"timeInterval": 60})).await;
    let ids: Vec<_> = interval.until(2).await.iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids, ["urn:x:1", "urn:y:1"]);
}

/// Creates so many entities of so many bytes, and one that links to them, told inline and flat; what is told of it, inline
/// and flat, once so many entities are told flat.
async fn told_of_links(count: usize, size: usize, flat_ones: usize) -> [Vec<Value>; 2] {
    let broker = Broker::ready().await;
    let large = "x".repeat(size);
    for n in 0..count {
        let body = json!({"id": format!("urn:y:{n}"), "type": "Y", "text": large});
        broker.create(&body.to_string()).await;
    }
    let (inline, flat, interval) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    for (id, receiver, join) in [("urn:s:1", &inline, "inline"), ("urn:s:2", &flat, "flat")] {
        let notification = json!({"join": join, "format": "keyValues", "endpoint": {"uri": receiver.url()}});
        subscribe(&broker, id, notification, json!({})).await;
    }
    let targets: Vec<_> = (0..count).map(|n| format!("urn:y:{n}")).collect();
    let body = json!({"id": "urn:x:1", "type": "T", "to": {"type": "Relationship", "object": targets}});
    broker.create(&body.to_string()).await;
    let told = [inline.until(1).await, flat.until(flat_ones).await];
    // An interval tells the same.
    let notification = json!({"join": "flat", "format": "keyValues", "endpoint": {"uri": interval.url()}});
    subscribe(&broker, "urn:s:3", notification, json!({"timeInterval": 600})).await;
    assert!(interval.until(flat_ones).await == told[1]);
    told
}

#[tokio::test]
async fn an_entity_that_links_to_too_much_is_told_alone() {
    for (count, size) in [(20, 60_000), (5, 300_000)] {
        let targets: Vec<_> = (0..count).map(|n| format!("urn:y:{n}")).collect();
        let alone = [json!({"id": "urn:x:1", "type": "T", "to": targets})];
        let told = told_of_links(count, size, 1).await;
        assert!(told.iter().all(|told| *told == alone), "{count} of {size} bytes");
    }
}

#[tokio::test]
async fn a_large_entity_is_told_inside_or_after_what_links_to_it() {
    let [inline, flat] = told_of_links(1, 300_000, 2).await;
    let linked = json!({"id": "urn:y:0", "type": "Y", "text": "x".repeat(300_000)});
    let inside = [json!({"id": "urn:x:1", "type": "T", "to": [linked]})];
    assert!(inline == inside, "it is told inside");
    let alone = json!({"id": "urn:x:1", "type": "T", "to": ["urn:y:0"]});
    assert!(flat == [alone, linked], "it is told after");
}

#[tokio::test]
async fn a_notification_is_told_alone_where_what_it_links_to_cannot_be_read() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    let notification = json!({"join": "inline", "format": "keyValues", "endpoint": {"uri": receiver.url()}});
    subscribe(&broker, "urn:s:1", notification, json!({})).await;
    broker.create(r#"{"id":"urn:y:1","type":"Y","n":2}"#).await;
    broker.database.psql("update mim.entities set attrs = '[]'");
    broker
        .create(r#"{"id":"urn:x:1","type":"T","to":{"object":"urn:y:1"}}"#)
        .await;
    let alone = json!({"id": "urn:x:1", "type": "T", "to": "urn:y:1"});
    assert_eq!(receiver.until(1).await, [alone]);
    broker
        .until_logged(1, "without the entities that it links to")
        .await;
}
