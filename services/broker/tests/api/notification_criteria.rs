//! Of which changes subscribers are told: each criterion of a subscription, by what it lets through and what it does not.

use crate::notifications::{all_is_done, send, subscribe};
use crate::support::{Broker, Receiver, eventually};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

/// Subscribes a receiver of its own for each of these; they are the criteria of the subscriptions.
async fn subscribed<const N: usize>(broker: &Broker, criteria: [Value; N]) -> Vec<Receiver> {
    let mut receivers = Vec::new();
    for (n, criterion) in criteria.into_iter().enumerate() {
        let receiver = Receiver::start().await;
        subscribe(broker, &receiver, &format!("urn:s:{n}"), criterion).await;
        receivers.push(receiver);
    }
    receivers
}

/// The last parts of the ids of the entities of which each was told, sorted.
async fn told(broker: &Broker, receivers: &[Receiver]) -> Vec<String> {
    all_is_done(broker).await;
    let of = |receiver: &Receiver| {
        let taken = receiver.taken();
        let last = |entity: &Value| {
            entity["id"]
                .as_str()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
                .to_owned()
        };
        let mut ids: Vec<_> = taken.iter().map(last).collect();
        ids.sort_unstable();
        ids.join(" ")
    };
    receivers.iter().map(of).collect()
}

fn point(x: f64, y: f64) -> Value {
    json!({"type": "GeoProperty", "value": {"type": "Point", "coordinates": [x, y]}})
}

