//! What is taken away of the past (clauses 5.6.13, 5.6.16), and what goes with an entity.

use crate::support::eventually;
use crate::temporal::{insist, keeping, past, point, shown, values, vehicle};
use serde_json::{Value, json};

#[tokio::test]
async fn the_past_of_an_attribute_goes_by_dataset_or_whole() {
    let broker = keeping().await;
    let delete = async |query: &str, status| {
        insist(
            &broker,
            status,
            "DELETE",
            &format!("/temporal/entities/urn:x:1/attrs/fuel{query}"),
            None,
        )
        .await;
    };
    past(&broker, &vehicle("urn:x:1")).await;
    delete("?datasetId=urn:d:2", 404).await;
    delete("", 204).await;
    assert_eq!(values(&shown(&broker, "/urn:x:1").await, "fuel"), [json!(40)]);
    delete("", 404).await;
    delete("?datasetId=urn:d:1", 204).await;
    assert_eq!(shown(&broker, "/urn:x:1").await["fuel"], Value::Null);
    insist(
        &broker,
        204,
        "DELETE",
        "/temporal/entities/urn:x:1/attrs/speed?deleteAll=true",
        None,
    )
    .await;
    assert_eq!(
        shown(&broker, "/urn:x:1").await,
        json!({"id": "urn:x:1", "type": "Vehicle"})
    );
    for (path, status) in [
        ("/urn:x:1/attrs/speed", 404),
        ("/urn:x:2/attrs/speed", 404),
        ("/nothing/attrs/speed", 400),
        ("//attrs/speed", 400),
        ("/urn:x:1/attrs/sp(eed", 400),
        ("/urn:x:1/attrs/speed?datasetId=d", 400),
        ("/urn:x:1/attrs/speed?datasetId=urn:d:1&deleteAll=true", 400),
        ("/urn:x:1/attrs/speed?other=1", 400),
        ("/urn:x:1/attrs/", 405),
    ] {
        insist(
            &broker,
            status,
            "DELETE",
            &format!("/temporal/entities{path}"),
            None,
        )
        .await;
    }
}

#[tokio::test]
async fn a_past_that_is_deleted_is_gone_at_once_and_the_current_entity_stays_and_gets_another_one() {
    let broker = keeping().await;
    past(&broker, &vehicle("urn:x:1")).await;
    insist(&broker, 204, "DELETE", "/temporal/entities/urn:x:1", None).await;
    insist(&broker, 404, "GET", "/temporal/entities/urn:x:1", None).await;
    insist(&broker, 404, "DELETE", "/temporal/entities/urn:x:1", None).await;
    past(
        &broker,
        &json!({"id": "urn:x:1", "type": "Car", "speed": [point(5, "2021-01-01T00:00:00Z")]}),
    )
    .await;
    let anew = shown(&broker, "/urn:x:1").await;
    assert_eq!(
        (&anew["type"], values(&anew, "speed")),
        (&json!("Car"), vec![json!(5)])
    );

    broker.create(r#"{"id":"urn:x:2","type":"T","n":1}"#).await;
    insist(&broker, 204, "DELETE", "/temporal/entities/urn:x:2", None).await;
    insist(&broker, 404, "GET", "/temporal/entities/urn:x:2", None).await;
    assert_eq!(broker.get("/entities/urn:x:2").await.json()["n"]["value"], 1);
    insist(
        &broker,
        204,
        "PATCH",
        "/entities/urn:x:2/attrs",
        Some(r#"{"n":2}"#),
    )
    .await;
    assert_eq!(values(&shown(&broker, "/urn:x:2").await, "n"), [json!(2)]);
    for (path, status) in [("/urn:x:3", 404), ("/nothing", 400), ("/", 405), ("", 405)] {
        insist(
            &broker,
            status,
            "DELETE",
            &format!("/temporal/entities{path}"),
            None,
        )
        .await;
    }
    eventually(30, "what is forgotten goes", async || {
        broker.database.psql("select count(*) from mim.forgotten") == "0"
    })
    .await;
    assert_eq!(values(&shown(&broker, "/urn:x:1").await, "speed"), [json!(5)]);
    assert_eq!(values(&shown(&broker, "/urn:x:2").await, "n"), [json!(2)]);
}

#[tokio::test]
async fn the_past_goes_with_its_entity_and_is_not_that_of_a_later_one_of_its_name() {
    let broker = keeping().await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    insist(&broker, 204, "DELETE", "/entities/urn:x:1", None).await;
    insist(&broker, 404, "GET", "/temporal/entities/urn:x:1", None).await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":2}"#).await;
    assert_eq!(values(&shown(&broker, "/urn:x:1").await, "n"), [json!(2)]);
    let at = "type=T&timerel=after&timeAt=1970-01-01T00:00:00Z&timeproperty=createdAt";
    assert_eq!(
        values(&shown(&broker, &format!("?{at}")).await[0], "n"),
        [json!(2)]
    );
    let gone = format!("?{at}&q=n==1");
    assert_eq!(shown(&broker, &gone).await, json!([]), "also not by its values");
}

#[tokio::test]
async fn a_past_from_before_the_entity_is_its_past_and_both_go_together() {
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
    insist(&broker, 204, "DELETE", "/entities/urn:x:1", None).await;
    insist(&broker, 404, "GET", "/temporal/entities/urn:x:1", None).await;
    let all = "type=T&timerel=after&timeAt=1970-01-01T00:00:00Z";
    assert_eq!(shown(&broker, &format!("?{all}")).await, json!([]));
}
