//! What writes leave in the history, and how it goes.

use crate::support::broker::folder_of;
use crate::support::{Broker, Postgres, eventually};
use serde_json::json;
use std::sync::Arc;

/// Attribute, dataset, and value or `gone`, in the order in which they were stored.
fn rows(broker: &Broker, id: &str) -> Vec<String> {
    let sql = format!(
        "select regexp_replace(attr, '.*/', '') || coalesce(' ' || dataset, '') || ' ' || coalesce((body -> 'value')::text, 'gone') \
         from mim.history where entity = '{id}' order by recorded, attr, dataset nulls first"
    );
    broker.database.psql(&sql).lines().map(str::to_owned).collect()
}

async fn send(broker: &Broker, method: &str, path: &str, body: Option<&str>) {
    let answer = broker.send(method, path, &[], body).await;
    assert!(
        (200..300).contains(&answer.status),
        "{method} {path}: {}",
        answer.text()
    );
}

#[tokio::test]
async fn every_change_of_an_instance_is_kept_in_the_transaction_of_its_write() {
    let broker = Broker::configured("temporal: {mode: Enabled}").await;
    broker
        .create(r#"{"id":"urn:x:1","type":"T","scope":"/a","n":{"type":"Property","value":1,"observedAt":"1970-01-02T00:00:00Z"},"m":[{"type":"Property","value":2},{"type":"Property","value":3,"datasetId":"urn:d:1"}]}"#)
        .await;
    send(
        &broker,
        "PATCH",
        "/entities/urn:x:1/attrs",
        Some(r#"{"n":5,"scope":["/b"]}"#),
    )
    .await;
    // The same value again is a new instance of the past: it says that the value was still the same.
    send(&broker, "PATCH", "/entities/urn:x:1/attrs", Some(r#"{"n":5}"#)).await;
    send(
        &broker,
        "DELETE",
        "/entities/urn:x:1/attrs/m?datasetId=urn:d:1",
        None,
    )
    .await;
    let upsert = json!([{"id": "urn:x:1", "type": "T", "k": 7}, {"id": "urn:x:2", "type": "T", "k": 8}]);
    send(
        &broker,
        "POST",
        "/entityOperations/upsert?options=update",
        Some(&upsert.to_string()),
    )
    .await;
    assert_eq!(
        rows(&broker, "urn:x:1"),
        [
            "m 2",
            "m urn:d:1 3",
            "n 1",
            "scope [\"/a\"]",
            "n 5",
            "scope [\"/b\"]",
            "n 5",
            "m urn:d:1 gone",
            "k 7",
        ]
    );
    assert_eq!(rows(&broker, "urn:x:2"), ["k 8"]);
    let observed = "select count(*) from mim.history where observed = '1970-01-02T00:00:00Z'";
    assert_eq!(broker.database.psql(observed), "1");
}

#[tokio::test]
async fn a_write_that_is_refused_leaves_nothing_in_the_history() {
    let broker = Broker::configured("temporal: {mode: Enabled}").await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    let again = broker
        .post("/entities", r#"{"id":"urn:x:1","type":"T","n":2}"#)
        .await;
    assert_eq!(again.status, 409);
    // PostGIS refuses the second of these alone, and the batch is written one by one.
    let bow_tie: Vec<_> = (0..300)
        .map(|n| [f64::from(n % 2) * 10.0, f64::from(n) / 300.0])
        .collect();
    let ring: Vec<_> = bow_tie.iter().chain(&bow_tie[..1]).collect();
    let batch = json!([{"id": "urn:x:2", "type": "T", "n": 3}, {"id": "urn:x:3", "type": "T", "n": 4, "location": {"type": "Polygon", "coordinates": [ring]}}]);
    let answer = broker.post("/entityOperations/upsert", &batch.to_string()).await;
    assert_eq!(answer.status, 207, "{}", answer.text());
    assert_eq!(rows(&broker, "urn:x:1"), ["n 1"]);
    assert_eq!(rows(&broker, "urn:x:2"), ["n 3"]);
    assert_eq!(rows(&broker, "urn:x:3"), [""; 0]);
}

#[tokio::test]
async fn the_past_of_a_deleted_entity_goes_and_never_becomes_that_of_a_later_one() {
    let broker = Broker::configured("temporal: {mode: Enabled}").await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    broker.create(r#"{"id":"urn:x:2","type":"T","n":1}"#).await;
    send(&broker, "DELETE", "/entities/urn:x:1", None).await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":2}"#).await;
    eventually(30, "the past has gone", async || {
        rows(&broker, "urn:x:1") == ["n 2"]
    })
    .await;
    eventually(30, "nothing is left to forget", async || {
        broker.database.psql("select count(*) from mim.forgotten") == "0"
    })
    .await;
    assert_eq!(rows(&broker, "urn:x:2"), ["n 1"]);
}

#[tokio::test]
async fn a_broker_that_keeps_no_past_makes_no_table_for_it_and_one_that_is_told_to_begins_at_once() {
    let broker = Broker::configured("temporal: {mode: Disabled}").await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    send(&broker, "DELETE", "/entities/urn:x:1", None).await;
    let partitions = "select count(*) from pg_inherits where inhparent = 'mim.history'::regclass";
    assert_eq!(broker.database.psql(partitions), "0");
    assert_eq!(broker.database.psql("select count(*) from mim.forgotten"), "0");
    broker.configure("temporal: {mode: Enabled}\n");
    eventually(10, "there are partitions", async || {
        broker.database.psql(partitions) == "3"
    })
    .await;
    eventually(10, "changes are kept", async || {
        send(
            &broker,
            "POST",
            "/entityOperations/upsert",
            Some(r#"[{"id":"urn:x:2","type":"T","n":1}]"#),
        )
        .await;
        !rows(&broker, "urn:x:2").is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes_as_a_whole_partition() {
    let database = Postgres::shared().database();
    let first = Broker::start(Arc::new(database));
    first.until_ready().await;
    // Bounds of September 2020, and one instance in it.
    first.database.psql(
        "select mim.add_history('history_2020_09', '01744685-6800-7000-8000-000000000000', '0174e105-2400-7000-8000-000000000000'); \
         insert into mim.history values (1, 'urn:x:1', 'urn:n', '01744685-6800-7000-8000-000000000001', '2020-09-01T00:00:00Z', null, null, '{}')",
    );
    let owner = format!("alter table mim.history_2020_09 owner to {}", first.database.name);
    first.database.psql(&owner);
    first.configure("temporal: {mode: Enabled, retention: P1Y}\n");
    let names = "select string_agg(inhrelid::regclass::text, ' ') from pg_inherits where inhparent = 'mim.history'::regclass";
    eventually(10, "the old partition is gone, others are there", async || {
        let names = first.database.psql(names);
        !names.contains("2020_09") && names.contains("history_20")
    })
    .await;
}

#[tokio::test]
async fn replicas_that_start_at_once_make_each_partition_once() {
    let first = Broker::configured("temporal: {mode: Disabled}").await;
    let config = folder_of("temporal: {mode: Enabled}\n");
    let others: Vec<_> = (0..3)
        .map(|_| Broker::start_with(Arc::clone(&first.database), Arc::clone(&config)))
        .collect();
    for other in &others {
        other.until_ready().await;
        assert!(!other.log.lock().unwrap().contains("cannot be used: "));
    }
    let partitions = "select count(*) from pg_inherits where inhparent = 'mim.history'::regclass";
    assert_eq!(first.database.psql(partitions), "3");
}