#[tokio::test]
async fn an_area_lets_through_what_is_in_that_relation_to_it_after_the_change() {
    let broker = Broker::ready().await;
    let square = json!([[[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]]);
    let receivers = subscribed(
        &broker,
        [
            json!({"geoQ": {"georel": "near;maxDistance==1000", "geometry": "Point", "coordinates": [0, 0]}}),
            json!({"geoQ": {"georel": "near;minDistance==1000", "geometry": "Point", "coordinates": "[0,0]"}}),
            json!({"geoQ": {"georel": "within", "geometry": "Polygon", "coordinates": square}}),
            json!({"geoQ": {"georel": "disjoint", "geometry": "Polygon", "coordinates": square}}),
            json!({"geoQ": {"georel": "equals", "geometry": "Point", "coordinates": [5, 5]}}),
            json!({"geoQ": {"georel": "within", "geometry": "Polygon", "coordinates": square, "geoproperty": "spot"}}),
        ],
    )
    .await;
    for (id, geometries) in [
        ("in", json!({"location": point(0.001, 0.0)})),
        ("far", json!({"location": point(5.0, 5.0)})),
        ("spot", json!({"spot": point(0.0, 0.0)})),
        ("nowhere", json!({})),
    ] {
        let mut body = json!({"id": format!("urn:x:{id}"), "type": "T", "n": 1});
        body.as_object_mut()
            .unwrap()
            .extend(geometries.as_object().unwrap().clone());
        broker.create(&body.to_string()).await;
    }
    let expected = ["in", "far", "in", "far", "far", "spot"];
    assert_eq!(told(&broker, &receivers).await, expected);
    // Into the area, and out of it: where it is now counts.
    for (id, to) in [("far", point(0.5, 0.5)), ("in", point(7.0, 7.0))] {
        let body = json!({"location": to}).to_string();
        send(
            &broker,
            "PATCH",
            &format!("/entities/urn:x:{id}/attrs"),
            Some(&body),
        )
        .await;
    }
    let expected = ["in", "far far in", "far in", "far in", "far", "spot"];
    assert_eq!(told(&broker, &receivers).await, expected);
}

#[tokio::test]
async fn scopes_let_through_what_has_one_of_them() {
    let broker = Broker::ready().await;
    let scopes = [
        "/city/#",
        "/city/+",
        "/city",
        "/city/north;/use/park",
        "/city/south,/use/park",
    ];
    let receivers = subscribed(&broker, scopes.map(|scope| json!({"scopeQ": scope}))).await;
    for (id, scope) in [
        ("city", json!("/city")),
        ("north", json!("/city/north")),
        ("deep", json!("/city/north/1")),
        ("both", json!(["/city/north", "/use/park"])),
        ("village", json!("/village")),
    ] {
        let body = json!({"id": format!("urn:x:{id}"), "type": "T", "n": 1, "scope": scope});
        broker.create(&body.to_string()).await;
    }
    broker.create(r#"{"id":"urn:x:none","type":"T","n":1}"#).await;
    let expected = ["both city deep north", "both north", "city", "both", "both"];
    assert_eq!(told(&broker, &receivers).await, expected);
}

#[tokio::test]
async fn types_ids_and_attributes_let_through_what_is_named_and_without_them_everything_counts() {
    let broker = Broker::ready().await;
    let receivers = subscribed(
        &broker,
        [
            json!({"entities": [{"type": "T,U"}]}),
            json!({"entities": [{"type": "(T;U)"}]}),
            json!({"entities": [{"type": "*", "idPattern": "^urn:x:[ab]$"}]}),
            json!({"entities": [{"type": "T", "id": "urn:x:a", "idPattern": "^urn:x:b$"}]}),
            json!({"entities": [{"type": "*"}], "watchedAttributes": ["m"]}),
            json!({"entities": [{"type": "T"}, {"type": "V"}], "q": "n>1|m~=\"^o\""}),
        ],
    )
    .await;
    for (id, types, more) in [
        ("a", json!("T"), json!({"n": 1})),
        ("b", json!("U"), json!({"n": 2})),
        ("c", json!(["T", "U"]), json!({"n": 2})),
        ("d", json!("V"), json!({"n": 1, "m": "one"})),
    ] {
        let mut body = json!({"id": format!("urn:x:{id}"), "type": types});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        broker.create(&body.to_string()).await;
    }
    let expected = ["a b c", "c", "a b", "a", "d", "c d"];
    assert_eq!(told(&broker, &receivers).await, expected);
    // Without entities: by attributes alone, or everything of this broker.
    let (watching, all) = (Receiver::start().await, Receiver::start().await);
    for (id, receiver, member) in [
        ("urn:s:watching", &watching, json!({"watchedAttributes": ["m"]})),
        ("urn:s:all", &all, json!({"localOnly": true})),
    ] {
        let mut body =
            json!({"id": id, "type": "Subscription", "notification": {"endpoint": {"uri": receiver.url()}}});
        body.as_object_mut()
            .unwrap()
            .extend(member.as_object().unwrap().clone());
        send(&broker, "POST", "/subscriptions", Some(&body.to_string())).await;
    }
    for (id, change) in [("a", r#"{"n":5}"#), ("d", r#"{"m":"two"}"#)] {
        send(
            &broker,
            "PATCH",
            &format!("/entities/urn:x:{id}/attrs"),
            Some(change),
        )
        .await;
    }
    assert_eq!(told(&broker, &[watching, all]).await, ["d", "a d"]);
}

#[tokio::test]
async fn each_trigger_tells_of_its_kind_of_change_and_of_no_other() {
    let broker = Broker::ready().await;
    let triggers = [
        "entityCreated",
        "entityUpdated",
        "entityDeleted",
        "attributeCreated",
        "attributeUpdated",
        "attributeDeleted",
    ];
    let mut receivers = Vec::new();
    for trigger in triggers {
        let receiver = Receiver::start().await;
        let more = json!({"notificationTrigger": [trigger],
            "notification": {"format": "keyValues", "endpoint": {"uri": receiver.url()}}});
        subscribe(&broker, &receiver, &format!("urn:s:{trigger}"), more).await;
        receivers.push(receiver);
    }
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    for (method, path, body) in [
        ("POST", "/attrs", Some(r#"{"m":2}"#)),
        ("PATCH", "/attrs", Some(r#"{"n":3}"#)),
        // Nothing says something else.
        ("PATCH", "/attrs", Some(r#"{"n":3}"#)),
        ("DELETE", "/attrs/m", None),
        ("DELETE", "", None),
    ] {
        send(&broker, method, &format!("/entities/urn:x:1{path}"), body).await;
    }
    all_is_done(&broker).await;
    // What is told of each change, in order: n, m, and whether the entity is gone.
    let of = |receiver: &Receiver| {
        let taken = receiver.taken();
        let member = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(null) if null == "urn:ngsi-ld:null" => "null".to_owned(),
            other => other.to_string(),
        };
        let one = |entity: &Value| {
            let gone = if entity["deletedAt"].is_string() {
                " gone"
            } else {
                ""
            };
            format!("{} {}{gone}", member(&entity["n"]), member(&entity["m"]))
        };
        taken.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let found: Vec<String> = receivers.iter().map(of).collect();
    let expected = [
        "1 -",
        "1 -, 1 2, 3 2, 3 null, null - gone",
        "- - gone",
        "1 -, 1 2",
        "3 2",
        "3 null, null - gone",
    ];
    for ((trigger, found), expected) in triggers.into_iter().zip(&found).zip(expected) {
        assert_eq!(found, expected, "{trigger}");
    }
}

#[tokio::test]
async fn a_subscription_that_has_expired_is_not_told_until_it_is_given_more_time() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    let soon = Timestamp::now().checked_add(6.seconds()).unwrap();
    let soon = Timestamp::from_second(soon.as_second()).unwrap().to_string();
    subscribe(&broker, &receiver, "urn:s:1", json!({"expiresAt": soon})).await;
    let lasting = Receiver::start().await;
    let far = json!({"expiresAt": "2100-01-01T00:00:00Z"});
    subscribe(&broker, &lasting, "urn:s:2", far.clone()).await;
    let status = async || broker.get("/subscriptions/urn:s:1").await.json()["status"].clone();
    if status().await == "active" {
        broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
        lasting.until(1).await;
    }
    eventually(20, "it has expired", async || status().await == "expired").await;
    all_is_done(&broker).await;
    let before = receiver.taken().len();
    broker.create(r#"{"id":"urn:x:2","type":"T","n":1}"#).await;
    all_is_done(&broker).await;
    assert_eq!(receiver.taken().len(), before);
    send(&broker, "PATCH", "/subscriptions/urn:s:1", Some(&far.to_string())).await;
    assert_eq!(status().await, "active");
    broker.create(r#"{"id":"urn:x:3","type":"T","n":1}"#).await;
    assert_eq!(receiver.until(before + 1).await[before]["id"], "urn:x:3");
    assert!(told(&broker, &[lasting]).await[0].ends_with("2 3"));
}
