//! Replicas and databases that are killed while they tell subscribers, and receivers that take nothing.

use crate::support::client::Client;
use crate::support::{Broker, Postgres, Receiver, eventually, is_proof, proof};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Subscribes to all entities of the type `T`, told in short.
pub async fn subscribe(broker: &Broker, id: &str, endpoint: Value) {
    let body = json!({
        "id": id, "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"format": "keyValues", "endpoint": endpoint}
    });
    let answer = broker.post("/subscriptions", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

pub async fn shown(broker: &Broker, id: &str) -> Value {
    broker.get(&format!("/subscriptions/{id}")).await.json()
}

/// How many rows there are of `what`: a table, with a condition maybe.
pub fn count(broker: &Broker, what: &str) -> usize {
    let rows = broker.database.psql(&format!("select count(*) from {what}"));
    rows.parse().unwrap()
}

/// Clients that write one number after the other to an entity of their own, at whichever replica answers: a thousand changes a
/// second together, each at its time, whatever became of those before. Only behind its own last one does a change wait,
/// as without that nobody could say in which order they are to be told; it is made up for as fast as it goes.
struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    writers: Vec<tokio::task::JoinHandle<Vec<i64>>>,
    started: Instant,
}

const WRITERS: u32 = 100;
/// How many changes are offered in a second, and how many are accepted at least where the machine is there for this test alone.
const RATE: u32 = 1000;
const LEAST: u128 = 700;

impl Load {
    async fn start(broker: &Broker, replicas: &[SocketAddr]) -> Self {
        for n in 0..WRITERS {
            let body = json!({"id": format!("urn:x:{n}"), "type": "T", "n": 0});
            broker.create(&body.to_string()).await;
        }
        let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let started = Instant::now();
        let writer = |n: u32| {
            let (stop, accepted, replicas) = (Arc::clone(&stop), Arc::clone(&accepted), replicas.to_vec());
            tokio::spawn(write(n, replicas, started, stop, accepted))
        };
        let writers = (0..WRITERS).map(writer).collect();
        Self {
            stop,
            accepted,
            writers,
            started,
        }
    }

    async fn until(&self, writes: usize) {
        eventually(60, &format!("{writes} writes are accepted"), async || {
            self.accepted.load(Ordering::Relaxed) >= writes
        })
        .await;
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many writes are accepted from the start, and tells how many that were in a second: what breaks next breaks under
    /// that load. Where a machine has nothing else to do it is about what is offered.
    async fn until_under_way(&self, writes: usize) {
        self.until(writes).await;
        let (accepted, took) = (self.accepted(), self.started.elapsed());
        let rate = accepted as u128 * 1000 / took.as_millis();
        println!("{accepted} changes were accepted in {took:?}, {rate} a second; {RATE} were offered");
        assert!(
            !is_proof() || rate >= LEAST,
            "{rate} writes a second are accepted"
        );
    }

    /// Ends the writing; what was accepted of each entity.
    async fn end(self) -> BTreeMap<String, Vec<i64>> {
        println!(
            "{} changes were accepted in {:?}",
            self.accepted(),
            self.started.elapsed()
        );
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        for (n, writer) in self.writers.into_iter().enumerate() {
            let mut accepted = vec![0];
            accepted.extend(writer.await.unwrap());
            all.insert(format!("urn:x:{n}"), accepted);
        }
        all
    }
}

/// Writes until it is told to stop; what was answered 2xx.
async fn write(
    writer: u32,
    replicas: Vec<SocketAddr>,
    started: Instant,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
) -> Vec<i64> {
    let client = Client::new();
    let path = format!("/ngsi-ld/v1/entities/urn:x:{writer}/attrs");
    let (mut at, mut ours) = (writer as usize, Vec::new());
    for n in 1u32.. {
        let due = started + Duration::from_secs(1) / RATE * (n * WRITERS + writer);
        tokio::time::sleep_until(due.into()).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let replica = replicas[at % replicas.len()];
        let body = json!({"n": n}).to_string();
        match client.try_send(replica, "PATCH", &path, &[], Some(body)).await {
            Ok(answer) if answer.status == 204 => {
                ours.push(i64::from(n));
                accepted.fetch_add(1, Ordering::Relaxed);
                // Replicas take turns.
                at += usize::from(n % 10 == 0);
            }
            Ok(answer) if answer.status == 503 => tokio::time::sleep(Duration::from_millis(20)).await,
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            // It was killed; whether it has written nobody knows.
            Err(_) => at += 1,
        }
    }
    ours
}

/// Waits until nothing waits to be told, and checks what was.
async fn all_is_told(broker: &Broker, receiver: &Receiver, accepted: &BTreeMap<String, Vec<i64>>) {
    let started = Instant::now();
    eventually(60, "nothing waits", async || {
        broker.database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
    println!("all was told {:?} after the last write", started.elapsed());
    let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let taken = receiver.taken();
    println!("{} notifications were taken", taken.len());
    for entity in taken {
        let of = told.entry(entity["id"].as_str().unwrap().to_owned()).or_default();
        let n = entity["n"].as_i64().unwrap();
        // After a crash some are told again; what counts is when each came first.
        if !of.contains(&n) {
            of.push(n);
        }
    }
    for (id, numbers) in accepted {
        let of = told.get(id).unwrap_or_else(|| panic!("{id} is never told"));
        assert!(of.is_sorted(), "{id} is told out of order: {of:?}");
        let lost: Vec<_> = numbers.iter().filter(|n| of.binary_search(n).is_err()).collect();
        assert!(lost.is_empty(), "{id}: {lost:?} were accepted and never told");
        let kept = broker
            .get(&format!("/entities/{id}?options=keyValues"))
            .await
            .json();
        assert!(kept["n"].as_i64().unwrap() >= *numbers.last().unwrap(), "{kept}");
    }
}

/// Required of this and the next: each write that was answered 2xx is there, and each of its notifications comes at least once, in the order of the writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_replica_killed_under_load_loses_no_write_and_no_notification() {
    let mut first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    // Some lanes are always being emptied.
    receiver.takes(Duration::from_millis(20));
    subscribe(&first, "urn:s:1", json!({"uri": receiver.url()})).await;
    let load = Load::start(&first, &[first.api, second.api]).await;
    load.until_under_way(1000).await;
    first.signal("-KILL");
    first.process.wait().unwrap();
    load.until(load.accepted() + 300).await;
    let accepted = load.end().await;
    all_is_told(&second, &receiver, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_database_killed_under_load_loses_no_write_and_no_notification() {
    let postgres = Postgres::own();
    let broker = Broker::start(Arc::new(postgres.database()));
    broker.until_ready().await;
    let receiver = Receiver::start().await;
    subscribe(&broker, "urn:s:1", json!({"uri": receiver.url()})).await;
    let load = Load::start(&broker, &[broker.api]).await;
    load.until_under_way(1000).await;
    tokio::task::block_in_place(|| {
        postgres.kill();
        postgres.launch();
    });
    load.until(load.accepted() + 300).await;
    let accepted = load.end().await;
    all_is_told(&broker, &receiver, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_replica_that_ends_leaves_its_notifications_to_the_next_at_once() {
    let mut first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    // It takes its time: the lane is never empty when its replica ends.
    receiver.answers(0);
    subscribe(
        &first,
        "urn:s:1",
        json!({"uri": receiver.url(), "timeout": 60_000}),
    )
    .await;
    first.create(r#"{"id":"urn:x:0","type":"T","n":0}"#).await;
    eventually(10, "it is being told", async || !receiver.all().is_empty()).await;
    first.signal("-TERM");
    first.process.wait().unwrap();
    receiver.answers(204);
    let ended = Instant::now();
    receiver.until(1).await;
    // The next look, not the end of a hold.
    assert!(ended.elapsed() < Duration::from_secs(10), "{:?}", ended.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_what_a_killed_replica_had_claimed_of_a_throttled_subscription_is_told_by_the_next() {
    let mut first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    receiver.answers(0);
    let body = json!({"id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}], "throttling": 600,
        "notification": {"endpoint": {"uri": receiver.url(), "timeout": 60_000}}});
    let made = first.post("/subscriptions", &body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    first.create(r#"{"id":"urn:x:0","type":"T","n":0}"#).await;
    eventually(10, "it is being told", async || !receiver.all().is_empty()).await;
    first.signal("-KILL");
    first.process.wait().unwrap();
    receiver.answers(204);
    // When the hold of the dead one is over.
    eventually(60, "nothing waits", async || {
        count(&second, "mim.deliveries") == 0
    })
    .await;
    let told: Vec<_> = receiver.taken().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(told, ["urn:x:0"]);
    // And that is all for ten minutes.
    second.create(r#"{"id":"urn:x:1","type":"T","n":0}"#).await;
    eventually(10, "it is dropped", async || {
        count(&second, "mim.deliveries") == 0
    })
    .await;
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_receivers_that_are_down_fail_hang_or_redirect_are_seen_and_slow_nobody() {
    const WRITES: u32 = 100;
    let broker = Broker::ready().await;
    let (good, failing, hanging, redirecting) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    let down = Receiver::absent();
    failing.answers(500);
    hanging.answers(0);
    redirecting.answers(302);
    let bad = ["down", "failing", "hanging", "redirecting"];
    for (name, uri) in [
        ("good", good.url()),
        ("down", down.url()),
        ("failing", failing.url()),
        ("hanging", hanging.url()),
        ("redirecting", redirecting.url()),
    ] {
        subscribe(
            &broker,
            &format!("urn:s:{name}"),
            json!({"uri": uri, "timeout": 5000}),
        )
        .await;
    }
    let mut slowest = Duration::ZERO;
    for n in 0..WRITES {
        let started = Instant::now();
        let body = json!({"id": format!("urn:x:{n}"), "type": "T", "n": n});
        broker.create(&body.to_string()).await;
        slowest = slowest.max(started.elapsed());
    }
    println!("the slowest write took {slowest:?}");
    // No write waits for a receiver that hangs.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    let started = Instant::now();
    good.until(WRITES as usize).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    for name in bad {
        eventually(20, &format!("{name} is shown as failed"), async || {
            let notification = shown(&broker, &format!("urn:s:{name}")).await["notification"].clone();
            notification["status"] == "failed"
                && notification["lastFailure"].is_string()
                && notification["timesFailed"].as_u64() > Some(0)
        })
        .await;
    }
    assert_eq!(shown(&broker, "urn:s:good").await["notification"]["status"], "ok");
    for outcome in ["status", "not_sent", "ok"] {
        let name = format!("mim_broker_notifications_total{{outcome=\"{outcome}\"}}");
        assert!(broker.metric(&name).await > 0, "{name}");
    }
    assert!(broker.metric("mim_broker_notification_lanes_failing").await >= 4);
    assert!(redirecting.all().iter().all(|request| request.path == "/notify"));
    // They come back, and have lost nothing.
    let back = down.comes();
    for receiver in [&failing, &hanging, &redirecting] {
        receiver.answers(204);
    }
    for receiver in [&back, &failing, &hanging, &redirecting] {
        receiver.until(WRITES as usize).await;
    }
    eventually(10, "nothing waits", async || {
        broker.database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
    assert_eq!(broker.metric("mim_broker_notification_lanes_failing").await, 0);
    for name in bad {
        assert_eq!(
            shown(&broker, &format!("urn:s:{name}")).await["notification"]["status"],
            "ok",
            "{name}"
        );
    }
}

/// What is shown of what came of a subscription.
async fn outcome(broker: &Broker, id: &str) -> Value {
    shown(broker, id).await["notification"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_what_a_receiver_refuses_is_tried_as_what_it_fails_at_and_told_when_it_takes_it() {
    let broker = Broker::ready().await;
    let mut receivers = Vec::new();
    // 0 is no answer at all, and 302 leads to the receiver itself, at another path.
    for status in [500, 400, 401, 404, 413, 302, 0] {
        let receiver = Receiver::start().await;
        receiver.answers(status);
        let id = format!("urn:s:{status}");
        subscribe(&broker, &id, json!({"uri": receiver.url(), "timeout": 500})).await;
        receivers.push((id, receiver));
    }
    for n in 0..3 {
        let body = json!([{"id": "urn:x:1", "type": "T", "n": n}]).to_string();
        assert!(broker.post("/entityOperations/upsert", &body).await.status < 300);
    }
    for (id, receiver) in &receivers {
        eventually(60, &format!("{id} was tried four times"), async || {
            receiver.all().len() >= 4
        })
        .await;
        eventually(10, &format!("{id} is shown as failed"), async || {
            let shown = outcome(&broker, id).await;
            shown["status"] == "failed" && shown["timesFailed"].as_u64() >= Some(3)
        })
        .await;
        // The first of them, time and again: the others wait behind it.
        let all = receiver.all();
        let first = |request: &crate::support::receiver::Received| {
            request.path == "/notify" && request.body["data"][0]["n"] == 0
        };
        assert!(all.iter().all(first), "{id}: {all:?}");
        assert!(shown(&broker, id).await["notification"]["lastSuccess"].is_null());
    }
    assert!(broker.metric("mim_broker_notification_lanes_failing").await >= 7);
    for (_, receiver) in &receivers {
        receiver.answers(204);
    }
    for (id, receiver) in &receivers {
        let told: Vec<_> = receiver.until(3).await.iter().map(|e| e["n"].clone()).collect();
        assert_eq!(told, [0, 1, 2], "{id}");
        eventually(10, &format!("{id} is shown as well"), async || {
            outcome(&broker, id).await["status"] == "ok"
        })
        .await;
    }
    assert_eq!(broker.metric("mim_broker_notification_lanes_failing").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_receiver_that_is_down_for_ten_minutes_is_tried_at_a_bounded_pace_and_loses_nothing() {
    const WRITES: u32 = 20;
    let down = proof(Duration::from_mins(10));
    let broker = Broker::ready().await;
    let receiver = Receiver::absent();
    subscribe(&broker, "urn:s:1", json!({"uri": receiver.url()})).await;
    let (began, mut accepted) = (Instant::now(), BTreeMap::<String, Vec<i64>>::new());
    for n in 0..WRITES {
        let id = format!("urn:x:{}", n % 3);
        let body = json!([{"id": id, "type": "T", "n": n}]).to_string();
        assert!(broker.post("/entityOperations/upsert", &body).await.status < 300);
        accepted.entry(id).or_default().push(n.into());
        // Writes go on for as long as nobody hears of them.
        tokio::time::sleep((down * (n + 1) / WRITES).saturating_sub(began.elapsed())).await;
    }
    let failed = outcome(&broker, "urn:s:1").await;
    assert_eq!(failed["status"], "failed");
    assert!(
        failed["lastFailure"].is_string() && failed["lastSuccess"].is_null(),
        "{failed}"
    );
    // Three lanes, each of which rests twice as long each time.
    let tries = failed["timesFailed"].as_u64().unwrap();
    assert!((3..=36).contains(&tries), "{failed}");
    assert_eq!(broker.metric("mim_broker_notification_lanes_failing").await, 3);
    let back = receiver.comes();
    eventually(60 + down.as_secs(), "nothing waits", async || {
        count(&broker, "mim.deliveries") == 0
    })
    .await;
    all_is_told(&broker, &back, &accepted).await;
    assert_eq!(outcome(&broker, "urn:s:1").await["status"], "ok");
    assert_eq!(broker.metric("mim_broker_notification_lanes_failing").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_however_many_receivers_hang_others_are_told_at_once() {
    const HANGING: usize = 100;
    let broker = Broker::ready().await;
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(0);
    for n in 0..HANGING {
        subscribe(&broker, &format!("urn:s:{n}"), json!({"uri": hanging.url()})).await;
    }
    // Entities of all lanes: more calls hang than may be under way.
    for n in 0..16 {
        broker
            .create(&json!({"id": format!("urn:x:{n}"), "type": "T", "n": n}).to_string())
            .await;
    }
    eventually(30, "all of them have failed", async || {
        let failed = "select count(*) from mim.subscriptions where times_failed > 0";
        broker.database.psql(failed) == HANGING.to_string()
    })
    .await;
    subscribe(&broker, "urn:s:good", json!({"uri": good.url()})).await;
    for n in 0..20 {
        let started = Instant::now();
        broker
            .create(&json!({"id": format!("urn:y:{n}"), "type": "T", "n": n}).to_string())
            .await;
        good.until(n + 1).await;
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{n}: {:?}",
            started.elapsed()
        );
    }
}
