//! A replica that holds a lane and cannot know any more that it does. It has stood still for longer than it holds its lanes, and goes on when another one has
//! told what waited: a machine that was out of memory for a while, a pod that was frozen. Or the database has crashed, which may have forgotten who holds what.

use crate::notifications::{count, subscribe};
use crate::support::{Broker, Postgres, Receiver, eventually, interval};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What waits when the first replica stops, what is written while it stands still, and what it writes afterwards.
const WAITING: Range<i64> = 0..30;
const NEWER: Range<i64> = 30..40;
const LAST: i64 = 40;

/// Writes a number to the one entity; whether that was accepted.
async fn write(broker: &Broker, n: i64) -> bool {
    let body = json!([{"id": "urn:x:0", "type": "T", "n": n}]).to_string();
    let answer = broker.post("/entityOperations/upsert", &body).await;
    (200..300).contains(&answer.status)
}

async fn write_all(broker: &Broker, numbers: Range<i64>) {
    for n in numbers {
        assert!(write(broker, n).await, "{n} is written");
    }
}

fn numbers(taken: &[Value]) -> Vec<i64> {
    taken.iter().map(|entity| entity["n"].as_i64().unwrap()).collect()
}

async fn until_told(broker: &Broker, receiver: &Receiver, last: i64) {
    eventually(60, &format!("all up to {last} is told"), async || {
        numbers(&receiver.taken()).last() == Some(&last) && count(broker, "mim.deliveries") == 0
    })
    .await;
}

/// What follows once the first replica has stopped with a lane in hand: another one tells what waits and what is newer, when
/// the hold is over, and then the first one goes on. What it was about to tell it must not.
async fn goes_on_after_another(first: &Broker, receiver: &Receiver) {
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    write_all(&second, NEWER).await;
    until_told(&second, receiver, LAST - 1).await;
    // Only the first is there now: whatever it still has in hand it tells before what it is given next.
    drop(second);
    first.signal("-CONT");
    eventually(20, "it takes writes again", async || write(first, LAST).await).await;
    until_told(first, receiver, LAST).await;
    let mut told = numbers(&receiver.taken());
    println!("{told:?}");
    // At least once: the call that was under way is made again by the next.
    told.dedup();
    assert_eq!(told, (0..=LAST).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_replica_that_stood_still_beyond_its_hold_tells_nothing_older_than_the_next_has_told() {
    let first = Broker::ready().await;
    let receiver = Receiver::start().await;
    receiver.answers(500);
    subscribe(
        &first,
        "urn:s:1",
        json!({"uri": receiver.url(), "timeout": 60_000}),
    )
    .await;
    write_all(&first, WAITING).await;
    // The next try has all of them in hand, and stops while the receiver is with the first.
    receiver.takes(Duration::from_secs(5));
    receiver.answers(204);
    receiver.until(1).await;
    first.signal("-STOP");
    receiver.takes(Duration::ZERO);
    goes_on_after_another(&first, &receiver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_replica_that_stood_still_while_it_was_given_changes_tells_none_that_the_next_has_told()
{
    let first = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(&first, "urn:s:1", json!({"uri": receiver.url()})).await;
    // The note of what was sent, which gives the next, waits for this row.
    let held = first
        .database
        .transaction("update mim.subscriptions set times_sent = times_sent");
    eventually(10, "the row is held", async || {
        count(&first, "pg_locks where relation = 'mim.subscriptions'::regclass and mode = 'RowExclusiveLock' and granted") > 0
    })
    .await;
    let noting = "pg_stat_activity where datname = current_database() and state = 'active' and query like '%advance_lane%' \
        and pid <> pg_backend_pid()";
    write_all(&first, 0..1).await;
    eventually(10, "it notes what it has sent", async || {
        count(&first, &format!("{noting} and wait_event_type = 'Lock'")) == 1
    })
    .await;
    write_all(&first, 1..WAITING.end).await;
    first.signal("-STOP");
    drop(held);
    eventually(10, "the database has given it what is next", async || {
        count(&first, noting) == 0
    })
    .await;
    goes_on_after_another(&first, &receiver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_replica_that_stood_still_while_it_read_an_interval_tells_nothing_older_than_the_next() {
    let first = Broker::ready().await;
    let receiver = Receiver::start().await;
    assert!(write(&first, 1).await);
    let held = first.locked("mim.entities").await;
    interval::subscribe(&first, "urn:s:1", 600.0, json!({"uri": receiver.url()})).await;
    let reading = "pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually(10, "it reads what it is to tell", async || {
        count(&first, reading) == 1
    })
    .await;
    first.signal("-STOP");
    drop(held);
    eventually(10, "the database has told it", async || {
        count(&first, reading) == 0
    })
    .await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    assert!(write(&second, 2).await);
    receiver.until(1).await;
    first.signal("-CONT");
    // That it does not, for one reason or the other: the database was too late for it, or its hold is over.
    first.until_logged(1, "urn:s:1").await;
    assert_eq!(numbers(&receiver.taken()), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_call_that_takes_longer_than_a_hold_is_made_once() {
    let first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    let endpoint = json!({"uri": receiver.url(), "timeout": 60_000});
    subscribe(&first, "urn:s:1", endpoint).await;
    // The hold is 20 s, and each replica looks every 5 s for lanes that nobody holds.
    receiver.takes(Duration::from_secs(32));
    write_all(&first, 0..1).await;
    until_told(&first, &receiver, 0).await;
    assert_eq!(receiver.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_broker_a_replica_whose_database_has_crashed_tells_nothing_more_until_it_is_back() {
    let postgres = Postgres::own();
    let broker = Broker::start(Arc::new(postgres.database()));
    broker.until_ready().await;
    let receiver = Receiver::start().await;
    receiver.answers(500);
    subscribe(&broker, "urn:s:1", json!({"uri": receiver.url()})).await;
    write_all(&broker, WAITING).await;
    receiver.takes(Duration::from_millis(500));
    receiver.answers(204);
    receiver.until(1).await;
    tokio::task::block_in_place(|| postgres.kill());
    broker.until_logged(1, "the database cannot be used").await;
    let known = receiver.all().len();
    // Time for four calls.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = receiver.all().len();
    println!("{known} and then {told} calls");
    assert!(told <= known + 1, "{known} and then {told}");
    tokio::task::block_in_place(|| postgres.launch());
    receiver.takes(Duration::ZERO);
    until_told(&broker, &receiver, WAITING.end - 1).await;
    let mut told = numbers(&receiver.taken());
    // What it could not note is told again, from the first of them on.
    let again = told.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(again <= 1, "{told:?}");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, WAITING.collect::<Vec<_>>());
}
