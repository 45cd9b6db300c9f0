//! Queries of a large tenant use the indexes that are made for them, and writes go by keys.

use crate::notifications::{send, subscribe};
use crate::support::{Broker, Database, Postgres, Receiver, eventually};
use serde_json::{Value, json};
use std::sync::Arc;

/// A database that writes the plan of every statement to the server's log, with these settings of `auto_explain`.
pub fn database_that_explains(settings: &[&str]) -> Database {
    let database = Postgres::shared().database();
    let name = &database.name;
    database.psql(&format!(
        "alter database {name} set session_preload_libraries = 'auto_explain'; alter database {name} set auto_explain.log_min_duration = 0"
    ));
    for setting in settings {
        database.psql(&format!("alter database {name} set auto_explain.{setting}"));
    }
    database
}

/// A broker on such a database.
async fn broker_that_explains(settings: &[&str]) -> Broker {
    let broker = Broker::start(Arc::new(database_that_explains(settings)));
    broker.until_ready().await;
    broker
}

#[tokio::test]
async fn queries_use_the_indexes_made_for_them() {
    let broker = broker_that_explains(&["log_format = json"]).await;
    for batch in 0..10 {
        let items: Vec<_> = (0..1000)
            .map(|n| {
                let n = batch * 1000 + n;
                json!({"id": format!("urn:ngsi-ld:T:{n}"), "type": if n % 100 == 0 { "Rare" } else { "Common" }, "name": format!("name {n}"),
                    "n": n, "location": {"type": "Point", "coordinates": [f64::from(n) / 100.0, 10]},
                    "to": {"type": "Relationship", "object": format!("urn:ngsi-ld:T:{}", n + 1)}})
            })
            .collect();
        assert_eq!(
            broker
                .post("/entityOperations/upsert", &json!(items).to_string())
                .await
                .status,
            201
        );
    }
    broker.database.psql("vacuum analyze");
    for (query, index) in [
        ("type=Common&limit=20", "entity_types_pkey"),
        ("type=Rare&q=n%3E5000", "entity_types_pkey"),
        ("type=Common&q=name%3D%3D%22name%205001%22", "entities_terms"),
        (
            "georel=near;maxDistance==50&geometry=Point&coordinates=[50,10]",
            "entity_geometries_geom",
        ),
        (
            "georel=within&geometry=Polygon&coordinates=[[[49.99,9],[50.01,9],[50.01,11],[49.99,11],[49.99,9]]]",
            "entity_geometries_geom",
        ),
        ("type=*&id=urn:ngsi-ld:T:7", "entities_pkey"),
        ("type=Common&limit=20&orderBy=id", "entity_types_pkey"),
        ("type=Rare&limit=20&orderBy=n;desc", "entity_types_pkey"),
        ("type=Rare&limit=20&join=inline", "entities_pkey"),
        (
            "type=Rare&limit=20&join=flat&q=to%7BCommon:n%7D%3E5000",
            "entities_pkey",
        ),
    ] {
        let plans = plans_of(&broker, query).await;
        let used: Vec<_> = plans.iter().flat_map(nodes).collect();
        let with = |member: &str, value: &str| used.iter().any(|node| node[member] == value);
        assert!(with("Index Name", index), "{query} uses {index}: {plans:#?}");
        assert!(
            !with("Node Type", "Seq Scan"),
            "{query} reads no table from end to end: {plans:#?}"
        );
    }
}

/// The plans, as they went, of the statements that a query made in the tables of entities.
pub async fn plans_of(broker: &Broker, query: &str) -> Vec<Value> {
    let before = broker.database.log().len();
    assert!(!broker.ids(query).await.is_empty(), "{query}");
    let log = broker.database.log();
    // The broker looks after its statistics meanwhile.
    let asks = |logged: &Value| logged["Query Text"].as_str().unwrap().contains("mim.entities");
    let logged = plans_in(&log[before..]);
    let plans: Vec<_> = logged
        .into_iter()
        .filter(asks)
        .map(|mut logged| logged["Plan"].take())
        .collect();
    assert!(!plans.is_empty(), "{query}: {log}");
    plans
}

/// What `auto_explain` has logged.
pub fn plans_in(log: &str) -> Vec<Value> {
    let logged = log.split("  plan:\n").skip(1);
    let plans = logged.filter_map(|text| {
        serde_json::Deserializer::from_str(text)
            .into_iter::<Value>()
            .next()
    });
    plans.map(|plan| plan.unwrap()).collect()
}

