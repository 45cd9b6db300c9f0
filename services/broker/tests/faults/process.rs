//! Starting together, ending gracefully, being killed.

use crate::support::{Broker, Postgres};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn replicas_that_start_at_once_on_an_empty_database_all_become_ready() {
    let database = Arc::new(Postgres::shared().database_from("postgis_template"));
    let brokers: Vec<Broker> = (0..4).map(|_| Broker::start(Arc::clone(&database))).collect();
    for broker in &brokers {
        broker.until_ready().await;
    }
    let versions = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
        .unwrap()
        .count();
    assert_eq!(
        database.psql("select count(*) from mim.migrations"),
        versions.to_string()
    );
    for (n, broker) in brokers.iter().enumerate() {
        broker
            .create(&json!({"id": format!("urn:x:{n}"), "type": "T"}).to_string())
            .await;
    }
    assert_eq!(brokers[0].ids("type=T").await.len(), 4);
    let migrated: usize = brokers
        .iter()
        .map(|b| b.log.lock().unwrap().matches("brought to a new version").count())
        .sum();
    assert_eq!(migrated, versions, "each version by one of them");
}

#[tokio::test]
async fn a_schema_from_a_newer_broker_is_left_alone() {
    let broker = Broker::ready().await;
    broker.database.psql("insert into mim.migrations (version, name) values (999, 'future'); alter table mim.entities add column future text");
    let second = Broker::start(Arc::clone(&broker.database));
    second.until_ready().await;
    second.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
}

#[tokio::test]
async fn sigterm_drains_without_a_failed_request() {
    let mut broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    let (client, api) = (broker.client.clone(), broker.api);
    // New connections in the delay, and one request that is under way at the end of it.
    broker.database.psql("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(3); return new; end $$; create trigger slow before update on mim.entities for each row execute function slow()");
    broker.signal("-TERM");
    let signalled = Instant::now();
    let slow = tokio::spawn({
        let client = client.clone();
        async move {
            let body = r#"{"p":{"type":"Property","value":1}}"#.to_owned();
            client
                .send(api, "POST", "/ngsi-ld/v1/entities/urn:x:1/attrs", &[], Some(body))
                .await
                .status
        }
    });
    crate::support::eventually(2, "readyz says it is leaving", async || {
        broker.readyz().await == (531, "the broker is shutting down".to_owned())
    })
    .await;
    while signalled.elapsed() < Duration::from_millis(800) {
        let fresh = crate::support::client::Client::new();
        let answer = fresh
            .send(api, "GET", "/ngsi-ld/v1/entities/urn:x:1", &[], None)
            .await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (200, "close"),
            "served, and asked to go elsewhere"
        );
    }
    assert_eq!(slow.await.unwrap(), 204, "a request under way ends");
    let status = broker.process.wait().unwrap();
    assert!(
        status.success() && signalled.elapsed() < Duration::from_secs(25),
        "{status} after {:?}",
        signalled.elapsed()
    );
    assert!(
        client
            .try_send(api, "GET", "/ngsi-ld/v1/types", &[], None)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_half_written() {
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    broker.database.psql("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.05); return new; end $$; create trigger slow before update on mim.entities for each row execute function slow()");
    for n in 0..20 {
        let body = json!({"p": {"type": "Property", "value": n}}).to_string();
        let request = broker.post("/entities/urn:x:1/attrs", &body);
        let _ = tokio::time::timeout(Duration::from_millis(5 * (n % 10)), request).await;
    }
    // Whatever became of them, the entity can be written and read, and no connection is stuck in a transaction.
    assert_eq!(
        broker
            .post(
                "/entities/urn:x:1/attrs",
                r#"{"q":{"type":"Property","value":1}}"#
            )
            .await
            .status,
        204
    );
    crate::support::eventually(5, "no transaction stays open", async || {
        broker.database.psql("select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'") == "0"
    })
    .await;
}

#[tokio::test]
async fn slow_clients_do_not_hold_others_up() {
    let broker = Broker::ready().await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(broker.api).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"POST /ngsi-ld/v1/entities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{").await.unwrap();
        slow.push(stream);
    }
    let started = Instant::now();
    assert_eq!(broker.get("/types").await.status, 200);
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_broker_killed_under_load_loses_no_accepted_write() {
    let mut broker = Broker::ready().await;
    let (client, api) = (broker.client.clone(), broker.api);
    let so_far = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (client, so_far) = (client.clone(), Arc::clone(&so_far));
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for n in 0.. {
                    let id = format!("urn:x:{writer}:{n}");
                    let body = json!({"id": id, "type": "T"}).to_string();
                    match client
                        .try_send(api, "POST", "/ngsi-ld/v1/entities", &[], Some(body))
                        .await
                    {
                        Ok(answer) if answer.status == 201 => {
                            accepted.push(id);
                            so_far.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => panic!("{}", answer.text()),
                        Err(_) => break,
                    }
                }
                accepted
            })
        })
        .collect();
    crate::support::eventually(30, "all writers are at work", async || {
        so_far.load(Ordering::Relaxed) > 100
    })
    .await;
    broker.signal("-KILL");
    broker.process.wait().unwrap();
    let again = Broker::start_with(Arc::clone(&broker.database), Arc::clone(&broker.config));
    let started = Instant::now();
    again.until_ready().await;
    println!("ready again after {:?}", started.elapsed());
    let kept: std::collections::HashSet<String> = broker
        .database
        .psql("select id from mim.entities")
        .lines()
        .map(str::to_owned)
        .collect();
    let mut accepted = 0;
    for writer in writers {
        for id in writer.await.unwrap() {
            assert!(kept.contains(&id), "{id} was accepted and is lost");
            accepted += 1;
        }
    }
    assert!(accepted > 100, "{accepted}");
}

#[tokio::test]
async fn many_large_documents_at_once_stay_within_the_memory_of_a_pod() {
    let broker = Broker::ready().await;
    // The densest documents that the parser takes, and the largest.
    let dense = |n: usize| {
        format!(
            "{{\"id\":\"urn:x:d{n}\",\"type\":\"T\",\"p\":[{}]}}",
            vec!["0.123"; 190_000].join(",")
        )
    };
    let large = |n: usize| {
        format!(
            "{{\"id\":\"urn:x:l{n}\",\"type\":\"T\",\"p\":[\"{}\"]}}",
            "x".repeat(7_900_000)
        )
    };
    let bodies: Vec<String> = (0..24).map(dense).chain((0..6).map(large)).collect();
    let answers = futures::future::join_all(bodies.iter().map(|b| broker.post("/entities", b))).await;
    let (taken, other): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 201);
    assert!(!taken.is_empty());
    for answer in other {
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "2"),
            "{}",
            answer.text()
        );
    }
    let peak = broker.peak();
    println!(
        "{} taken, {} asked to come again, peak {peak} KiB",
        taken.len(),
        answers.len() - taken.len()
    );
    assert!(peak < 256 * 1024, "{peak} KiB");
    assert_eq!(
        broker
            .post("/entities", r#"{"id":"urn:x:1","type":"T"}"#)
            .await
            .status,
        201
    );
}
