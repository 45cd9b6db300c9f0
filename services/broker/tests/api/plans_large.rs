//! What queries of a tenant with 50,000 entities look at: the index that helps, and about as many rows as it takes.

use crate::plans::{database_that_explains, looked_at, nodes, plans_of};
use crate::support::Broker;
use serde_json::json;
use std::sync::Arc;

const ENTITIES: u32 = 50_000;

/// Entities of one type. `n` is a number that no other has, `share` one of a hundred texts, `half` one of two; one in a
/// thousand has the scope `/rare`.
async fn loaded(broker: &Broker) {
    for batch in 0..ENTITIES / 1000 {
        let entity = |k: u32| {
            let id = batch * 1000 + k;
            // The order of ids says nothing of it.
            let n = (id * 7919) % ENTITIES;
            json!({"id": format!("urn:x:{id:05}"), "type": "T", "scope": if n.is_multiple_of(1000) { "/rare" } else { "/often" },
                "n": n, "name": format!("name {n}"), "share": format!("s{}", n % 100), "half": format!("h{}", n % 2),
                "location": {"type": "Point", "coordinates": [f64::from(n) / 1000.0, 10]}})
        };
        let items: Vec<_> = (0..1000).map(entity).collect();
        let written = broker
            .post("/entityOperations/create", &json!(items).to_string())
            .await;
        assert_eq!(written.status, 201, "{}", written.text());
    }
    broker.database.psql("vacuum analyze");
}

/// A query, indexes of which one is used, and how many rows all parts of the plan may look at, keys that are passed over in
/// an index alone left out. Where nothing but the order of ids helps, twenty of one in a hundred are found among about two
/// thousand; of one in five or two much sooner.
const QUERIES: [(&str, &[&str], f64); 19] = [
    ("type=T", TYPES, 200.0),
    ("type=T&q=name==%22name%20777%22", TERMS, 60.0),
    (
        "type=T&q=name==%22name%20777%22%7Cname==%22name%20888%22",
        TERMS,
        30.0,
    ),
    ("type=T&q=name==%22name%20777%22,%22name%20888%22", TERMS, 60.0),
    ("type=T&q=name==%22name%20777%22;n%3E1", TERMS, 60.0),
    ("type=T&q=share==%22s7%22", EITHER, 8000.0),
    ("type=T&q=share==%22s7%22%7Cshare==%22s8%22", EITHER, 8000.0),
    ("type=T&q=half==%22h1%22", TYPES, 400.0),
    ("type=T&q=n%3E49499", TYPES, 20_000.0),
    ("type=T&q=n%3E39999", TYPES, 1000.0),
    ("type=T&q=n%3E24999", TYPES, 400.0),
    ("type=T&q=n==100..599", TYPES, 20_000.0),
    ("type=T&q=n==100..10099", TYPES, 1000.0),
    ("type=T&q=share~=%22%5Es7$%22", TYPES, 20_000.0),
    ("type=T&q=half~=%22%5Eh1%22", TYPES, 400.0),
    (
        "type=T&georel=near;maxDistance==50&geometry=Point&coordinates=[25,10]",
        PLACES,
        30.0,
    ),
    (
        "type=T&q=n%3E1&georel=near;maxDistance==5000&geometry=Point&coordinates=[25,10]",
        PLACES,
        1500.0,
    ),
    ("type=T&id=urn:x:00007,urn:x:40000", IDS, 20.0),
    ("type=T&scopeQ=/often", TYPES, 400.0),
];
const TYPES: &[&str] = &["entity_types_pkey"];
const TERMS: &[&str] = &["entities_terms"];
const EITHER: &[&str] = &["entities_terms", "entity_types_pkey"];
const PLACES: &[&str] = &["entity_geometries_geom"];
const IDS: &[&str] = &["entities_pkey", "entity_types_pkey"];

#[tokio::test]
async fn queries_of_fifty_thousand_entities_use_the_index_that_helps_and_look_at_few_rows() {
    let database = database_that_explains(&["log_format = json", "log_analyze = on", "log_timing = off"]);
    let database = Arc::new(database);
    database.psql(&format!(
        "alter database {} set auto_explain.log_min_duration = -1",
        database.name
    ));
    let writer = Broker::start(Arc::clone(&database));
    writer.until_ready().await;
    loaded(&writer).await;
    database.psql(&format!(
        "alter database {} set auto_explain.log_min_duration = 0",
        database.name
    ));
    // Sessions of a new broker tell their plans.
    let broker = Broker::start(database);
    broker.until_ready().await;
    let mut wrong = Vec::new();
    for (query, indexes, most) in QUERIES {
        let plans = plans_of(&broker, &format!("{query}&limit=20")).await;
        let used: Vec<_> = plans.iter().flat_map(nodes).collect();
        let named = |name: &&str| used.iter().any(|node| node["Index Name"] == **name);
        let scans = used.iter().any(|node| node["Node Type"] == "Seq Scan");
        let rows = used.iter().filter(|node| node["Node Type"] != "Index Only Scan");
        let looked: f64 = rows.map(|node| looked_at(node)).sum();
        println!("{query}: {looked} rows");
        if !indexes.iter().any(named) || scans || looked > most {
            wrong.push(format!(
                "{query}: one of {indexes:?}, {looked} rows of {most}: {plans:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
