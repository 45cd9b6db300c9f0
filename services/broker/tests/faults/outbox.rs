//! An outbox that has more waiting than it may.

use crate::notifications::{count, shown, subscribe};
use crate::support::{Broker, Receiver, eventually};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A broker whose outbox is as small as this text says.
async fn with_outbox(outbox: &str) -> Broker {
    Broker::configured(&format!("notifications: {{outbox: {outbox}}}\n")).await
}

/// How many numbers are written to each of three entities.
const EACH: usize = 20;

/// Writes while nothing is taken, until as many wait and as many were given up as is said.
async fn overflow(broker: &Broker, receiver: &Receiver, settled: impl Fn(usize, usize) -> bool) {
    receiver.answers(500);
    subscribe(broker, "urn:s:1", json!({"uri": receiver.url()})).await;
    write_numbers(broker, 0..EACH).await;
    until_settled(broker, settled).await;
}

/// Writes these numbers, one after the other, to each of three entities.
async fn write_numbers(broker: &Broker, numbers: std::ops::Range<usize>) {
    for n in numbers {
        for entity in 0..3 {
            let body = json!([{"id": format!("urn:x:{entity}"), "type": "T", "n": n}]);
            let answer = broker.post("/entityOperations/upsert", &body.to_string()).await;
            assert!((200..300).contains(&answer.status), "{}", answer.text());
        }
    }
}

async fn until_settled(broker: &Broker, settled: impl Fn(usize, usize) -> bool) {
    eventually(30, "what does not wait is counted", async || {
        settled(count(broker, "mim.deliveries"), dropped(broker).await)
    })
    .await;
    // What was given up takes no room: no record of a change is left but of those that wait.
    eventually(30, "records of changes went with it", async || {
        count(broker, "mim.changes") == count(broker, "mim.deliveries")
    })
    .await;
}

/// Subscribes, and writes to each of three entities what is not taken; then their lanes rest for an hour, as after a long
/// time of failures.
async fn resting(broker: &Broker, receiver: &Receiver) {
    receiver.answers(500);
    subscribe(broker, "urn:s:1", json!({"uri": receiver.url()})).await;
    write_numbers(broker, 0..1).await;
    until_at_rest(broker, 3).await;
}

/// Waits until so many lanes have failed, and lets them rest for an hour.
async fn until_at_rest(broker: &Broker, lanes: usize) {
    eventually(30, "all lanes rest", async || {
        broker.database.psql(
            "update mim.lanes set retry_at = clock_timestamp() + interval '1 hour' \
             where failures > 0 and held_until <= clock_timestamp()",
        );
        let rests = "mim.lanes where retry_at > clock_timestamp() + interval '30 minutes'";
        count(broker, rests) == lanes
    })
    .await;
}

/// Writes while all lanes rest until as many wait and as many were given up as is said; then they rest no more.
async fn overflow_at_rest(broker: &Broker, receiver: &Receiver, settled: impl Fn(usize, usize) -> bool) {
    resting(broker, receiver).await;
    let tried = receiver.all().len();
    write_numbers(broker, 1..EACH).await;
    until_settled(broker, settled).await;
    assert_eq!(receiver.all().len(), tried, "a lane was taken though it rests");
    receiver.answers(204);
    broker.database.psql("update mim.lanes set retry_at = null");
}

async fn dropped(broker: &Broker) -> usize {
    let name = "mim_broker_notifications_dropped_total{cause=\"overflow\"}";
    usize::try_from(broker.metric(name).await).unwrap()
}

