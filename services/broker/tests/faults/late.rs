//! A database that answers late or not at all, and clients that do not wait for it.

use crate::support::{Broker, Postgres, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Ten connections of the pool and the keeper's one.
const MOST: usize = 11;

pub fn sessions(broker: &Broker) -> usize {
    let count = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'mim-broker'";
    broker.database.psql(count).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_slow_abandoned_requests_leave_no_statement_behind_and_never_more_connections_than_the_pool_has()
 {
    let broker = Arc::new(Broker::ready().await);
    broker
        .create(r#"{"id":"urn:x:1","type":"T","p":{"value":1,"observedAt":"2024-01-01T00:00:00Z"}}"#)
        .await;
    // A query by time is now slow beyond the length of this test.
    broker.database.psql(
        "create or replace function mim.instant_key(t text) returns text language plpgsql volatile as $$ begin perform pg_sleep(9); return t; end $$",
    );
    let most = Arc::new(std::sync::Mutex::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let watching = tokio::task::spawn_blocking({
        let (broker, most, done) = (Arc::clone(&broker), Arc::clone(&most), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Relaxed) {
                let now = sessions(&broker);
                let mut most = most.lock().unwrap();
                *most = now.max(*most);
            }
        }
    });
    let request =
        "GET /ngsi-ld/v1/entities?type=T&q=p.observedAt%3E2023-01-01T00:00:00Z HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..50 {
        let mut stream = TcpStream::connect(broker.api).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eventually(4, "nothing of the abandoned requests runs", async || {
        let running = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'mim-broker' and state <> 'idle'";
        broker.database.psql(running) == "0"
    })
    .await;
    done.store(true, Ordering::Relaxed);
    watching.await.unwrap();
    let most = *most.lock().unwrap();
    assert!((2..=MOST).contains(&most), "{most} sessions at most");
    assert_eq!(broker.get("/entities/urn:x:1").await.status, 200);
}

#[tokio::test]
async fn row_database_slow_a_batch_that_takes_longer_than_it_may_is_too_large_and_leaves_nothing_behind() {
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:0","type":"T","p":1}"#).await;
    broker.database.psql("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return new; end $$; create trigger slow before insert on mim.entities for each row execute function slow()");
    let items = |count: usize| {
        let each = (0..count).map(|n| format!(r#"{{"id":"urn:x:{n}","type":"T","p":2}}"#));
        format!("[{}]", each.collect::<Vec<_>>().join(","))
    };
    let refused = broker.post("/entityOperations/upsert", &items(15)).await;
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.text().contains("fewer entities"), "{}", refused.text());
    assert_eq!(broker.database.psql("select count(*) from mim.entities"), "1");
    assert_eq!(
        broker.get("/entities/urn:x:0?format=simplified").await.json()["p"],
        1
    );
    // What is told helps.
    let fewer = broker.post("/entityOperations/upsert", &items(3)).await;
    assert_eq!(fewer.status, 201, "{}", fewer.text());
}

#[tokio::test]
async fn row_database_slow_a_query_is_too_complex_and_a_write_is_to_come_again() {
    let broker = Broker::ready().await;
    broker
        .create(r#"{"id":"urn:x:1","type":"T","p":{"value":1,"observedAt":"2024-01-01T00:00:00Z"}}"#)
        .await;
    // Both take a second longer than a statement may.
    broker.database.psql(
        "create or replace function mim.instant_key(t text) returns text language plpgsql volatile as $$ begin perform pg_sleep(11); return t; end $$; \
         create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(11); return new; end $$; \
         create trigger slow before insert on mim.entities for each row execute function slow()",
    );
    let (query, write) = tokio::join!(
        broker.get("/entities?type=T&q=p.observedAt%3E2023-01-01T00:00:00Z"),
        broker.post("/entities", r#"{"id":"urn:x:2","type":"T"}"#),
    );
    assert_eq!(query.status, 403, "{}", query.text());
    assert_eq!(
        query.json()["type"],
        "https://uri.etsi.org/ngsi-ld/errors/TooComplexQuery"
    );
    assert_eq!(write.status, 503, "{}", write.text());
    assert_eq!(write.header("retry-after"), "2");
    assert_eq!(broker.database.psql("select id from mim.entities"), "urn:x:1");
}

/// Sends requests one after the other until told to stop; returns how long the slowest took, and what was created.
async fn caller(broker: Arc<Broker>, caller: usize, stop: Arc<AtomicBool>) -> (Duration, Vec<String>) {
    let (mut slowest, mut created) = (Duration::ZERO, Vec::new());
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (id, started) = (format!("urn:x:{caller}:{n}"), Instant::now());
        let (path, body) = match n % 3 {
            0 => ("/entities", Some(format!(r#"{{"id":"{id}","type":"T"}}"#))),
            1 => (
                "/entityOperations/upsert",
                Some(format!(r#"[{{"id":"{id}","type":"T"}}]"#)),
            ),
            _ => ("/entities?type=T&limit=5&count=true", None),
        };
        let method = if body.is_some() { "POST" } else { "GET" };
        let answer = broker.send(method, path, &[], body.as_deref()).await;
        slowest = slowest.max(started.elapsed());
        match answer.status {
            200 => {}
            201 => created.push(id),
            503 => {
                assert_eq!(answer.header("retry-after"), "2");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    (slowest, created)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_slow_one_that_hangs_is_answered_for_and_serves_again_when_it_goes_on() {
    let postgres = Postgres::own();
    let broker = Arc::new(Broker::start(Arc::new(postgres.database())));
    broker.until_ready().await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..20)
        .map(|n| tokio::spawn(caller(Arc::clone(&broker), n, Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let frozen = tokio::task::block_in_place(|| postgres.freeze());
    eventually(6, "readyz tells of it", async || {
        let (status, words) = broker.readyz().await;
        status == 503 && words.contains("no answer within")
    })
    .await;
    // Everything that was under way has had its time, and what came later too.
    tokio::time::sleep(Duration::from_secs(18)).await;
    drop(frozen);
    eventually(10, "it is ready again", async || broker.readyz().await.0 == 200).await;
    eventually(10, "a write is accepted again", async || {
        let answer = broker
            .post("/entityOperations/upsert", r#"[{"id":"urn:x:after","type":"T"}]"#)
            .await;
        matches!(answer.status, 201 | 204)
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let (mut created, mut longest) = (Vec::new(), Duration::ZERO);
    for caller in callers {
        let (slowest, of_caller) = caller.await.unwrap();
        longest = longest.max(slowest);
        assert!(slowest < Duration::from_secs(20), "{slowest:?}");
        created.extend(of_caller);
    }
    let kept: std::collections::HashSet<String> = broker
        .database
        .psql("select id from mim.entities")
        .lines()
        .map(str::to_owned)
        .collect();
    println!("{} created, the slowest answer took {longest:?}", created.len());
    assert!(created.len() > 20 && created.iter().all(|id| kept.contains(id)));
    eventually(10, "no more sessions than the pool has", async || {
        tokio::task::block_in_place(|| sessions(&broker)) <= MOST
    })
    .await;
}
