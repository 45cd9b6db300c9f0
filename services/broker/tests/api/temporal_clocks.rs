//! Clocks of replicas differ; the past of entities does not suffer from it. What a replica whose clock is ahead has
//! written is put into the database here.

use crate::support::{Broker, eventually};
use crate::temporal::{insist, keeping, past, point, shown, values};
use serde_json::{Value, json};

/// That an entity of this id was deleted, one minute later than it is here.
fn deleted_ahead(broker: &Broker, id: &str) {
    broker.database.psql(&format!(
        "insert into mim.forgotten select 1, '{id}', mim.first_instance(now() + interval '1 minute')"
    ));
}

/// Waits until nothing is left to sweep.
async fn swept(broker: &Broker) {
    eventually(40, "what was forgotten is gone", async || {
        broker.database.psql("select count(*) from mim.forgotten") == "0"
    })
    .await;
}

#[tokio::test]
async fn an_entity_that_is_made_again_keeps_its_first_values_though_it_was_deleted_by_a_clock_ahead() {
    let broker = keeping().await;
    for id in ["urn:x:1", "urn:x:2", "urn:x:3", "urn:x:4"] {
        deleted_ahead(&broker, id);
    }
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    let batch = r#"[{"id":"urn:x:2","type":"T","n":1},{"id":"urn:x:5","type":"T","n":1}]"#;
    insist(&broker, 201, "POST", "/entityOperations/create", Some(batch)).await;
    let batch = r#"[{"id":"urn:x:3","type":"T","n":1},{"id":"urn:x:5","type":"T","n":2}]"#;
    insist(&broker, 201, "POST", "/entityOperations/upsert", Some(batch)).await;
    past(
        &broker,
        &json!({"id": "urn:x:4", "type": "T", "n": [point(1, "2020-01-01T00:00:00Z")]}),
    )
    .await;
    for id in ["urn:x:1", "urn:x:2", "urn:x:3"] {
        insist(
            &broker,
            204,
            "PATCH",
            &format!("/entities/{id}/attrs"),
            Some(r#"{"n":2}"#),
        )
        .await;
    }
    insist(
        &broker,
        204,
        "POST",
        "/temporal/entities/urn:x:4/attrs",
        Some(r#"{"n":[{"value":2}]}"#),
    )
    .await;
    let are_kept = async || {
        for id in ["urn:x:1", "urn:x:2", "urn:x:3", "urn:x:4", "urn:x:5"] {
            let all = shown(&broker, &format!("/{id}")).await;
            assert_eq!(values(&all, "n"), [json!(1), json!(2)], "{id}");
        }
    };
    are_kept().await;
    swept(&broker).await;
    are_kept().await;
}

#[tokio::test]
async fn a_past_that_makes_its_entity_again_is_kept_though_it_was_deleted_by_a_clock_ahead() {
    let broker =
        Broker::configured("temporal: {mode: Enabled}\ncompatibility: {temporalCreate: PastAndEntity}").await;
    deleted_ahead(&broker, "urn:x:1");
    past(
        &broker,
        &json!({"id": "urn:x:1", "type": "T", "n": [point(1, "2020-01-01T00:00:00Z")]}),
    )
    .await;
    insist(
        &broker,
        204,
        "PATCH",
        "/entities/urn:x:1/attrs",
        Some(r#"{"n":2}"#),
    )
    .await;
    swept(&broker).await;
    assert_eq!(
        values(&shown(&broker, "/urn:x:1").await, "n"),
        [json!(1), json!(2)]
    );
}

#[tokio::test]
async fn the_past_is_in_the_order_in_which_it_happened_and_goes_whole_whatever_clocks_say() {
    let broker = keeping().await;
    let patch = async |n: usize| {
        let body = json!({"n": n}).to_string();
        insist(&broker, 204, "PATCH", "/entities/urn:x:1/attrs", Some(&body)).await;
    };
    broker.create(r#"{"id":"urn:x:1","type":"T","n":0}"#).await;
    broker.database.psql(
        "update mim.entities set modified = now() + interval '1 minute'; \
         insert into mim.history select 1, 'urn:x:1', attr, mim.first_instance(now() + interval '1 minute'), \
            now() + interval '1 minute', null, null, '{\"type\":\"Property\",\"value\":1}' from mim.history",
    );
    for n in 2..5 {
        patch(n).await;
    }
    let batch = r#"[{"id":"urn:x:1","type":"T","n":5}]"#;
    insist(
        &broker,
        204,
        "POST",
        "/entityOperations/upsert?options=update",
        Some(batch),
    )
    .await;
    patch(6).await;
    let all = shown(&broker, "/urn:x:1?options=sysAttrs").await;
    let mut stored: Vec<_> = all["n"].as_array().unwrap().iter().collect();
    stored.sort_by_key(|instance| instance["instanceId"].as_str().unwrap().to_owned());
    let stored: Vec<_> = stored.iter().map(|instance| instance["value"].as_i64()).collect();
    assert_eq!(stored, (0..7).map(Some).collect::<Vec<_>>(), "{all}");

    insist(&broker, 204, "DELETE", "/entities/urn:x:1", None).await;
    broker.create(r#"{"id":"urn:x:1","type":"T","m":1}"#).await;
    let anew = shown(&broker, "/urn:x:1").await;
    assert_eq!((&anew["n"], values(&anew, "m")), (&Value::Null, vec![json!(1)]));
    swept(&broker).await;
    assert_eq!(broker.database.psql("select count(*) from mim.history"), "1");
}

#[tokio::test]
async fn a_past_that_was_there_before_its_entity_goes_when_an_older_broker_deletes_that() {
    let broker = keeping().await;
    past(
        &broker,
        &json!({"id": "urn:x:1", "type": "T", "n": [point(1, "2020-01-01T00:00:00Z")]}),
    )
    .await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":2}"#).await;
    assert_eq!(
        values(&shown(&broker, "/urn:x:1").await, "n"),
        [json!(1), json!(2)]
    );
    // What a broker from before the past could be written does.
    broker.database.psql(
        "with gone as (delete from mim.entities), untyped as (delete from mim.entity_types) \
         insert into mim.forgotten (tenant, entity, before) \
         values (1, 'urn:x:1', mim.first_instance(now() + interval '1 microsecond')) \
         on conflict (tenant, entity) do update set before = excluded.before",
    );
    insist(&broker, 404, "GET", "/temporal/entities/urn:x:1", None).await;
    insist(
        &broker,
        404,
        "POST",
        "/temporal/entities/urn:x:1/attrs",
        Some(r#"{"n":[{"value":3}]}"#),
    )
    .await;
}
