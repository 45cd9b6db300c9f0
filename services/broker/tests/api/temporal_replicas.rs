//! Several replicas write the past of one entity at once.

use crate::support::{Broker, Postgres, eventually};
use crate::temporal::{insist, point, shown, values};
use futures::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;

/// Two replicas on one database.
async fn replicas(config: &str) -> [Broker; 2] {
    let database = Arc::new(Postgres::shared().database());
    let first = Broker::configured_on(Arc::clone(&database), config).await;
    [first, Broker::configured_on(database, config).await]
}

#[tokio::test]
async fn row_broker_concurrent_patches_at_two_replicas_are_all_in_the_history_in_the_order_in_which_they_were_made()
 {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    let replicas = replicas("temporal: {mode: Enabled}").await;
    replicas[0].create(r#"{"id":"urn:x:1","type":"T","n":-1}"#).await;
    let write = async |writer: usize| {
        for n in 0..EACH {
            let body = json!({"n": writer * EACH + n}).to_string();
            insist(
                &replicas[writer % 2],
                204,
                "PATCH",
                "/entities/urn:x:1/attrs",
                Some(&body),
            )
            .await;
        }
    };
    join_all((0..WRITERS).map(write)).await;
    let path = "/urn:x:1?timerel=after&timeAt=1970-01-01T00:00:00Z&timeproperty=modifiedAt&options=sysAttrs";
    let all = shown(&replicas[0], path).await;
    let mut seen: Vec<i64> = values(&all, "n").iter().filter_map(Value::as_i64).collect();
    let text = |n: usize, name: &str| all["n"][n][name].as_str().unwrap().to_owned();
    let count = WRITERS * EACH + 1;
    assert_eq!(seen.len(), count);
    let ids: Vec<_> = (0..count)
        .map(|n| (text(n, "instanceId"), text(n, "modifiedAt")))
        .collect();
    assert!(ids.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{ids:#?}");
    let entity = replicas[1].get("/entities/urn:x:1").await.json();
    assert_eq!(
        entity["n"]["value"].as_i64(),
        seen.last().copied(),
        "the last one is what holds"
    );
    seen.sort_unstable();
    assert_eq!(
        seen,
        (-1..i64::try_from(WRITERS * EACH).unwrap()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn row_broker_concurrent_pasts_of_one_new_entity_make_it_once_and_lose_nothing() {
    for config in [
        "temporal: {mode: Enabled}",
        "temporal: {mode: Enabled}\ncompatibility: {temporalCreate: PastAndEntity}",
    ] {
        let replicas = replicas(config).await;
        let create = async |replica: &Broker, n: usize| {
            let minute = format!("2020-01-01T00:{n:02}:00Z");
            let body =
                json!({"id": "urn:x:1", "type": format!("T{}", n % 3), "n": [point(n, &minute)]}).to_string();
            replica.post("/temporal/entities", &body).await.status
        };
        let create = &create;
        let mut statuses = join_all((0..12).map(|n| create(&replicas[n % 2], n))).await;
        statuses.sort_unstable();
        assert_eq!(
            (statuses[0], statuses[1], statuses[11]),
            (201, 204, 204),
            "{config}: {statuses:?}"
        );
        let all = shown(&replicas[1], "/urn:x:1").await;
        let expected: Vec<_> = (0..12).map(Value::from).collect();
        assert_eq!(values(&all, "n"), expected, "{config}");
        assert_eq!(all["type"].as_array().unwrap().len(), 3, "{config}");
    }
}

#[tokio::test]
async fn a_past_that_is_deleted_while_it_is_written_leaves_nothing_behind() {
    let replicas = replicas("temporal: {mode: Enabled}").await;
    for round in 0..10 {
        let body = json!({"id": "urn:x:1", "type": "T", "n": [{"value": round}]}).to_string();
        let write = async |replica: &Broker| replica.post("/temporal/entities", &body).await.status;
        let delete = async |replica: &Broker| {
            replica
                .send("DELETE", "/temporal/entities/urn:x:1", &[], None)
                .await
                .status
        };
        let (a, b, c, d) = futures::join!(
            write(&replicas[0]),
            delete(&replicas[1]),
            write(&replicas[1]),
            delete(&replicas[0])
        );
        assert!([a, c].iter().all(|status| [201, 204].contains(status)), "{a} {c}");
        assert!([b, d].iter().all(|status| [204, 404].contains(status)), "{b} {d}");
    }
    let status = replicas[0]
        .send("DELETE", "/temporal/entities/urn:x:1", &[], None)
        .await
        .status;
    assert!([204, 404].contains(&status));
    eventually(40, "no row is left", async || {
        replicas[0]
            .database
            .psql("select (select count(*) from mim.history) + (select count(*) from mim.forgotten)")
            == "0"
    })
    .await;
}
