//! What an operation asks of the database: one round trip for each read, one transaction for each write.

use crate::support::{Broker, Postgres, Wire, eventually};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// How often an operation is tried: what runs beside it speaks to the database too, now and then.
const TRIES: usize = 12;

/// The fewest round trips that an operation has taken.
async fn round_trips(broker: &Broker, wire: &Wire, path: &str, body: Option<&str>) -> usize {
    let mut fewest = usize::MAX;
    for _ in 0..TRIES {
        let before = wire.round_trips();
        let method = if body.is_some() { "POST" } else { "GET" };
        let answer = broker.send(method, path, &[], body).await;
        assert!(matches!(answer.status, 200 | 206), "{path}: {}", answer.text());
        fewest = fewest.min(wire.round_trips() - before);
    }
    fewest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_is_one_round_trip() {
    let database = Arc::new(Postgres::shared().database());
    let wire = Wire::before(&database).await;
    let broker = Broker::configured_on(database, "temporal: {mode: Enabled}\n").await;
    for n in 0..5 {
        let body = json!({"id": format!("urn:x:{n}"), "type": "T", "n": n, "to": {"object": "urn:x:0"}});
        broker.create(&body.to_string()).await;
        let body = json!({"id": format!("urn:s:{n}"), "type": "Subscription", "entities": [{"type": "None"}],
            "notification": {"endpoint": {"uri": "http://receiver.example.org/"}}});
        let made = broker.post("/subscriptions", &body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let since = "timerel=after&timeAt=2020-01-01T00:00:00Z&timeproperty=modifiedAt";
    for path in [
        "/entities/urn:x:1",
        "/entities/urn:x:1?options=keyValues,sysAttrs&attrs=n",
        "/entities?type=T",
        "/entities?type=T&q=n%3E2&orderBy=n&limit=2&offset=1&count=true",
        "/entities?type=T&georel=near;maxDistance==10&geometry=Point&coordinates=[1,2]&count=true",
        "/types",
        "/types?details=true",
        "/types/T",
        "/attributes",
        "/attributes?details=true",
        "/attributes/n",
        "/subscriptions/urn:s:1",
        "/subscriptions?limit=2&offset=1",
        "/subscriptions?limit=2&offset=1&count=true",
        "/subscriptions?offset=100&count=true",
        "/temporal/entities/urn:x:1?SINCE",
        "/temporal/entities/urn:x:1?SINCE&options=temporalValues&lastN=2",
        "/temporal/entities/urn:x:1?SINCE&options=aggregatedValues&aggrMethods=avg&attrs=n",
        "/temporal/entities?type=T&SINCE",
    ] {
        let path = path.replace("SINCE", since);
        assert_eq!(round_trips(&broker, &wire, &path, None).await, 1, "{path}");
    }
    let query = r#"{"type":"Query","entities":[{"type":"T"}],"q":"n>2"}"#;
    let path = "/entityOperations/query?count=true";
    assert_eq!(round_trips(&broker, &wire, path, Some(query)).await, 1, "{path}");
    // Whoever follows links asks for what is at their ends: one level after the other.
    let path = "/entities/urn:x:1?join=inline";
    assert_eq!(round_trips(&broker, &wire, path, None).await, 2, "{path}");
}

/// How many transactions a log of statements tells of.
fn transactions(log: &str) -> usize {
    let (mut inside, mut all) = (HashMap::new(), 0);
    for line in log.lines().filter(|line| !line.starts_with('\t')) {
        let Some((prefix, text)) = line.split_once("LOG:  ") else {
            continue;
        };
        let session = prefix.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
        let Some((_, sql)) = text
            .split_once(": ")
            .filter(|(how, _)| *how == "statement" || how.starts_with("execute"))
        else {
            continue;
        };
        let open = inside.entry(session).or_insert(false);
        // Of several that are sent as one the first one tells.
        match sql.split(';').next().unwrap_or_default().trim() {
            "begin" => {
                *open = true;
                all += 1;
            }
            "commit" | "rollback" => *open = false,
            _ if *open => {}
            _ => all += 1,
        }
    }
    all
}

#[test]
fn transactions_are_counted_in_a_log_of_statements() {
    let line = |session: u32, text: &str| format!("2026-01-01 00:00:00 UTC [{session}] t1: LOG:  {text}\n");
    let log = [
        line(1, "statement: begin; set local jit = off"),
        line(2, "execute s1: select 1"),
        line(1, "execute <unnamed>: insert into x"),
        "\tvalues (1)\n".to_owned(),
        line(1, "statement: commit"),
        line(1, "execute s2: select 2"),
        line(1, "duration: 3 ms"),
    ];
    assert_eq!(transactions(&log.concat()), 3);
}

/// What the nth request sends.
type Body<'a> = &'a dyn Fn(usize) -> String;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_one_transaction() {
    let database = Arc::new(Postgres::shared().database());
    let logged = format!("alter database {} set log_statement = 'all'", database.name);
    database.psql(&logged);
    let broker = Broker::configured_on(database, "temporal: {mode: Enabled}\n").await;
    let body = |n: usize| json!({"id": format!("urn:x:{n}"), "type": "T", "n": n, "m": 1}).to_string();
    let batch = |n: usize| format!("[{},{}]", body(n), body(n + 1000));
    let subscription = |n: usize| {
        json!({"id": format!("urn:s:{n}"), "type": "Subscription", "entities": [{"type": "T"}], "isActive": false,
            "notification": {"endpoint": {"uri": "http://receiver.example.org/"}}})
        .to_string()
    };
    let instance = |_: usize| r#"{"n":[{"value":1,"observedAt":"2020-01-01T00:00:00Z"}]}"#.to_owned();
    let value = |n: usize| format!("{{\"n\":{}}}", n + 5000);
    let one = |n: usize| format!("{{\"value\":{}}}", n + 6000);
    let replaced =
        |n: usize| json!({"id": format!("urn:x:{n}"), "type": "T", "n": n + 7000, "m": 1}).to_string();
    let ids = |n: usize| json!([format!("urn:x:{}", n + 1000)]).to_string();
    let paused = |n: usize| json!({"description": n.to_string()}).to_string();
    let writes: [(&str, &str, Option<Body<'_>>); 16] = [
        ("POST", "/entities", Some(&body)),
        ("PATCH", "/entities/{}/attrs", Some(&value)),
        ("POST", "/entities/{}/attrs", Some(&value)),
        ("PATCH", "/entities/{}/attrs/n", Some(&one)),
        ("PUT", "/entities/{}/attrs/n", Some(&one)),
        ("DELETE", "/entities/{}/attrs/m", None),
        ("PATCH", "/entities/{}", Some(&value)),
        ("PUT", "/entities/{}", Some(&replaced)),
        ("POST", "/entityOperations/upsert", Some(&batch)),
        ("POST", "/entityOperations/update", Some(&batch)),
        ("POST", "/entityOperations/merge", Some(&batch)),
        ("POST", "/entityOperations/delete", Some(&ids)),
        ("POST", "/temporal/entities/{}/attrs", Some(&instance)),
        ("DELETE", "/entities/{}", None),
        ("POST", "/subscriptions", Some(&subscription)),
        ("PATCH", "/subscriptions/{}", Some(&paused)),
    ];
    for (method, path, body) in writes {
        let mut fewest = usize::MAX;
        for n in 0..TRIES {
            let kind = if path.starts_with("/subscriptions") {
                's'
            } else {
                'x'
            };
            let path = path.replace("{}", &format!("urn:{kind}:{n}"));
            let body = body.map(|body| body(n));
            let before = broker.database.log().len();
            let answer = broker.send(method, &path, &[], body.as_deref()).await;
            assert!(
                (200..300).contains(&answer.status),
                "{method} {path}: {}",
                answer.text()
            );
            fewest = fewest.min(transactions(&broker.database.log()[before..]));
        }
        assert_eq!(fewest, 1, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_read_once_however_many_write_at_once() {
    let database = Arc::new(Postgres::shared().database());
    let logged = format!("alter database {} set log_statement = 'all'", database.name);
    database.psql(&logged);
    let first = Broker::configured_on(Arc::clone(&database), "").await;
    for n in 0..30 {
        first
            .create(&json!({"id": format!("urn:x:{n}"), "type": "T", "n": 1}).to_string())
            .await;
        let body = json!({"id": format!("urn:s:{n}"), "type": "Subscription", "entities": [{"type": "None"}],
            "notification": {"endpoint": {"uri": "http://receiver.example.org/"}}});
        let made = first.post("/subscriptions", &body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    // One that knows none of them yet.
    let broker = Broker::start(Arc::clone(&database));
    broker.until_ready().await;
    let read = || {
        database
            .log()
            .matches("s.body::text from mim.subscriptions s ")
            .count()
    };
    let before = read();
    let write = async |n: usize| {
        let (created, path) = (n.is_multiple_of(2), format!("/entities/urn:x:{n}/attrs"));
        let entity = json!({"id": format!("urn:x:new-{n}"), "type": "T"}).to_string();
        let answer = if created {
            broker.post("/entities", &entity).await
        } else {
            broker.send("PATCH", &path, &[], Some(r#"{"n":2}"#)).await
        };
        assert!((200..300).contains(&answer.status), "{}", answer.text());
    };
    // Nobody reads them before as many want to as there are connections.
    let mut held = broker.locked("mim.subscriptions").await;
    let release = async {
        let used = "mim_broker_database_connections{state=\"used\"}";
        eventually(20, "all connections are used", async || {
            broker.metric(used).await == 10
        })
        .await;
        drop(held.stdin.take());
    };
    tokio::join!(futures::future::join_all((0..30).map(write)), release);
    held.wait().unwrap();
    assert_eq!(read() - before, 1);
}