/// Every node of a plan.
pub fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes);
    std::iter::once(plan).chain(below).collect()
}

/// How many rows a node has looked at, in all its loops: those that it gave on and those that a condition held back.
pub fn looked_at(node: &Value) -> f64 {
    let rows = [
        "Actual Rows",
        "Rows Removed by Filter",
        "Rows Removed by Join Filter",
        "Rows Removed by Index Recheck",
    ];
    let each: f64 = rows.iter().filter_map(|rows| node[rows].as_f64()).sum();
    each * node["Actual Loops"].as_f64().unwrap_or(1.0)
}

#[tokio::test]
async fn queries_right_after_a_load_look_at_each_entity_a_few_times_at_most() {
    const ENTITIES: u32 = 900;
    let broker = broker_that_explains(&["log_analyze = on", "log_format = json"]).await;
    // What autovacuum would do at a moment of its own.
    for table in ["entities", "entity_types", "entity_geometries"] {
        broker
            .database
            .psql(&format!("alter table mim.{table} set (autovacuum_enabled = off)"));
    }
    let load =
        async |numbers: std::ops::Range<u32>| {
            let items: Vec<_> = numbers
            .map(|n| {
                let kind = match n % 3 { 0 => "T", 1 => "U", _ => "V" };
                json!({"id": format!("urn:ngsi-ld:{kind}:{n}"), "type": kind, "n": n, "text": "x".repeat(800),
                    "location": {"type": "Point", "coordinates": [f64::from(n) / 100.0, 10]}})
            })
            .collect();
            let loaded = broker
                .post("/entityOperations/upsert", &json!(items).to_string())
                .await;
            assert_eq!(loaded.status, 201);
        };
    // The first entities are all that the statistics know.
    load(0..10).await;
    eventually(20, "the tables are analyzed", async || {
        broker.database.psql(
            "select count(*) from pg_class where relnamespace = 'mim'::regnamespace and relkind = 'r' and reltuples < 0 \
                and pg_relation_size(oid) > 0",
        ) == "0"
    })
    .await;
    load(10..ENTITIES).await;
    let area = "georel=within&geometry=Polygon&coordinates=[[[0,9],[3,9],[3,11],[0,11],[0,9]]]";
    for query in [
        "type=T&limit=20".to_owned(),
        "type=T&q=n%3E100&count=true&limit=1000".to_owned(),
        "type=T&idPattern=%5Eurn:ngsi-ld:[A-Za-z]%2B:&count=true&limit=1000".to_owned(),
        "type=T,U&q=n%3E100".to_owned(),
        "type=T&georel=near;maxDistance==50000&geometry=Point&coordinates=[2,10]&count=true&limit=1000"
            .to_owned(),
        format!("type=T&q=n%3E100&count=true&limit=1000&{area}"),
        format!("type=T&{area}"),
        area.to_owned(),
    ] {
        let plans = plans_of(&broker, &query).await;
        for node in plans.iter().flat_map(nodes) {
            assert!(looked_at(node) <= 3.0 * f64::from(ENTITIES), "{query}: {node:#}");
        }
    }
}