/// What was told once the receiver is there again, by entity.
async fn told_in_the_end(broker: &Broker, receiver: &Receiver) -> BTreeMap<String, Vec<i64>> {
    receiver.answers(204);
    eventually(30, "nothing waits", async || {
        broker.database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
    let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for entity in receiver.taken() {
        let id = entity["id"].as_str().unwrap().to_owned();
        told.entry(id).or_default().push(entity["n"].as_i64().unwrap());
    }
    told
}

#[tokio::test]
async fn row_broker_an_outbox_that_overflows_keeps_the_latest_of_each_entity() {
    let broker = with_outbox("{limit: 10, overflow: CoalesceLatest}").await;
    let receiver = Receiver::start().await;
    let settled = |waiting, dropped| waiting <= 10 && waiting + dropped == 3 * EACH;
    overflow(&broker, &receiver, settled).await;
    let told = told_in_the_end(&broker, &receiver).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.values().all(|of| of.last() == Some(&19) && of.is_sorted()),
        "{told:?}"
    );
}

#[tokio::test]
async fn row_broker_an_outbox_that_overflows_while_its_lanes_rest_keeps_the_latest_of_each_entity() {
    let broker = with_outbox("{limit: 10, overflow: CoalesceLatest}").await;
    let receiver = Receiver::start().await;
    let settled = |waiting, dropped| waiting <= 10 && waiting + dropped == 3 * EACH;
    overflow_at_rest(&broker, &receiver, settled).await;
    let told = told_in_the_end(&broker, &receiver).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.values().all(|of| of.last() == Some(&19) && of.is_sorted()),
        "{told:?}"
    );
}

#[tokio::test]
async fn row_broker_an_outbox_that_overflows_while_its_lanes_rest_drops_the_oldest() {
    let broker = with_outbox("{limit: 10, overflow: DropOldest}").await;
    let receiver = Receiver::start().await;
    let settled = |waiting, dropped| waiting <= 10 && waiting + dropped == 3 * EACH;
    overflow_at_rest(&broker, &receiver, settled).await;
    let told = told_in_the_end(&broker, &receiver).await;
    assert!(told.values().all(|of| of.ends_with(&[17, 18, 19])), "{told:?}");
    let taken: usize = told.values().map(Vec::len).sum();
    assert_eq!(taken, 10, "{told:?}");
}

