//! Indexes that views of the read-only contract ask for: built while writes go on, and no write is ever refused by one.

use crate::support::contract::City;
use crate::support::{Broker, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const INDEXED: &str = r#"{"type":"Air","columns":[
    {"name":"t","attribute":"p","type":"text","index":true},{"name":"i","attribute":"p","type":"integer","index":true},
    {"name":"n","attribute":"p","type":"number","index":true},{"name":"b","attribute":"p","type":"boolean","index":true},
    {"name":"at","attribute":"p","type":"timestamp","index":true},{"name":"g","attribute":"p","type":"geometry","index":true}]}"#;
const VALID: &str = "select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid \
    where i.indrelid = 'mim.entities'::regclass and c.relname like 'contract\\_%' and i.indisvalid";

async fn until_valid(broker: &Broker, number: &str) {
    eventually(60, "the indexes are as they are to be", async || {
        broker.database.psql(VALID) == number
    })
    .await;
}

/// A second replica on the same database, by the same configuration.
async fn replica(city: &City) -> Broker {
    let broker = Broker::start_with(Arc::clone(&city.broker.database), Arc::clone(&city.broker.config));
    broker.until_ready().await;
    broker
}

#[tokio::test]
async fn no_value_of_an_attribute_is_refused_by_an_index_of_a_view() {
    let city = City::ready().await;
    city.put("air", INDEXED).await;
    until_valid(&city.broker, "6").await;
    let long: String = (0..40_000u32)
        .map(|n| char::from(b'a' + u8::try_from(n * n % 26).unwrap()))
        .collect();
    let star: Vec<String> = (0..300).map(|n| format!("[{},{}]", n % 7, n * 11 % 89)).collect();
    for value in [
        format!("\"{long}\""),
        "1.7e308".to_owned(),
        "-1.7e308".to_owned(),
        "1e-308".to_owned(),
        "9".repeat(300),
        "\"NaN\"".to_owned(),
        "\"9999-99-99T99:99:99Z\"".to_owned(),
        "[1,\"a\",{}]".to_owned(),
        r#"{"type":"Property","value":{"type":"Polygon","coordinates":"x"}}"#.to_owned(),
        format!(
            r#"{{"type":"Property","value":{{"type":"Polygon","coordinates":[[{},[0,0]]]}}}}"#,
            star.join(",")
        ),
        r#"{"type":"Property","value":{"type":"Point","coordinates":[1e308,-1e308]}}"#.to_owned(),
        r#"{"type":"Property","value":{"type":"Point","coordinates":[]}}"#.to_owned(),
        r#"{"type":"LanguageProperty","languageMap":{"@none":"x"}}"#.to_owned(),
    ] {
        let id = rand::random::<u64>();
        let value = if value.starts_with('[') {
            format!(r#"{{"type":"Property","value":{value}}}"#)
        } else {
            value
        };
        city.create(&format!(r#"{{"id":"urn:a:{id}","type":"Air","p":{value}}}"#))
            .await;
    }
    assert_eq!(
        city.read(
            "one_v1",
            &format!("select count(*) from one_v1.air where t = '{long}'")
        ),
        "1"
    );
    let plan = city.read(
        "one_v1",
        "set enable_seqscan = off;;set enable_nestloop = off;;explain select id from one_v1.air where t = 'x'",
    );
    assert!(plan.contains("contract_"), "{plan}");
    let plan = city.read(
        "one_v1",
        "set enable_seqscan = off;;set enable_nestloop = off;;explain select id from one_v1.air where n > 5 and n < 7",
    );
    assert!(plan.contains("contract_"), "{plan}");
}

#[tokio::test]
async fn indexes_are_built_by_one_of_two_replicas_while_writes_go_on() {
    let city = City::ready().await;
    let second = replica(&city).await;
    city.broker.database.psql(
        "insert into mim.entities select t.id, 'urn:bulk:' || n, array['x'], '{}', jsonb_build_object('https://uri.etsi.org/ngsi-ld/default-context/p', \
         jsonb_build_array(jsonb_build_object('type', 'Property', 'value', n))), '{}', now(), now() from generate_series(1, 50000) n, mim.tenants t where t.name = 'one'",
    );
    let (stop, written) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
    let writers: Vec<_> = [city.broker.api, second.api]
        .into_iter()
        .enumerate()
        .map(|(w, api)| {
            let (client, stop, written) = (
                city.broker.client.clone(),
                Arc::clone(&stop),
                Arc::clone(&written),
            );
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let body = format!(r#"{{"id":"urn:w:{w}:{n}","type":"Air","p":{n}}}"#);
                    let headers = [("NGSILD-Tenant", "one")];
                    let answer = client
                        .send(api, "POST", "/ngsi-ld/v1/entities", &headers, Some(body))
                        .await;
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let before = written.load(Ordering::Relaxed);
    city.put("air", INDEXED).await;
    until_valid(&city.broker, "6").await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let during = written.load(Ordering::Relaxed) - before;
    assert!(during > 10, "writes went on: {during}");
    let built = |broker: &Broker| {
        broker
            .log
            .lock()
            .unwrap()
            .matches("index of the contract was built")
            .count()
    };
    assert_eq!(built(&city.broker) + built(&second), 6, "each was built once");
    let count = city.read("one_v1", "select count(*) from one_v1.air where n >= 1");
    assert_eq!(count, written.load(Ordering::Relaxed).to_string());
}

/// `create index` without `concurrently` waits as this one does, but with a lock behind which all writes wait: `during > 10` above tells the two apart only
/// where a build is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_waits_for_a_long_transaction_keeps_no_write_waiting() {
    const SOON: Duration = Duration::from_secs(5);
    let city = City::ready().await;
    let second = replica(&city).await;
    city.create(r#"{"id":"urn:a:held","type":"Air","p":0}"#).await;
    let database = &city.broker.database;
    let held = database.transaction("update mim.entities set modified = modified where id = 'urn:a:held'");
    let writing = "select count(*) from pg_locks l join pg_stat_activity a using (pid) where a.datname = current_database() \
        and a.state = 'idle in transaction' and l.relation = 'mim.entities'::regclass and l.mode = 'RowExclusiveLock' and l.granted";
    eventually(20, "a transaction that writes is open", async || {
        database.psql(writing) == "1"
    })
    .await;
    city.put("air", INDEXED).await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' \
        and query like 'create index%'";
    eventually(30, "the build waits for its end", async || {
        database.psql(waits) == "1"
    })
    .await;
    for (n, replica) in [&city.broker, &second].into_iter().cycle().take(10).enumerate() {
        let body = format!(r#"{{"id":"urn:a:{n}","type":"Air","p":{n}}}"#);
        let write = replica.send("POST", "/entities", &[("NGSILD-Tenant", "one")], Some(&body));
        let answer = tokio::time::timeout(SOON, write).await;
        let answer = answer.unwrap_or_else(|_| panic!("write {n} waits for the index"));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    assert_eq!(
        (database.psql(waits), database.psql(VALID)),
        ("1".into(), "0".into())
    );
    drop(held);
    until_valid(&city.broker, "6").await;
    // What was written while it waited is in it.
    let all = city.read(
        "one_v1",
        "select string_agg(n::text, ',' order by n) from one_v1.air",
    );
    assert_eq!(all, "0,0,1,2,3,4,5,6,7,8,9");
}

#[tokio::test]
async fn an_invalid_index_is_built_again_and_one_that_nobody_wants_goes() {
    let city = City::ready().await;
    let one = r#"{"type":"Air","columns":[{"name":"n","attribute":"p","type":"number","index":true}]}"#;
    city.put("air", one).await;
    until_valid(&city.broker, "1").await;
    city.broker.database.psql(
        "update pg_index set indisvalid = false where indrelid = 'mim.entities'::regclass and indexrelid::regclass::text like '%contract\\_%'",
    );
    until_valid(&city.broker, "1").await;
    city.put("air", &one.replace("true", "false")).await;
    until_valid(&city.broker, "0").await;
    city.put("air", one).await;
    until_valid(&city.broker, "1").await;
    assert_eq!(city.views("DELETE", "one/views/air", None).await.status, 204);
    until_valid(&city.broker, "0").await;
}

#[tokio::test]
async fn a_restart_changes_nothing_and_what_was_lost_is_made_again() {
    let mut city = City::ready().await;
    city.put("air", INDEXED).await;
    city.create(r#"{"id":"urn:a:1","type":"Air","p":5}"#).await;
    until_valid(&city.broker, "6").await;
    let state = "select string_agg(c.oid || ' ' || c.relname, ',' order by c.oid) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
        where n.nspname like '%\\_v1' or c.relname like 'contract\\_%'";
    let before = city.broker.database.psql(state);
    let config = Arc::clone(&city.broker.config);
    let database = Arc::clone(&city.broker.database);
    city.broker.process.kill().unwrap();
    city.broker.process.wait().unwrap();
    city.broker = Broker::start_with(Arc::clone(&database), Arc::clone(&config));
    city.broker.until_ready().await;
    city.until_read("one_v1").await;
    assert_eq!(city.read("one_v1", "select i from one_v1.air"), "5");
    assert_eq!(database.psql(state), before);
    // As after a dump without these schemas was restored.
    city.broker.process.kill().unwrap();
    city.broker.process.wait().unwrap();
    database.psql("drop schema one_v1 cascade");
    city.broker = Broker::start_with(Arc::clone(&database), config);
    city.broker.until_ready().await;
    city.until_read("one_v1").await;
    assert_eq!(city.read("one_v1", "select i from one_v1.air"), "5");
}
