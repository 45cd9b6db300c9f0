//! The read-only contract of tenants that come and go, and whose names PostgreSQL would not have.

use crate::support::broker::folder_of;
use crate::support::contract::{City, PASSWORD, configuration, database, set_password};
use crate::support::{Broker, eventually};
use std::sync::Arc;

const PLACE: &str = r#"{"id":"urn:p:1","type":"P","location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[1,1]}}}"#;
const VIEW: &str = r#"{"type":"P","columns":[{"name":"n","attribute":"p","type":"number","index":true}]}"#;

#[tokio::test]
async fn a_dropped_tenant_takes_its_schema_its_role_and_its_indexes_along() {
    let city = City::ready().await;
    city.create(PLACE).await;
    city.put("v", VIEW).await;
    let role = city.role("one_v1");
    let config = format!("{}droppedTenants: [one]\n", configuration("two"));
    city.broker.configure(&config);
    let left = format!(
        "select (select count(*) from pg_namespace where nspname = 'one_v1') + (select count(*) from pg_roles where rolname = '{role}') \
         + (select count(*) from mim.contract_views) + (select count(*) from pg_class where relname like 'contract\\_%' and relkind = 'i' and relname not like '%pkey%' and relname not like '%key')"
    );
    eventually(40, "nothing of it is left", async || {
        city.broker.database.psql(&left) == "0"
    })
    .await;
    city.read("two_v1", "select count(*) from two_v1.places");
    // One of that name that comes later is a new one.
    city.broker.configure(&configuration("one, two"));
    city.until_read("one_v1").await;
    assert_eq!(city.read("one_v1", "select count(*) from one_v1.places"), "0");
    assert_eq!(city.views("GET", "one/views/v", None).await.status, 404);
}

#[tokio::test]
async fn tenants_whose_names_postgresql_would_cut_or_keep_for_itself_have_schemas_of_their_own() {
    let long = "x".repeat(62);
    let tenants = format!("{long}a, {long}b, pg_city, default, Mim-1");
    let schemas: Vec<String> = [
        format!("{long}a"),
        format!("{long}b"),
        "pg_city".to_owned(),
        "default".to_owned(),
        "Mim-1".to_owned(),
    ]
    .iter()
    .map(|tenant| mim_broker::contract::names::schema(tenant))
    .collect();
    let names: Vec<&str> = schemas.iter().map(String::as_str).collect();
    let city = City::over(Arc::new(database()), &tenants, &names).await;
    for tenant in ["pg_city", &format!("{long}a")] {
        let made = city
            .broker
            .send("POST", "/entities", &[("NGSILD-Tenant", tenant)], Some(PLACE))
            .await;
        assert_eq!(made.status, 201);
    }
    let counts = |tenant: &str, schema: &str| {
        let role = mim_broker::contract::names::role(&city.broker.database.name, tenant);
        let sql = format!("select count(*) from \"{schema}\".places");
        let database = &city.broker.database;
        let output = database
            .postgres
            .psql_as(&role, PASSWORD, &database.name, &sql)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for (tenant, count) in [
        (format!("{long}a"), "1"),
        (format!("{long}b"), "0"),
        ("pg_city".to_owned(), "1"),
        ("default".to_owned(), "0"),
        ("Mim-1".to_owned(), "0"),
    ] {
        let schema = mim_broker::contract::names::schema(&tenant);
        eventually(30, "its reader reads it", async || {
            counts(&tenant, &schema) == count
        })
        .await;
    }
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_left_alone_and_told() {
    let database = Arc::new(database());
    database.psql("create schema one_v1; create table one_v1.kept as select 7 as n");
    let city = City::over(Arc::clone(&database), "one, two", &["one_v1", "two_v1"]).await;
    city.until_read("two_v1").await;
    eventually(20, "it is told", async || {
        city.broker.readyz().await.1.contains("one_v1")
    })
    .await;
    assert_eq!(city.broker.readyz().await.0, 200);
    assert_eq!(database.psql("select n from one_v1.kept"), "7");
    assert!(city.try_read("one_v1", "select 1").is_err());
    let refused = city.views("PUT", "one/views/v", Some(VIEW)).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
}

#[tokio::test]
async fn two_replicas_that_start_at_once_make_one_contract() {
    let database = Arc::new(database());
    let tenants: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
    let config = folder_of(&configuration(&tenants.join(", ")));
    for tenant in &tenants {
        set_password(config.path(), &format!("{tenant}_v1"), Some(PASSWORD));
    }
    let brokers = [(); 2].map(|()| Broker::start_with(Arc::clone(&database), Arc::clone(&config)));
    for broker in &brokers {
        broker.until_ready().await;
    }
    let made = "select count(*) from pg_roles where rolname like current_database() || '.t%' and rolcanlogin";
    eventually(60, "all readers are there", async || database.psql(made) == "20").await;
    eventually(60, "nothing is wrong", async || {
        brokers[0].readyz().await.1 == "ok" && brokers[1].readyz().await.1 == "ok"
    })
    .await;
    for broker in &brokers {
        assert!(!broker.log.lock().unwrap().contains("not as it is to be"));
    }
}
