//! Tenants whose data is to go (`droppedTenants`): only those, all of it, and with no way back.

use crate::support::{Broker, Postgres, eventually};
use serde_json::json;
use std::sync::Arc;

const ENTITY: &str = r#"{"id":"urn:x:1","type":"A","p":1,"location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,1]}}}"#;
const SUBSCRIPTION: &str = r#"{"id":"urn:s:1","type":"Subscription","entities":[{"type":"A"}],"notification":{"endpoint":{"uri":"http://127.0.0.1:9/x"}}}"#;
const CONTEXT: &str = r#"{"@context":{"p":"https://a.example/p"}}"#;
/// Every table that has rows of a tenant.
const TABLES: [&str; 9] = [
    "entities",
    "entity_types",
    "entity_geometries",
    "history",
    "forgotten",
    "temporal_entities",
    "subscriptions",
    "changes",
    "contexts",
];

fn tenant(name: &str) -> [(&str, &str); 1] {
    [("NGSILD-Tenant", name)]
}

/// Something of everything that a tenant may have.
async fn fill(broker: &Broker, name: &str) {
    let past = r#"{"id":"urn:x:2","type":"A","p":[{"type":"Property","value":1,"observedAt":"2026-01-01T00:00:00Z"}]}"#;
    for (method, path, body, status) in [
        ("POST", "/subscriptions", Some(SUBSCRIPTION), 201),
        ("POST", "/entities", Some(ENTITY), 201),
        ("PATCH", "/entities/urn:x:1/attrs", Some(r#"{"p":2}"#), 204),
        ("POST", "/temporal/entities", Some(past), 201),
        ("POST", "/jsonldContexts", Some(CONTEXT), 201),
    ] {
        let answer = broker.send(method, path, &tenant(name), body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
}

async fn exists(broker: &Broker, name: &str) -> bool {
    let answer = broker.send("GET", "/types", &tenant(name), None).await;
    assert!(
        answer.status == 200 || answer.error() == "NonexistentTenant",
        "{}",
        answer.text()
    );
    answer.status == 200
}

/// Rows of the tenant that had this number, in each table.
fn rows(broker: &Broker, number: &str) -> Vec<String> {
    let count = |table: &&str| {
        let sql = format!("select count(*) from mim.{table} where tenant = {number}");
        format!("{table} {}", broker.database.psql(&sql))
    };
    TABLES.iter().map(count).collect()
}

fn number(broker: &Broker, name: &str) -> String {
    let sql = format!("select id from mim.tenants where name = '{name}'");
    broker.database.psql(&sql)
}

/// As if the tenants had been marked long ago.
fn let_time_pass(broker: &Broker) {
    let sql = "update mim.tenants set dropped = dropped - interval '10 minutes' where dropped is not null";
    broker.database.psql(sql);
}

#[tokio::test]
async fn a_dropped_tenant_is_gone_at_once_and_its_data_when_every_replica_knows() {
    let both = "tenants: [one, two]\ntemporal: {mode: Enabled}\n";
    let broker = Broker::configured(both).await;
    for name in ["one", "two"] {
        fill(&broker, name).await;
    }
    let (one, two) = (number(&broker, "one"), number(&broker, "two"));
    let before = (rows(&broker, &one), rows(&broker, &two));
    broker.configure("tenants: [two]\ndroppedTenants: [one]\ntemporal: {mode: Enabled}\n");
    eventually(10, "nobody sees it", async || !exists(&broker, "one").await).await;
    // Replicas that have not read of it may still be writing.
    assert_eq!(rows(&broker, &one).first(), before.0.first());
    let_time_pass(&broker);
    eventually(40, "its row goes last", async || {
        let sql = format!("select count(*) from mim.tenants where id = {one}");
        broker.database.psql(&sql) == "0"
    })
    .await;
    let left = rows(&broker, &one);
    assert!(left.iter().all(|table| table.ends_with(" 0")), "{left:?}");
    for table in ["deliveries", "lanes"] {
        let sql = format!(
            "select count(*) from mim.{table} where subscription not in (select number from mim.subscriptions)"
        );
        eventually(15, table, async || broker.database.psql(&sql) == "0").await;
    }
    for (table, there) in before.1.iter().zip(rows(&broker, &two)) {
        // Notifications of the other one come and go.
        assert!(
            *table == there || table.starts_with("changes"),
            "{table}, now {there}"
        );
    }
    broker.configure(both);
    eventually(10, "one of that name comes", async || {
        exists(&broker, "one").await
    })
    .await;
    let entities = broker.send("GET", "/entities?type=A", &tenant("one"), None).await;
    assert_eq!((entities.status, entities.json()), (200, json!([])));
    assert_ne!(number(&broker, "one"), one);
}

#[tokio::test]
async fn a_tenant_on_the_list_is_not_dropped_whatever_else_names_it() {
    let broker = Broker::configured("tenants: [one]\n").await;
    let body = r#"{"id":"urn:x:1","type":"A"}"#;
    let made = broker.send("POST", "/entities", &tenant("one"), Some(body)).await;
    assert_eq!(made.status, 201);
    broker.configure("tenants: [one, two]\ndroppedTenants: [one]\n");
    eventually(10, "the list is read", async || exists(&broker, "two").await).await;
    let read = broker
        .send("GET", "/entities/urn:x:1", &tenant("one"), None)
        .await;
    assert_eq!(read.status, 200);
    assert_eq!(
        broker
            .database
            .psql("select count(*) from mim.tenants where dropped is not null"),
        "0"
    );
}

#[tokio::test]
async fn no_write_makes_a_tenant_that_is_dropped_until_it_is_named_no_more() {
    let first_write = "tenantCreation: OnFirstWrite\n";
    let broker = Broker::configured(first_write).await;
    let body = r#"{"id":"urn:x:1","type":"A"}"#;
    let write = async || broker.send("POST", "/entities", &tenant("one"), Some(body)).await;
    assert_eq!(write().await.status, 201);
    broker.configure(&format!("{first_write}droppedTenants: [one]\n"));
    eventually(10, "nobody sees it", async || !exists(&broker, "one").await).await;
    assert_eq!(write().await.error(), "NonexistentTenant");
    broker.configure(first_write);
    eventually(10, "a write makes one of that name", async || {
        write().await.status == 201
    })
    .await;
    let_time_pass(&broker);
    eventually(40, "the data of the former one goes", async || {
        broker
            .database
            .psql("select count(*) from mim.tenants where dropped is not null")
            == "0"
    })
    .await;
    let read = broker
        .send("GET", "/entities/urn:x:1", &tenant("one"), None)
        .await;
    assert_eq!(read.status, 200, "the new one keeps its own");
}
