//! Subscriptions of somebody with a permission set: they belong to the subject, and tell it of the world that it sees.

use crate::support::gateway::{Guarded, everything, header};
use crate::support::{Answer, Receiver};
use serde_json::{Value, json};

const DEFAULT: &str = "https://uri.etsi.org/ngsi-ld/default-context/";

fn iri(name: &str) -> String {
    format!("{DEFAULT}{name}")
}

fn reads(subject: &str, allow: Value, deny: Value) -> Value {
    json!({"version": 1, "subject": subject, "read": {"allow": allow, "deny": deny}})
}

fn subscription(id: &str, receiver: &Receiver, more: Value) -> String {
    let mut body = json!({"id": id, "type": "Subscription", "entities": [{"type": "Park"}],
        "notification": {"endpoint": {"uri": receiver.url()}}});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

async fn subscribe(guarded: &Guarded, set: &Value, id: &str, receiver: &Receiver, more: Value) {
    let answer = guarded
        .ask(
            set,
            "POST",
            "/subscriptions",
            Some(&subscription(id, receiver, more)),
        )
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn park(id: &str, scope: &str, size: u32) -> String {
    json!({"id": id, "type": "Park", "scope": scope, "size": {"type": "Property", "value": size},
        "owner": {"type": "Property", "value": format!("Owner {size}")}})
    .to_string()
}

async fn put(guarded: &Guarded, id: &str, scope: &str, size: u32) {
    let answer = guarded
        .broker
        .send(
            "PUT",
            &format!("/entities/{id}"),
            &[],
            Some(&park(id, scope, size)),
        )
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn ids(entities: &[Value]) -> Vec<&str> {
    entities.iter().map(|e| e["id"].as_str().unwrap()).collect()
}

/// Waits until a last write, which everybody sees, has been told.
async fn until_last(guarded: &Guarded, receiver: &Receiver) -> Vec<Value> {
    guarded.broker.create(&park("urn:park:last", "/north", 0)).await;
    crate::support::eventually(20, "the last write is told", async || {
        ids(&receiver.taken()).contains(&"urn:park:last")
    })
    .await;
    // Lanes are of entities: others may be on their way.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    receiver.taken()
}

#[tokio::test]
async fn only_what_the_owner_sees_is_told_with_the_attributes_that_it_sees() {
    let guarded = Guarded::ready("").await;
    let receiver = Receiver::start().await;
    let north = reads(
        "urn:s:1",
        json!([{"scopes": ["/north"]}]),
        json!([{"attributes": [iri("owner")]}]),
    );
    subscribe(&guarded, &north, "urn:sub:1", &receiver, json!({})).await;
    // What the client asks for is asked of what the owner sees.
    let other = Receiver::start().await;
    subscribe(&guarded, &north, "urn:sub:2", &other, json!({"q": "owner"})).await;
    let watching = Receiver::start().await;
    subscribe(
        &guarded,
        &north,
        "urn:sub:3",
        &watching,
        json!({"watchedAttributes": ["owner"]}),
    )
    .await;
    guarded.broker.create(&park("urn:park:n", "/north", 1)).await;
    guarded.broker.create(&park("urn:park:s", "/south", 1)).await;
    put(&guarded, "urn:park:n", "/north", 2).await;
    put(&guarded, "urn:park:s", "/south", 2).await;
    let told = until_last(&guarded, &receiver).await;
    assert_eq!(
        ids(&told).iter().filter(|id| **id == "urn:park:n").count(),
        2,
        "{told:?}"
    );
    assert!(!ids(&told).contains(&"urn:park:s"), "{told:?}");
    for entity in &told {
        assert!(
            entity.get("owner").is_none() && entity["size"]["value"].is_number(),
            "{entity}"
        );
    }
    assert!(other.taken().is_empty() && watching.taken().is_empty());
}

#[tokio::test]
async fn what_comes_into_sight_is_new_and_what_leaves_it_is_deleted() {
    let guarded = Guarded::ready("").await;
    let receiver = Receiver::start().await;
    let north = reads("urn:s:1", json!([{"scopes": ["/north"]}]), json!([]));
    let triggers = json!({"notificationTrigger": ["entityCreated", "entityDeleted"]});
    subscribe(&guarded, &north, "urn:sub:1", &receiver, triggers).await;
    guarded.broker.create(&park("urn:park:1", "/south", 1)).await;
    put(&guarded, "urn:park:1", "/north", 2).await;
    put(&guarded, "urn:park:1", "/north", 3).await;
    put(&guarded, "urn:park:1", "/south", 4).await;
    put(&guarded, "urn:park:1", "/south", 5).await;
    let told = receiver.until(2).await;
    assert_eq!(
        (&told[0]["size"]["value"], told[0].get("deletedAt")),
        (&json!(2), None),
        "{told:?}"
    );
    assert!(
        told[1].get("deletedAt").is_some() && told[1].get("size").is_none(),
        "{told:?}"
    );
    let all = until_last(&guarded, &receiver).await;
    assert_eq!(all.len(), 3, "{all:?}");
}

#[tokio::test]
async fn an_attribute_that_is_deleted_unseen_is_not_told() {
    let guarded = Guarded::ready("").await;
    let receiver = Receiver::start().await;
    let set = reads("urn:s:1", json!([{}]), json!([{"attributes": [iri("owner")]}]));
    let triggers = json!({"notificationTrigger": ["attributeDeleted", "entityCreated"]});
    subscribe(&guarded, &set, "urn:sub:1", &receiver, triggers).await;
    guarded.broker.create(&park("urn:park:1", "/a", 1)).await;
    for attribute in ["owner", "size"] {
        let path = format!("/entities/urn:park:1/attrs/{attribute}");
        assert_eq!(guarded.broker.send("DELETE", &path, &[], None).await.status, 204);
    }
    let told = until_last(&guarded, &receiver).await;
    let of_park: Vec<&Value> = told.iter().filter(|e| e["id"] == "urn:park:1").collect();
    assert_eq!(of_park.len(), 2, "{told:?}");
    assert!(of_park[1]["size"]["value"] == "urn:ngsi-ld:null", "{told:?}");
    assert!(told.iter().all(|e| e.get("owner").is_none()), "{told:?}");
}

#[tokio::test]
async fn notifications_of_an_interval_are_of_what_the_owner_sees() {
    let guarded = Guarded::ready("").await;
    let receiver = Receiver::start().await;
    guarded.broker.create(&park("urn:park:n", "/north", 1)).await;
    guarded.broker.create(&park("urn:park:s", "/south", 1)).await;
    let north = reads(
        "urn:s:1",
        json!([{"scopes": ["/north"], "attributes": [iri("size")]}]),
        json!([]),
    );
    subscribe(
        &guarded,
        &north,
        "urn:sub:1",
        &receiver,
        json!({"timeInterval": 1}),
    )
    .await;
    let told = receiver.until(1).await;
    assert_eq!(ids(&told[..1]), ["urn:park:n"]);
    assert!(told[0].get("owner").is_none(), "{told:?}");
}

#[tokio::test]
async fn linked_entities_are_told_as_the_owner_sees_them_and_only_where_it_sees_the_link() {
    let guarded = Guarded::ready("").await;
    let gate = |id: &str, scope: &str| {
        json!({"id": id, "type": "Gate", "scope": scope, "width": {"type": "Property", "value": 3},
            "owner": {"type": "Property", "value": "Smith"}})
        .to_string()
    };
    for (id, scope) in [
        ("urn:gate:seen", "/north"),
        ("urn:gate:unseen", "/south"),
        ("urn:gate:behind", "/north"),
    ] {
        guarded.broker.create(&gate(id, scope)).await;
    }
    let north = reads(
        "urn:s:1",
        json!([{"scopes": ["/north"]}]),
        json!([{"attributes": [iri("owner"), iri("back")]}]),
    );
    let (flat, inline) = (Receiver::start().await, Receiver::start().await);
    for (id, receiver, join) in [("urn:sub:1", &flat, "flat"), ("urn:sub:2", &inline, "inline")] {
        let notification = json!({"join": join, "format": "keyValues", "endpoint": {"uri": receiver.url()}});
        subscribe(
            &guarded,
            &north,
            id,
            receiver,
            json!({"notification": notification}),
        )
        .await;
    }
    let park = json!({"id": "urn:park:1", "type": "Park", "scope": "/north",
        "gates": {"type": "Relationship", "object": ["urn:gate:seen", "urn:gate:unseen"]},
        "back": {"type": "Relationship", "object": "urn:gate:behind"}});
    guarded.broker.create(&park.to_string()).await;
    let seen = json!({"id": "urn:gate:seen", "type": "Gate", "scope": "/north", "width": 3});
    let gates = json!(["urn:gate:seen", "urn:gate:unseen"]);
    let alone = json!({"id": "urn:park:1", "type": "Park", "scope": "/north", "gates": gates});
    assert_eq!(flat.until(2).await, [alone.clone(), seen.clone()]);
    let mut inside = alone.clone();
    inside["gates"] = json!([seen.clone(), "urn:gate:unseen"]);
    assert_eq!(inline.until(1).await, [inside]);
    // Those of an interval, too.
    let interval = Receiver::start().await;
    let notification = json!({"join": "flat", "format": "keyValues", "endpoint": {"uri": interval.url()}});
    let more = json!({"notification": notification, "timeInterval": 60});
    subscribe(&guarded, &north, "urn:sub:3", &interval, more).await;
    assert_eq!(interval.until(2).await, [alone, seen]);
}

#[tokio::test]
async fn a_subscription_is_its_owners_and_an_administrators_and_nobody_elses() {
    let guarded = Guarded::ready("").await;
    let receiver = Receiver::start().await;
    let one = reads("urn:s:1", json!([{}]), json!([]));
    let two = reads("urn:s:2", json!([{}]), json!([]));
    let mut admin = reads("urn:s:3", json!([]), json!([]));
    admin["admin"] = json!(true);
    subscribe(&guarded, &one, "urn:sub:1", &receiver, json!({})).await;
    subscribe(&guarded, &two, "urn:sub:2", &receiver, json!({})).await;
    let answer = guarded
        .broker
        .post("/subscriptions", &subscription("urn:sub:3", &receiver, json!({})))
        .await;
    assert_eq!(answer.status, 201);
    let listed = async |set: &Value| {
        let answer = guarded.get(set, "/subscriptions?count=true").await;
        let json = answer.json();
        let ids: Vec<String> = json
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(answer.header("ngsild-results-count"), ids.len().to_string());
        assert!(
            !answer.text().contains("urn:s:"),
            "the owner is not shown: {}",
            answer.text()
        );
        ids
    };
    assert_eq!(listed(&one).await, ["urn:sub:1"]);
    assert_eq!(listed(&two).await, ["urn:sub:2"]);
    assert_eq!(listed(&admin).await, ["urn:sub:1", "urn:sub:2", "urn:sub:3"]);
    assert_eq!(listed(&everything()).await.len(), 3);
    let not_found = |answer: &Answer| answer.status == 404;
    let name = r#"{"subscriptionName":"mine"}"#;
    for (id, set) in [("urn:sub:2", &one), ("urn:sub:3", &one), ("urn:sub:1", &two)] {
        let path = format!("/subscriptions/{id}");
        assert!(not_found(&guarded.get(set, &path).await));
        assert!(not_found(&guarded.ask(set, "PATCH", &path, Some(name)).await));
        assert!(not_found(&guarded.ask(set, "DELETE", &path, None).await));
    }
    assert_eq!(
        guarded
            .ask(&one, "PATCH", "/subscriptions/urn:sub:1", Some(name))
            .await
            .status,
        204
    );
    // Who changes where it is told is told what its owner sees.
    for id in ["urn:sub:2", "urn:sub:3"] {
        let path = format!("/subscriptions/{id}");
        assert_eq!(guarded.ask(&admin, "PATCH", &path, Some(name)).await.status, 403);
        admin["read"] = json!({"allow": [{}]});
        assert_eq!(guarded.ask(&admin, "PATCH", &path, Some(name)).await.status, 204);
        admin["read"] = json!({"allow": [], "deny": []});
    }
    assert_eq!(
        listed(&two).await,
        ["urn:sub:2"],
        "an administrator's hand changes no owner"
    );
    assert_eq!(
        guarded
            .ask(&admin, "DELETE", "/subscriptions/urn:sub:3", None)
            .await
            .status,
        204
    );
    assert_eq!(
        guarded
            .ask(&one, "DELETE", "/subscriptions/urn:sub:1", None)
            .await
            .status,
        204
    );
    let value = header(&one);
    let outside = guarded
        .broker
        .send("GET", "/subscriptions", &[("mim-permissions", &value)], None)
        .await;
    assert_eq!(outside.status, 403);
}

#[tokio::test]
async fn what_an_owner_sees_is_what_it_saw_when_it_last_wrote_the_subscription() {
    let guarded = Guarded::ready("").await;
    let receiver = Receiver::start().await;
    let north = reads("urn:s:1", json!([{"scopes": ["/north"]}]), json!([]));
    let south = reads("urn:s:1", json!([{"scopes": ["/south"]}]), json!([]));
    subscribe(&guarded, &north, "urn:sub:1", &receiver, json!({})).await;
    guarded.broker.create(&park("urn:park:1", "/south", 1)).await;
    let name = r#"{"subscriptionName":"mine"}"#;
    assert_eq!(
        guarded
            .ask(&south, "PATCH", "/subscriptions/urn:sub:1", Some(name))
            .await
            .status,
        204
    );
    put(&guarded, "urn:park:1", "/south", 2).await;
    let told = receiver.until(1).await;
    assert_eq!(told[0]["size"]["value"], 2, "{told:?}");
    guarded.broker.create(&park("urn:park:2", "/north", 3)).await;
    put(&guarded, "urn:park:1", "/south", 4).await;
    let told = receiver.until(2).await;
    assert_eq!(ids(&told), ["urn:park:1", "urn:park:1"]);
}