#[tokio::test]
async fn row_broker_an_outbox_that_overflows_while_its_lanes_rest_pauses_the_subscription() {
    let broker = with_outbox("{limit: 10, overflow: Pause}").await;
    let receiver = Receiver::start().await;
    let settled = |waiting, dropped| waiting == 0 && dropped > 10;
    overflow_at_rest(&broker, &receiver, settled).await;
    eventually(10, "it is paused", async || {
        shown(&broker, "urn:s:1").await["status"] == "paused"
    })
    .await;
    let told = told_in_the_end(&broker, &receiver).await;
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn row_broker_an_outbox_does_not_overflow_unseen_while_a_receiver_takes_its_time() {
    let broker = with_outbox("{limit: 10, overflow: DropOldest}").await;
    let receiver = Receiver::start().await;
    receiver.answers(0);
    subscribe(
        &broker,
        "urn:s:1",
        json!({"uri": receiver.url(), "timeout": 60_000}),
    )
    .await;
    write_numbers(&broker, 0..EACH).await;
    let settled = |waiting, dropped| waiting <= 10 && waiting + dropped == 3 * EACH;
    until_settled(&broker, settled).await;
    // That was while the first calls were under way: none of them has failed yet.
    let failed = "select coalesce(sum(times_failed), 0) from mim.subscriptions";
    assert_eq!(broker.database.psql(failed), "0");
}

#[tokio::test]
async fn row_broker_an_outbox_that_overflows_drops_the_oldest() {
    let broker = with_outbox("{limit: 10, overflow: DropOldest}").await;
    let receiver = Receiver::start().await;
    let settled = |waiting, dropped| waiting <= 10 && waiting + dropped == 3 * EACH;
    overflow(&broker, &receiver, settled).await;
    let told = told_in_the_end(&broker, &receiver).await;
    // The newest ten: of each entity the last three, and one more.
    assert!(told.values().all(|of| of.ends_with(&[17, 18, 19])), "{told:?}");
    let taken: usize = told.values().map(Vec::len).sum();
    assert_eq!(taken, 10, "{told:?}");
}

#[tokio::test]
async fn row_broker_an_outbox_of_which_too_much_is_slowly_given_up_keeps_no_other_receiver_waiting() {
    let broker = with_outbox("{limit: 10, overflow: DropOldest}").await;
    let (receiver, good) = (Receiver::start().await, Receiver::start().await);
    resting(&broker, &receiver).await;
    subscribe(&broker, "urn:s:good", json!({"uri": good.url()})).await;
    // Somebody holds what is to be given up first.
    let mut holder = broker.database.transaction("select from mim.changes for update");
    eventually(10, "it is held", async || {
        let held = "pg_locks where relation = 'mim.changes'::regclass and mode = 'RowShareLock'";
        count(&broker, held) == 1
    })
    .await;
    write_numbers(&broker, 1..EACH).await;
    eventually(30, "giving up waits for that", async || {
        let waits = "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' \
            and query like 'with surplus%'";
        count(&broker, waits) == 1
    })
    .await;
    let started = Instant::now();
    broker.create(r#"{"id":"urn:y:1","type":"T","n":0}"#).await;
    eventually(30, "the other receiver is told", async || {
        good.taken().iter().any(|entity| entity["id"] == "urn:y:1")
    })
    .await;
    // Giving up would go on waiting for ten seconds.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let settled = |waiting, dropped| waiting <= 10 && waiting + dropped == 3 * EACH + 1;
    until_settled(&broker, settled).await;
}

#[tokio::test]
async fn row_broker_an_outbox_that_overflows_while_throttling_holds_for_what_it_gives_up_tells_what_is_left()
{
    for overflow in ["CoalesceLatest", "DropOldest"] {
        let broker = with_outbox(&format!("{{limit: 10, overflow: {overflow}}}")).await;
        let receiver = Receiver::start().await;
        receiver.answers(500);
        let body = json!({"id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}], "throttling": 600,
            "notification": {"format": "keyValues", "endpoint": {"uri": receiver.url()}}});
        let made = broker.post("/subscriptions", &body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let write = async |n: usize| {
            let body = json!([{"id": "urn:x:0", "type": "T", "n": n}]).to_string();
            let answer = broker.post("/entityOperations/upsert", &body).await;
            assert!((200..300).contains(&answer.status), "{}", answer.text());
        };
        // The one for which throttling holds: it is never taken, and is among those that are given up.
        write(0).await;
        until_at_rest(&broker, 1).await;
        for n in 1..=20 {
            write(n).await;
        }
        let settled = |waiting, dropped| waiting <= 10 && waiting + dropped == 21;
        until_settled(&broker, settled).await;
        broker
            .database
            .psql("update mim.lanes set retry_at = clock_timestamp()");
        let told: Vec<i64> = told_in_the_end(&broker, &receiver)
            .await
            .into_values()
            .flatten()
            .collect();
        // One of what is left; then throttling holds for that one.
        assert!(matches!(*told, [n] if n > 0), "{overflow}: {told:?}");
    }
}

#[tokio::test]
async fn row_broker_an_outbox_that_overflows_pauses_the_subscription() {
    let broker = with_outbox("{limit: 10, overflow: Pause}").await;
    let receiver = Receiver::start().await;
    let settled = |waiting, dropped| waiting == 0 && dropped > 10;
    overflow(&broker, &receiver, settled).await;
    eventually(10, "it is paused", async || {
        shown(&broker, "urn:s:1").await["status"] == "paused"
    })
    .await;
    let told = told_in_the_end(&broker, &receiver).await;
    assert!(told.is_empty(), "{told:?}");
    // What is written while it is paused is not told; once it is active again, what comes then is.
    broker.create(r#"{"id":"urn:x:8","type":"T","n":1}"#).await;
    let active = Some("{\"isActive\":true}");
    assert_eq!(
        broker
            .send("PATCH", "/subscriptions/urn:s:1", &[], active)
            .await
            .status,
        204
    );
    broker.create(r#"{"id":"urn:x:9","type":"T","n":1}"#).await;
    assert_eq!(receiver.until(1).await[0]["id"], "urn:x:9");
}
