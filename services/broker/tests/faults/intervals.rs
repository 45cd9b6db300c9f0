//! Notifications of intervals when replicas end and receivers hang.

use crate::notifications::shown;
use crate::support::interval::subscribe;
use crate::support::{Broker, Receiver, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A replica that tells an interval of ten minutes, whose receiver does not answer, and another one.
async fn being_told(receiver: &Receiver) -> (Broker, Broker) {
    let first = Broker::ready().await;
    first.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    receiver.answers(0);
    let endpoint = json!({"uri": receiver.url(), "timeout": 60_000});
    subscribe(&first, "urn:s:1", 600.0, endpoint).await;
    eventually(10, "it is being told", async || !receiver.all().is_empty()).await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_what_a_killed_replica_was_telling_of_an_interval_is_told_by_the_next() {
    let receiver = Receiver::start().await;
    let (mut first, second) = being_told(&receiver).await;
    first.signal("-KILL");
    first.process.wait().unwrap();
    receiver.answers(204);
    let killed = Instant::now();
    let told = receiver.until(1).await;
    // When the hold of the dead one is over.
    assert!(
        killed.elapsed() < Duration::from_secs(25),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(told[0]["id"], "urn:x:1");
    eventually(10, "it is noted", async || {
        shown(&second, "urn:s:1").await["notification"]["timesSent"] == 1
    })
    .await;
    let due = "select due > clock_timestamp() + interval '8 minutes' from mim.subscriptions";
    assert_eq!(second.database.psql(due), "t");
    assert_eq!(receiver.all().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_replica_that_ends_leaves_its_intervals_to_the_next_at_once() {
    let receiver = Receiver::start().await;
    let (mut first, _second) = being_told(&receiver).await;
    // The call that is under way has no answer all the same.
    receiver.answers(204);
    first.signal("-TERM");
    first.process.wait().unwrap();
    let ended = Instant::now();
    receiver.until(1).await;
    // The next look, not the end of a hold.
    assert!(ended.elapsed() < Duration::from_secs(10), "{:?}", ended.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_receiver_of_an_interval_that_hangs_has_one_call_however_many_replicas_and_slows_nobody()
{
    let first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    first.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(0);
    let endpoint = json!({"uri": hanging.url(), "timeout": 60_000});
    subscribe(&first, "urn:s:hanging", 0.1, endpoint).await;
    eventually(10, "it hangs", async || !hanging.all().is_empty()).await;
    subscribe(&first, "urn:s:good", 1.0, json!({"uri": good.url()})).await;
    // Longer than a hold: who is alive holds on.
    let started = Instant::now();
    good.until(25).await;
    let took = started.elapsed();
    assert!(
        took > Duration::from_secs(20) && took < Duration::from_secs(28),
        "{took:?}"
    );
    assert_eq!((hanging.all().len(), hanging.under_way()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_however_many_receivers_of_intervals_hang_few_calls_are_under_way_and_others_are_in_time()
{
    const HANGING: usize = 100;
    /// How many calls to receivers that did not take the last one are under way at once.
    const AT_ONCE: usize = 64;
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(0);
    for n in 0..HANGING {
        let endpoint = json!({"uri": hanging.url(), "timeout": 3000});
        subscribe(&broker, &format!("urn:s:{n}"), 0.1, endpoint).await;
    }
    eventually(30, "all of them have failed", async || {
        let failed = "select count(*) from mim.subscriptions where times_failed > 0";
        broker.database.psql(failed) == HANGING.to_string()
    })
    .await;
    eventually(10, "their first calls are over", async || {
        hanging.under_way() <= AT_ONCE
    })
    .await;
    subscribe(&broker, "urn:s:good", 0.5, json!({"uri": good.url()})).await;
    for n in 0..10 {
        let started = Instant::now();
        good.until(n + 1).await;
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{n}: {:?}",
            started.elapsed()
        );
        assert!(hanging.under_way() <= AT_ONCE, "{}", hanging.under_way());
    }
    // Who hangs is tried all the same, in turn.
    let failed = "select min(times_failed) from mim.subscriptions where id <> 'urn:s:good'";
    eventually(30, "each is tried again", async || {
        broker.database.psql(failed).parse::<u32>().unwrap() >= 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_however_many_intervals_of_one_tenant_are_slow_those_of_another_are_in_time() {
    /// More than a replica tells at once.
    const SLOW: usize = 300;
    let broker = Broker::configured("tenants: [one, two]").await;
    let (slow, good) = (Receiver::start().await, Receiver::start().await);
    // It takes what it is sent, and each of the others is yet to be tried.
    slow.takes(Duration::from_secs(55));
    let send = async |tenant: &str, path: &str, body: &Value| {
        let headers = [("ngsild-tenant", tenant)];
        let answer = broker.send("POST", path, &headers, Some(&body.to_string())).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    };
    let subscription = |id: &str, to: &Receiver| {
        json!({"id": id, "type": "Subscription", "entities": [{"type": "T"}], "timeInterval": 1.0,
            "notification": {"format": "keyValues", "endpoint": {"uri": to.url(), "timeout": 60_000}}})
    };
    for tenant in ["one", "two"] {
        send(
            tenant,
            "/entities",
            &json!({"id": "urn:x:1", "type": "T", "n": 1}),
        )
        .await;
    }
    for n in 0..SLOW {
        send(
            "one",
            "/subscriptions",
            &subscription(&format!("urn:s:{n}"), &slow),
        )
        .await;
    }
    eventually(20, "as many as may be are under way", async || {
        slow.under_way() >= 128
    })
    .await;
    let started = Instant::now();
    send("two", "/subscriptions", &subscription("urn:s:good", &good)).await;
    good.until(5).await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    let under_way = slow.under_way();
    assert!(under_way < 160, "{under_way}");
    println!("{under_way} slow ones under way, the fifth of the other after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_however_many_receivers_of_large_intervals_hang_memory_is_bounded_and_others_are_told() {
    const HANGING: usize = 30;
    /// The operator's default limit, in KiB.
    const LIMIT: u64 = 256 * 1024;
    let broker = Broker::ready().await;
    // More than one notification has.
    for n in 0..3 {
        let body = json!({"id": format!("urn:x:{n}"), "type": "T", "text": "x".repeat(3_500_000)});
        broker.create(&body.to_string()).await;
    }
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(0);
    for n in 0..HANGING {
        let endpoint = json!({"uri": hanging.url(), "timeout": 500});
        subscribe(&broker, &format!("urn:s:{n}"), 0.1, endpoint).await;
    }
    eventually(90, "all of them have failed", async || {
        let failed = "select count(*) from mim.subscriptions where times_failed > 0";
        broker.database.psql(failed) == HANGING.to_string()
    })
    .await;
    subscribe(&broker, "urn:s:good", 600.0, json!({"uri": good.url()})).await;
    let ids: Vec<_> = good.until(3).await.iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids, ["urn:x:0", "urn:x:1", "urn:x:2"]);
    let peak = broker.peak();
    println!("peak {peak} KiB");
    assert!(peak < LIMIT, "{peak} KiB");
}
