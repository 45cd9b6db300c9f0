//! Tenants that the first write makes (`tenantCreation: OnFirstWrite`, clause 5.5.10).

use crate::support::{Broker, Postgres, eventually};
use serde_json::json;
use std::sync::Arc;

const ENTITY: &str = r#"{"id":"urn:x:1","type":"A","p":1}"#;
const SUBSCRIPTION: &str = r#"{"id":"urn:s:1","type":"Subscription","entities":[{"type":"A"}],"notification":{"endpoint":{"uri":"http://r.example/"}}}"#;
const ON_FIRST_WRITE: &str = "tenants: [one]\ntenantCreation: OnFirstWrite\n";

fn tenants(broker: &Broker) -> String {
    broker
        .database
        .psql("select string_agg(name, ',' order by name) from mim.tenants where name <> ''")
}

#[tokio::test]
async fn only_what_creates_makes_a_tenant() {
    let broker = Broker::configured(ON_FIRST_WRITE).await;
    let new: &[(&str, &str)] = &[("NGSILD-Tenant", "new")];
    for (method, path, body) in [
        ("GET", "/entities/urn:x:1", None),
        ("GET", "/entities?type=A", None),
        ("GET", "/types", None),
        ("DELETE", "/entities/urn:x:1", None),
        ("PUT", "/entities/urn:x:1", Some(ENTITY)),
        ("PATCH", "/entities/urn:x:1", Some(ENTITY)),
        ("POST", "/entities/urn:x:1/attrs", Some(r#"{"p":2}"#)),
        ("PATCH", "/entities/urn:x:1/attrs", Some(r#"{"p":2}"#)),
        (
            "POST",
            "/entityOperations/update",
            Some("[{\"id\":\"urn:x:1\",\"p\":2}]"),
        ),
        (
            "POST",
            "/entityOperations/merge",
            Some("[{\"id\":\"urn:x:1\",\"p\":2}]"),
        ),
        ("POST", "/entityOperations/delete", Some("[\"urn:x:1\"]")),
    ] {
        let answer = broker.send(method, path, new, body).await;
        assert_eq!(
            (
                answer.status,
                answer.error().as_str(),
                answer.header("ngsild-tenant")
            ),
            (404, "NonexistentTenant", "new"),
            "{method} {path}"
        );
    }
    for (path, body) in [
        ("/entities", "{"),
        ("/entities", r#"{"id":"nouri","type":"A"}"#),
        ("/entityOperations/create", "[]"),
        ("/entityOperations/create", r#"[{"id":"nouri","type":"A"}]"#),
        ("/entityOperations/upsert", r#"[{"id":"urn:x:1"}]"#),
        ("/subscriptions", r#"{"type":"Subscription"}"#),
    ] {
        let answer = broker.send("POST", path, new, Some(body)).await;
        assert!(
            matches!(answer.status, 400 | 207),
            "{path} {body}: {}",
            answer.text()
        );
    }
    assert_eq!(tenants(&broker), "one", "what creates nothing makes no tenant");
    for (path, body) in [
        ("/entities", ENTITY.to_owned()),
        ("/entityOperations/create", format!("[{ENTITY}]")),
        ("/entityOperations/upsert", format!("[{ENTITY},{{}}]")),
    ] {
        let tenant = path.rsplit('/').next().unwrap();
        let header: &[(&str, &str)] = &[("NGSILD-Tenant", tenant)];
        let answer = broker.send("POST", path, header, Some(&body)).await;
        assert!(matches!(answer.status, 201 | 207), "{path}: {}", answer.text());
        assert_eq!(answer.header("ngsild-tenant"), tenant);
        let read = broker
            .send("GET", "/entities/urn:x:1?format=simplified", header, None)
            .await;
        assert_eq!(read.json()["p"], json!(1));
        assert_eq!(
            broker.get("/entities/urn:x:1").await.status,
            404,
            "nobody else sees it"
        );
    }
    let subscriptions: &[(&str, &str)] = &[("NGSILD-Tenant", "subscriptions")];
    let made = broker
        .send("POST", "/subscriptions", subscriptions, Some(SUBSCRIPTION))
        .await;
    assert_eq!(
        (made.status, made.header("ngsild-tenant")),
        (201, "subscriptions"),
        "{}",
        made.text()
    );
    let read = broker
        .send("GET", "/subscriptions/urn:s:1", subscriptions, None)
        .await;
    assert_eq!(read.status, 200);
    assert_eq!(broker.get("/subscriptions/urn:s:1").await.status, 404);
    assert_eq!(tenants(&broker), "create,entities,one,subscriptions,upsert");
    for bad in ["a b", "x'; drop table mim.tenants; --", &"a".repeat(64)] {
        let answer = broker
            .send("POST", "/entities", &[("NGSILD-Tenant", bad)], Some(ENTITY))
            .await;
        assert_eq!(answer.error(), "BadRequestData", "{bad}");
    }
}

#[tokio::test]
async fn every_replica_has_a_new_tenant_at_once_and_makes_it_once() {
    let broker = Broker::configured(ON_FIRST_WRITE).await;
    let other = Broker::start_with(broker.database.clone(), broker.config.clone());
    other.until_ready().await;
    for n in 0..5 {
        let name = format!("t{n}");
        let header: &[(&str, &str)] = &[("NGSILD-Tenant", &name)];
        let bodies: Vec<String> = (0..6).map(|n| ENTITY.replace("x:1", &format!("x:{n}"))).collect();
        let writes = bodies.iter().enumerate().map(|(n, body)| {
            let replica = if n % 2 == 0 { &broker } else { &other };
            replica.send("POST", "/entities", header, Some(body))
        });
        for answer in futures::future::join_all(writes).await {
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
        for replica in [&other, &broker] {
            let found = replica
                .send("GET", "/entities?type=A&count=true&limit=0", header, None)
                .await;
            assert_eq!(found.header("ngsild-results-count"), "6", "{name}");
        }
    }
    assert_eq!(tenants(&broker), "one,t0,t1,t2,t3,t4");
    let third = Broker::start_with(broker.database.clone(), broker.config.clone());
    third.until_ready().await;
    let known = third
        .send("GET", "/types", &[("NGSILD-Tenant", "t3")], None)
        .await;
    assert_eq!(known.status, 200, "a replica that starts later knows it");
}

#[tokio::test]
async fn tenants_are_made_up_to_a_number() {
    let broker = Broker::configured(ON_FIRST_WRITE).await;
    broker
        .database
        .psql("insert into mim.tenants (name) select 'n' || n from generate_series(1, 997) n");
    let full = async |name: &str| {
        broker
            .send("POST", "/entities", &[("NGSILD-Tenant", name)], Some(ENTITY))
            .await
    };
    assert_eq!(full("last").await.status, 201);
    let answer = full("more").await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (422, "OperationNotSupported")
    );
    assert!(answer.text().contains("1000"), "{}", answer.text());
    assert_eq!(full("n5").await.status, 201, "one that is there is served");
    let gone = broker
        .send("GET", "/types", &[("NGSILD-Tenant", "more")], None)
        .await;
    assert_eq!(gone.error(), "NonexistentTenant");
}

#[tokio::test]
async fn a_tenant_that_a_write_made_keeps_its_data_while_only_the_list_counts() {
    let broker = Broker::configured(ON_FIRST_WRITE).await;
    let new: &[(&str, &str)] = &[("NGSILD-Tenant", "new")];
    assert_eq!(
        broker.send("POST", "/entities", new, Some(ENTITY)).await.status,
        201
    );
    let status = async || broker.send("GET", "/entities/urn:x:1", new, None).await.status;
    for (text, expected) in [
        ("tenants: [one]\n", 404),
        (ON_FIRST_WRITE, 200),
        ("tenants: [one]\ntenantCreation: Configured\n", 404),
        ("tenants: [new]\n", 200),
    ] {
        broker.configure(text);
        eventually(10, text, async || status().await == expected).await;
    }
    broker.configure("tenants: []\n");
    eventually(10, "it is not on the list", async || status().await == 404).await;
    let refused = broker.send("POST", "/entities", new, Some(ENTITY)).await;
    assert_eq!(
        refused.error(),
        "NonexistentTenant",
        "and no write brings it back"
    );
}
