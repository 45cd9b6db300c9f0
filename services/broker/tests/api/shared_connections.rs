//! Reads that find no free connection go behind others.

use crate::support::{Answer, Broker, Postgres, Wire, eventually};
use futures::future::{Either, join, join_all, select};
use std::pin::pin;
use std::process::Child;
use std::sync::Arc;

const ENTITY: &str = r#"{"id":"urn:x:1","type":"T","n":1}"#;
const ENTITIES: &str = "mim.entities";
const READ: &str = "/entities/urn:x:1";
/// What a read sends is never shorter, in bytes.
const SHORT: usize = 40;

/// A broker with so many connections, all of which have read already, and the wire to its database.
async fn broker_with(connections: usize) -> (Broker, Wire) {
    let database = Arc::new(Postgres::shared().database());
    let wire = Wire::before(&database).await;
    let broker =
        Broker::configured_on(database, &format!("database: {{connections: {connections}}}\n")).await;
    broker.create(ENTITY).await;
    let lock = broker.locked(ENTITIES).await;
    {
        let mut reads = pin!(join_all((0..connections).map(|_| broker.get(READ))));
        let waiting =
            "select count(*) from pg_locks where relation = 'mim.entities'::regclass and not granted";
        let all = connections.to_string();
        let wait = eventually(4, "each has its connection", async || {
            broker.database.psql(waiting) == all
        });
        while_locked(pin!(wait), &mut reads).await;
        release(lock);
        reads.await.iter().for_each(assert_read);
    }
    (broker, wire)
}

/// Polls what reads until something else has come.
async fn while_locked(until: impl Future + Unpin, reading: impl Future + Unpin) {
    if let Either::Right(_) = select(until, reading).await {
        panic!("they were answered though the table is locked");
    }
}

/// Polls what reads until so many reads are on the wire.
async fn until_sent(wire: &Wire, reads: usize, reading: impl Future + Unpin) {
    let all = wire.sent() + reads * SHORT;
    let sent = eventually(4, "all are sent", async || wire.sent() >= all);
    while_locked(pin!(sent), reading).await;
}

fn release(mut lock: Child) {
    drop(lock.stdin.take());
    lock.wait().unwrap();
}

fn assert_read(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["n"]["value"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reads_at_once_are_sent_before_the_first_is_answered() {
    let (broker, wire) = broker_with(2).await;
    let lock = broker.locked(ENTITIES).await;
    let before = wire.round_trips();
    let mut reads = pin!(join_all((0..30).map(|_| broker.get(READ))));
    until_sent(&wire, 30, &mut reads).await;
    release(lock);
    reads.await.iter().for_each(assert_read);
    // One after the other they would be thirty.
    let trips = wire.round_trips() - before;
    assert!(trips < 15, "{trips}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_leaves_the_others_their_answers() {
    let (broker, wire) = broker_with(2).await;
    let lock = broker.locked(ENTITIES).await;
    let mut patient = pin!(join_all((0..10).map(|_| broker.get(READ))));
    {
        let hasty = join_all((0..10).map(|_| broker.get(READ)));
        until_sent(&wire, 20, pin!(join(&mut patient, hasty))).await;
    }
    release(lock);
    let answers = patient.await;
    answers.iter().for_each(assert_read);
    assert_read(&broker.get(READ).await);
    let used = "mim_broker_database_connections{state=\"used\"}";
    eventually(10, "connections are free", async || {
        broker.metric(used).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_has_its_turn_however_many_read() {
    let (broker, _wire) = broker_with(1).await;
    let reading = join_all((0..16).map(|_| async {
        loop {
            assert_read(&broker.get(READ).await);
        }
    }));
    let writing = async {
        for n in 2..6 {
            broker
                .create(&ENTITY.replace("urn:x:1", &format!("urn:x:{n}")))
                .await;
        }
    };
    select(pin!(writing), pin!(reading)).await;
}
