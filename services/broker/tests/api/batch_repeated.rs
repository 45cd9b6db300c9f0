//! An id that comes several times in one batch: each of its changes is one of its own.

use crate::support::{Answer, Broker, Postgres, Receiver};
use serde_json::{Value, json};
use std::sync::Arc;

/// A broker that keeps the past, and a receiver that is told of entities of the type `T`, with what was before.
async fn broker_and_receiver() -> (Broker, Receiver) {
    let broker = Broker::configured("temporal: {mode: Enabled}\negress: {allowedPrivateCidrs: []}\n").await;
    let receiver = Receiver::start().await;
    let subscription = json!({
        "id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"endpoint": {"uri": receiver.url()}, "showChanges": true}
    });
    let answer = broker.post("/subscriptions", &subscription.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    (broker, receiver)
}

async fn batch(broker: &Broker, operation: &str, items: &[Value]) -> Answer {
    let body = Value::Array(items.to_vec()).to_string();
    broker
        .post(&format!("/entityOperations/{operation}"), &body)
        .await
}

fn item(id: u32, value: i32) -> Value {
    json!({"id": format!("urn:x:{id}"), "type": "T", "n": value})
}

/// The values of an attribute of an entity in the past, in order; each is stored at a time of its own.
fn past(broker: &Broker, id: u32, attr: &str) -> Vec<String> {
    let of = format!("from mim.history where entity = 'urn:x:{id}' and attr like '%/{attr}'");
    let values = format!("select coalesce((body -> 'value')::text, 'gone') {of} order by instance");
    let values: Vec<String> = broker.database.psql(&values).lines().map(str::to_owned).collect();
    let times = format!("select count(distinct recorded) {of}");
    assert_eq!(broker.database.psql(&times), values.len().to_string());
    values
}

/// What was told of an entity: its value, and the one before.
fn told(told: &[Value], id: u32) -> Vec<(Value, Value)> {
    let of = told.iter().filter(|entity| entity["id"] == format!("urn:x:{id}"));
    of.map(|entity| (entity["n"]["value"].clone(), entity["n"]["previousValue"].clone()))
        .collect()
}

#[tokio::test]
async fn each_change_of_an_id_that_comes_several_times_is_in_the_past_and_told_in_order() {
    let (broker, receiver) = broker_and_receiver().await;
    let items = [item(1, 1), item(2, 5), item(1, 2), item(1, 2), item(1, 3)];
    let created = batch(&broker, "upsert?options=update", &items).await;
    assert_eq!(
        (created.status, created.json()),
        (201, json!(["urn:x:1", "urn:x:2"]))
    );
    assert_eq!(past(&broker, 1, "n"), ["1", "2", "2", "3"]);
    assert_eq!(past(&broker, 2, "n"), ["5"]);
    // The same value again is no update.
    let so_far = receiver.until(4).await;
    let none = Value::Null;
    assert_eq!(
        told(&so_far, 1),
        [
            (json!(1), none.clone()),
            (json!(2), json!(1)),
            (json!(3), json!(2))
        ]
    );
    assert_eq!(told(&so_far, 2), [(json!(5), none)]);

    // Now they are there. What another one has is told once each.
    for (operation, first) in [
        ("update", 10),
        ("merge", 20),
        ("upsert?options=update", 30),
        ("upsert", 40),
    ] {
        let before = receiver.taken().len();
        let items: Vec<Value> = (first..first + 3)
            .flat_map(|value| [item(1, value), item(2, -value)])
            .collect();
        let answer = batch(&broker, operation, &items).await;
        assert_eq!(answer.status, 204, "{operation}: {}", answer.text());
        let new = receiver.until(before + 6).await.split_off(before);
        for (id, sign) in [(1, 1), (2, -1)] {
            let expected = [first, first + 1, first + 2].map(|value| sign * value);
            let values: Vec<Value> = told(&new, id).into_iter().map(|(value, _)| value).collect();
            assert_eq!(values, expected.map(Value::from), "{operation}");
            let texts = expected.map(|value| value.to_string());
            assert!(past(&broker, id, "n").ends_with(&texts), "{operation}");
            assert_eq!(told(&new, id)[2].1, json!(expected[1]), "{operation}");
        }
    }
    let left = broker
        .database
        .psql("select count(*) from mim.history where attr like '%/n'");
    assert_eq!(left, (5 + 4 * 6).to_string());
}

#[tokio::test]
async fn an_entity_is_found_as_the_last_change_of_a_batch_left_it() {
    let (broker, _receiver) = broker_and_receiver().await;
    let at = |x: u8| json!({"type": "GeoProperty", "value": {"type": "Point", "coordinates": [x, 0]}});
    let items = [
        json!({"id": "urn:x:1", "type": "U", "location": at(1), "m": 1}),
        json!({"id": "urn:x:1", "type": "T", "location": at(2), "n": 1}),
        json!({"id": "urn:x:1", "type": "T", "location": at(3), "n": 2}),
    ];
    let created = batch(&broker, "upsert", &items).await;
    assert_eq!((created.status, created.json()), (201, json!(["urn:x:1"])));
    for (query, found) in [
        ("type=U", false),
        ("type=T", true),
        ("type=T&q=m", false),
        ("type=T&q=n==2", true),
        (
            "type=T&georel=near;maxDistance==10&geometry=Point&coordinates=[1,0]",
            false,
        ),
        (
            "type=T&georel=near;maxDistance==10&geometry=Point&coordinates=[3,0]",
            true,
        ),
    ] {
        assert_eq!(broker.ids(query).await.len(), usize::from(found), "{query}");
    }
    assert_eq!(past(&broker, 1, "m"), ["1", "gone"]);
    assert_eq!(past(&broker, 1, "n"), ["1", "2"]);
    let shown = broker.get("/entities/urn:x:1?options=sysAttrs").await.json();
    assert!(
        shown["createdAt"].as_str() < shown["modifiedAt"].as_str(),
        "{shown}"
    );
}
