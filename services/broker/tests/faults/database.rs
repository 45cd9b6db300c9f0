//! The database goes away under load and comes back.

use crate::support::{Broker, Postgres, eventually};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Creates entities until told to stop; returns those that were accepted.
pub async fn writer(
    broker: Arc<Broker>,
    writer: usize,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut accepted = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ids: Vec<String> = (0..3)
            .map(|k| format!("urn:ngsi-ld:T:{writer}:{n}:{k}"))
            .collect();
        // Singles and batches in turn.
        let answer = if n % 2 == 0 {
            broker
                .post(
                    "/entities",
                    &json!({"id": ids[0], "type": "T", "n": n}).to_string(),
                )
                .await
        } else {
            let items: Vec<_> = ids
                .iter()
                .map(|id| json!({"id": id, "type": "T", "n": n}))
                .collect();
            broker
                .post("/entityOperations/upsert", &json!(items).to_string())
                .await
        };
        match answer.status {
            201 => accepted.extend(ids.into_iter().take(if n % 2 == 0 { 1 } else { 3 })),
            503 => {
                assert_eq!(
                    (answer.error().as_str(), answer.header("retry-after")),
                    ("InternalError", "2")
                );
                refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_database_killed_under_load_loses_no_accepted_write_and_serves_again_within_10_seconds() {
    let postgres = Postgres::own();
    let broker = Arc::new(Broker::start(Arc::new(postgres.database())));
    broker.until_ready().await;
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..8)
        .map(|n| {
            tokio::spawn(writer(
                Arc::clone(&broker),
                n,
                Arc::clone(&stop),
                Arc::clone(&refused),
            ))
        })
        .collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::block_in_place(|| postgres.kill());
        eventually(5, "readyz tells of the loss", async || {
            broker.readyz().await.0 != 200
        })
        .await;
        tokio::task::block_in_place(|| postgres.launch());
        let back = Instant::now();
        eventually(10, "a write is accepted again", async || {
            let id = format!("urn:ngsi-ld:Probe:{}", refused.load(Ordering::Relaxed));
            matches!(
                broker
                    .post("/entities", &json!({"id": id, "type": "P"}).to_string())
                    .await
                    .status,
                201 | 409
            )
        })
        .await;
        println!("served again after {:?}", back.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let mut accepted = Vec::new();
    for writer in writers {
        accepted.extend(writer.await.unwrap());
    }
    let kept: std::collections::HashSet<String> = broker
        .database
        .psql("select id from mim.entities")
        .lines()
        .map(str::to_owned)
        .collect();
    let lost: Vec<_> = accepted.iter().filter(|id| !kept.contains(*id)).collect();
    println!(
        "{} accepted, {} answered 503, {} lost",
        accepted.len(),
        refused.load(Ordering::Relaxed),
        lost.len()
    );
    assert!(lost.is_empty(), "{lost:?}");
    assert!(accepted.len() > 100 && refused.load(Ordering::Relaxed) > 0);
    // What was not accepted may or may not be there, but whole: no entity without its type row.
    assert_eq!(broker.database.psql("select count(*) from mim.entities e where not exists (select from mim.entity_types t where t.tenant = e.tenant and t.id = e.id)"), "0");
}

#[tokio::test]
async fn a_commit_is_on_disk_whatever_the_default_of_the_database() {
    let database = Postgres::shared().database();
    database.psql(&format!(
        "alter database {} set synchronous_commit = off",
        database.name
    ));
    let broker = Broker::start(Arc::new(database));
    broker.until_ready().await;
    // A trigger sees the session that writes.
    broker.database.psql(
        "create table seen (value text); grant all on seen to public; \
         create function see() returns trigger language plpgsql as $$ begin insert into public.seen values (current_setting('synchronous_commit')); return new; end $$; \
         create trigger see before insert on mim.entities for each row execute function see()",
    );
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    assert_eq!(
        broker
            .post("/entityOperations/upsert", r#"[{"id":"urn:x:2","type":"T"}]"#)
            .await
            .status,
        201
    );
    assert_eq!(broker.database.psql("select distinct value from seen"), "on");
}

#[tokio::test]
async fn one_entity_that_the_database_refuses_does_not_lose_its_batch() {
    let broker = Broker::ready().await;
    broker.database.psql(
        "create function refuse() returns trigger language plpgsql as $$ begin if new.id = 'urn:x:bad' then raise exception using errcode = '22000', message = 'no'; end if; return new; end $$; \
         create trigger refuse before insert on mim.entities for each row execute function refuse()",
    );
    let items = json!([{"id": "urn:x:1", "type": "T"}, {"id": "urn:x:bad", "type": "T"}, {"id": "urn:x:2", "type": "T"}]);
    let answer = broker.post("/entityOperations/upsert", &items.to_string()).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.json()["success"], json!(["urn:x:1", "urn:x:2"]));
    assert_eq!(answer.json()["errors"][0]["entityId"], "urn:x:bad");
    assert_eq!(broker.ids("type=T").await, ["urn:x:1", "urn:x:2"]);
}

#[tokio::test]
async fn row_database_slow_connections_are_bounded_and_who_waits_too_long_for_one_is_to_come_again() {
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T"}"#).await;
    // Somebody holds the row; every writer of it waits with a connection.
    let holder = std::thread::spawn({
        let database = Arc::clone(&broker.database);
        move || database.psql("begin; select 1 from mim.entities for update; select pg_sleep(8); commit")
    });
    eventually(5, "the row is held", async || broker.database.psql("select count(*) from pg_stat_activity where query like '%pg_sleep(8)%' and datname = current_database()") .as_str() >= "2").await;
    let body = r#"{"p":{"type":"Property","value":1}}"#;
    let started = Instant::now();
    let answers =
        futures::future::join_all((0..30).map(|_| broker.post("/entities/urn:x:1/attrs", body))).await;
    assert!(started.elapsed() < Duration::from_secs(15));
    assert!(
        answers.iter().all(|a| matches!(a.status, 204 | 503)),
        "{:?}",
        answers.iter().map(|a| a.status).collect::<Vec<_>>()
    );
    assert!(answers.iter().any(|a| a.status == 503));
    holder.join().unwrap();
    assert_eq!(broker.post("/entities/urn:x:1/attrs", body).await.status, 204);
    let metrics = broker
        .client
        .send(broker.health, "GET", "/metrics", &[], None)
        .await
        .text();
    assert!(
        metrics.contains("mim_broker_database_connections{state=\"allowed\"} 10"),
        "{metrics}"
    );
    // Another number is followed without a restart: connections beyond it are closed, and no more are made.
    broker.configure("tenants: [one, two]\ndatabase: {connections: 2}\n");
    let sessions = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'mim-broker'";
    eventually(
        10,
        "two connections and the one that watches are left",
        async || broker.database.psql(sessions) == "3",
    )
    .await;
    let reads = futures::future::join_all((0..30).map(|_| broker.get("/entities/urn:x:1"))).await;
    assert!(reads.iter().all(|a| a.status == 200));
    assert_eq!(broker.database.psql(sessions), "3");
}

#[tokio::test]
async fn damaged_data_is_the_brokers_failure_and_a_geometry_that_postgis_refuses_the_clients() {
    let broker = Broker::ready().await;
    broker.database.psql(
        "create function damaged() returns trigger language plpgsql as $$ begin if new.id like '%damaged' then raise exception using errcode = 'XX001', message = 'invalid page in block 7 of relation base/1'; end if; return new; end $$; \
         create trigger damaged before insert on mim.entities for each row execute function damaged()",
    );
    let answer = broker
        .post("/entities", r#"{"id":"urn:x:damaged","type":"T"}"#)
        .await;
    assert_eq!((answer.status, answer.error().as_str()), (500, "InternalError"));
    assert!(!answer.text().contains("block"), "{}", answer.text());
    let batch = r#"[{"id":"urn:x:damaged","type":"T"},{"id":"urn:x:1","type":"T"}]"#;
    let answer = broker.post("/entityOperations/upsert", batch).await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    broker.until_logged(1, "invalid page in block 7").await;

    // What PostGIS raises has the code of PostgreSQL's own failures.
    broker.database.psql(
        "create function refused() returns trigger language plpgsql as $$ begin perform ST_GeomFromText('POLYGON((0 0, 1 1, 2'); return new; end $$; \
         create trigger refused before insert on mim.entity_geometries for each row execute function refused()",
    );
    let body = r#"{"id":"urn:x:2","type":"T","location":{"type":"Point","coordinates":[1,2]}}"#;
    let answer = broker.post("/entities", body).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (400, "BadRequestData"),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().contains("PostGIS cannot handle"),
        "{}",
        answer.text()
    );
    broker.was_to_fail();
}

#[tokio::test]
async fn somebody_elses_table_that_is_locked_is_nothing_to_the_broker() {
    let broker = Broker::ready().await;
    let database = Arc::clone(&broker.database);
    database.psql("create table public.other (n integer); insert into public.other values (1)");
    let held =
        "begin; lock table public.other, mim.tenants in access exclusive mode; select pg_sleep(8); commit";
    let holder = tokio::task::spawn_blocking(move || database.psql(held));
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        let (status, words) = broker.readyz().await;
        assert_eq!(status, 200, "{words}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    holder.await.unwrap();
}
