//! Notifications of an interval: all that match, however many and however large they are, and at least once.

use crate::support::{Broker, Receiver, eventually};
use serde_json::{Value, json};
use std::time::Duration;

/// The most that one notification has.
const ENTITIES: usize = 1000;
const BYTES: usize = 8 * 1024 * 1024;
/// Of an entity that is not read without room.
const LARGE: usize = 70_000;

/// Subscribes to all entities of the type `T`, told in short every so many seconds.
async fn subscribe(broker: &Broker, receiver: &Receiver, id: &str, seconds: f64) {
    let body = json!({"id": id, "type": "Subscription", "entities": [{"type": "T"}], "timeInterval": seconds,
        "notification": {"format": "keyValues", "endpoint": {"uri": receiver.url()}}});
    let answer = broker.post("/subscriptions", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn shown(broker: &Broker, id: &str) -> Value {
    broker.get(&format!("/subscriptions/{id}")).await.json()["notification"].clone()
}

fn id(n: usize) -> String {
    format!("urn:x:{n:05}")
}

/// Creates an entity for each of these sizes; their ids, in order.
async fn create(broker: &Broker, sizes: &[usize]) -> Vec<String> {
    let entity = |(n, size): (usize, &usize)| json!({"id": id(n), "type": "T", "text": "x".repeat(*size)});
    let entities: Vec<Value> = sizes.iter().enumerate().map(entity).collect();
    for some in entities.chunks(100) {
        let body = Value::from(some).to_string();
        let answer = broker.post("/entityOperations/create", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    (0..sizes.len()).map(id).collect()
}

fn ids(entities: &[Value]) -> Vec<&str> {
    entities
        .iter()
        .map(|entity| entity["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_large_entity_is_told_and_silences_none_that_follow_it() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[LARGE, 1, 3_000_000, 1, LARGE, 1]).await;
    let receiver = Receiver::start().await;
    subscribe(&broker, &receiver, "urn:s:1", 600.0).await;
    let told = receiver.until(all.len()).await;
    assert_eq!(ids(&told), all);
    let sizes: Vec<_> = told.iter().map(|e| e["text"].as_str().unwrap().len()).collect();
    assert_eq!(sizes, [LARGE, 1, 3_000_000, 1, LARGE, 1]);
    assert_eq!(receiver.all().len(), 1);
}

#[tokio::test]
async fn more_entities_than_one_notification_has_are_told_once_each_in_several() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[1; 2 * ENTITIES + 1]).await;
    let receiver = Receiver::start().await;
    subscribe(&broker, &receiver, "urn:s:1", 600.0).await;
    let told = receiver.until(all.len()).await;
    assert_eq!(ids(&told), all);
    let each: Vec<_> = receiver
        .all()
        .iter()
        .map(|one| one.body["data"].as_array().unwrap().len())
        .collect();
    assert_eq!(each, [ENTITIES, ENTITIES, 1]);
    eventually(10, "each of them is counted", async || {
        shown(&broker, "urn:s:1").await["timesSent"] == 3
    })
    .await;
}

#[tokio::test]
async fn larger_entities_than_one_notification_has_are_told_once_each_in_several() {
    let broker = Broker::ready().await;
    let sizes: Vec<usize> = (0..300)
        .map(|n| if n % 3 == 0 { LARGE } else { 60_000 })
        .collect();
    let all = create(&broker, &sizes).await;
    let receiver = Receiver::start().await;
    subscribe(&broker, &receiver, "urn:s:1", 600.0).await;
    let told = receiver.until(all.len()).await;
    assert_eq!(ids(&told), all);
    for one in receiver.all() {
        let size = one.body.to_string().len();
        assert!(size < BYTES + 2 * LARGE, "{size}");
    }
    let sent = receiver.all().len();
    assert!((3..=6).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_notification_that_was_not_taken_is_tried_again_before_a_long_interval_is_over() {
    let broker = Broker::ready().await;
    create(&broker, &[1]).await;
    let receiver = Receiver::start().await;
    receiver.answers(500);
    subscribe(&broker, &receiver, "urn:s:1", 600.0).await;
    eventually(10, "it was tried", async || !receiver.all().is_empty()).await;
    eventually(10, "it is shown as failed", async || {
        let shown = shown(&broker, "urn:s:1").await;
        shown["status"] == "failed" && shown["lastFailure"].is_string()
    })
    .await;
    receiver.answers(204);
    receiver.until(1).await;
    eventually(10, "it is shown as well", async || {
        let shown = shown(&broker, "urn:s:1").await;
        let (sent, failed) = (shown["timesSent"].as_u64(), shown["timesFailed"].as_u64());
        let tried = receiver.all().len() as u64;
        shown["status"] == "ok" && sent == Some(tried) && failed == Some(tried - 1)
    })
    .await;
    // The next one comes when the interval is over, counted from the first.
    let next = "select due - created > interval '599 seconds' and due - created < interval '602 seconds' from mim.subscriptions";
    assert_eq!(broker.database.psql(next), "t");
}

#[tokio::test]
async fn what_was_taken_of_an_interval_is_not_told_again_where_the_rest_was_not_taken() {
    let broker = Broker::ready().await;
    let all = create(&broker, &[1; ENTITIES + 500]).await;
    let receiver = Receiver::start().await;
    // Long enough for what comes next to be said before it comes.
    receiver.takes(Duration::from_secs(3));
    subscribe(&broker, &receiver, "urn:s:1", 600.0).await;
    eventually(20, "the first is being told", async || receiver.all().len() == 1).await;
    receiver.answers(500);
    receiver.takes(Duration::ZERO);
    eventually(20, "the second was not taken", async || receiver.all().len() >= 2).await;
    receiver.answers(204);
    assert_eq!(ids(&receiver.until(all.len()).await), all);
    assert_eq!(receiver.all().iter().filter(|one| one.status == 204).count(), 2);
}

#[tokio::test]
async fn a_subscription_that_is_changed_is_told_at_once_though_its_receiver_hangs() {
    let broker = Broker::ready().await;
    create(&broker, &[1]).await;
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(0);
    let body = json!({"id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}], "timeInterval": 600,
        "notification": {"format": "keyValues", "endpoint": {"uri": hanging.url(), "timeout": 60_000}}});
    assert_eq!(broker.post("/subscriptions", &body.to_string()).await.status, 201);
    eventually(10, "it is being told", async || !hanging.all().is_empty()).await;
    let change = json!({"notification": {"endpoint": {"uri": good.url()}}}).to_string();
    let changed = broker
        .send("PATCH", "/subscriptions/urn:s:1", &[], Some(&change))
        .await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    good.until(1).await;
    // The call that was under way is given up.
    eventually(20, "nothing is under way", async || hanging.under_way() == 0).await;
    assert_eq!((hanging.all().len(), good.all().len()), (1, 1));
}