#[tokio::test]
async fn a_table_that_the_broker_may_not_analyze_keeps_no_other_from_its_statistics() {
    let broker = Broker::ready().await;
    // The smallest of all, and the superuser's, as is the database: its owner may analyze every table.
    let database = &broker.database;
    database.psql(&format!("alter database {} owner to current_user", database.name));
    database.psql(
        "create table mim.foreign_one (n integer) with (autovacuum_enabled = off); insert into mim.foreign_one values (1)",
    );
    broker
        .database
        .psql("alter table mim.entities set (autovacuum_enabled = off)");
    let text = "x".repeat(20_000);
    for n in 0..20 {
        broker
            .create(&format!(r#"{{"id":"urn:x:{n}","type":"T","p":"{text}"}}"#))
            .await;
    }
    eventually(20, "the entities are analyzed", async || {
        broker
            .database
            .psql("select reltuples >= 0 from pg_class where oid = 'mim.entities'::regclass")
            == "t"
    })
    .await;
    let foreign = "select reltuples from pg_class where oid = 'mim.foreign_one'::regclass";
    assert_eq!(broker.database.psql(foreign), "-1");
}

#[tokio::test]
async fn a_new_measurement_touches_no_index() {
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T","t":{"type":"Property","value":0,"observedAt":"2024-01-01T00:00:00Z"}}"#).await;
    for n in 1..=20 {
        let body =
            json!({"t": {"type": "Property", "value": n, "observedAt": "2024-01-01T00:00:01Z"}}).to_string();
        assert_eq!(
            broker
                .send("PATCH", "/entities/urn:x:1/attrs", &[], Some(&body))
                .await
                .status,
            204
        );
    }
    eventually(20, "20 updates are counted", async || {
        broker.database.psql("select n_tup_upd = 20 and n_tup_hot_upd = 20 from pg_stat_user_tables where relname = 'entities'") == "t"
    })
    .await;
}

#[tokio::test]
async fn a_page_that_would_be_too_large_is_refused_in_bounded_memory() {
    let broker = Broker::ready().await;
    let text = "x".repeat(1_000_000);
    for batch in 0..20 {
        let items: Vec<_> = (0..7)
            .map(|n| json!({"id": format!("urn:x:{batch}:{n}"), "type": "Big", "p": text}))
            .collect();
        assert_eq!(
            broker
                .post("/entityOperations/upsert", &json!(items).to_string())
                .await
                .status,
            201
        );
    }
    let answer = broker.get("/entities?type=Big&limit=1000").await;
    assert_eq!((answer.status, answer.error().as_str()), (403, "TooManyResults"));
    let some = broker.get("/entities?type=Big&limit=5").await;
    assert_eq!((some.status, some.json().as_array().unwrap().len()), (200, 5));
    let peak = broker.peak();
    assert!(peak < 256 * 1024, "{peak} KiB");
}

/// A table is read whole as long as it is small, and a plan that was made then is used on when it has grown: by what is written, and by what updates leave in
/// it, 5,000 pages a minute where much is written.
#[tokio::test]
async fn a_write_and_what_it_tells_go_by_keys_also_where_tables_were_small() {
    const WRITES: usize = 40;
    const OTHERS: usize = 400;
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(&broker, &receiver, "urn:s:1", json!({})).await;
    let entity = |kind: &str, n: usize| {
        let at = json!({"type": "Point", "coordinates": [1, 2]});
        json!({"id": format!("urn:{kind}:{n}"), "type": kind, "at": at, "n": 0})
    };
    let write = async |n: usize| {
        let body = json!({"n": n, "at": {"type": "Point", "coordinates": [n, 2]}}).to_string();
        send(&broker, "PATCH", "/entities/urn:T:1/attrs", Some(&body)).await;
        let again = json!([entity("U", n)]).to_string();
        send(&broker, "POST", "/entityOperations/upsert", Some(&again)).await;
        let path = format!("/entities/urn:U:{n}");
        send(&broker, "DELETE", &path, None).await;
    };
    broker.create(&entity("T", 1).to_string()).await;
    broker.database.psql("vacuum analyze");
    write(1).await;
    let others: Vec<Value> = (0..OTHERS).map(|n| entity("V", n)).collect();
    send(
        &broker,
        "POST",
        "/entityOperations/create",
        Some(&json!(others).to_string()),
    )
    .await;
    let counted = |what: &str| -> usize {
        let tables = "'entities', 'entity_types', 'entity_geometries', 'deliveries'";
        let most = format!(
            "select max({what}) from pg_stat_user_tables join pg_stat_user_indexes i using (relid, relname) \
            where i.schemaname = 'mim' and relname in ({tables})"
        );
        broker.database.psql(&most).parse().unwrap()
    };
    let (whole, read) = (counted("seq_scan"), counted("idx_tup_read"));
    for n in 2..WRITES + 2 {
        write(n).await;
    }
    eventually(10, "all are told", async || receiver.taken().len() > WRITES).await;
    // A session counts once a second, and ten seconds after its last statement.
    eventually(20, "the server has counted", async || {
        let by_key =
            "select idx_scan from pg_stat_user_tables where schemaname = 'mim' and relname = 'entities'";
        broker.database.psql(by_key).parse::<usize>().unwrap() >= 5 * WRITES
    })
    .await;
    // A few are by what looks for forgotten lanes now and then.
    let whole = counted("seq_scan") - whole;
    assert!(whole < WRITES / 4, "{whole} times");
    let read = counted("idx_tup_read") - read;
    assert!(read < WRITES * OTHERS / 8, "{read} rows");
}
