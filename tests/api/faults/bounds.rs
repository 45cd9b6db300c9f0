//! The longest names and values.

use mim_tests::eventually::eventually;
use serde_json::json;

use crate::city::{City, broker};

#[tokio::test]
async fn row_a_name_of_40_characters_is_no_name_of_41_and_becomes_ready() {
    let city = City::new("longest").await;
    let name = "a".repeat(40);
    city.apply(&broker(&name, &json!({}))).await;
    city.broker_says(&name, "True", "Ready").await;
}

#[tokio::test]
async fn row_values_that_are_too_long_to_be_echoed_are_cut_and_the_status_goes_on() {
    let city = City::new("long").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.annotate_broker("vienna", "mim.city/requestedAt", &"x".repeat(5000))
        .await;
    let host = vec!["a".repeat(60); 25].join(".");
    city.apply(&broker(
        "graz",
        &json!({"engine": "External", "external": {"url": format!("https://{host}")}}),
    ))
    .await;
    eventually("both are told as far as there is room", || async {
        let vienna = city
            .brokers()
            .get("vienna")
            .await
            .unwrap()
            .status
            .unwrap_or_default();
        let graz = city
            .brokers()
            .get("graz")
            .await
            .unwrap()
            .status
            .unwrap_or_default();
        let handled = vienna
            .last_handled_requested_at
            .map_or(0, |value| value.chars().count());
        let result = graz.external.and_then(|external| external.result);
        if handled == 256 && result.is_some() {
            Ok(())
        } else {
            Err((handled, result))
        }
    })
    .await;
    city.apply(&broker("vienna", &json!({"replicas": 1}))).await;
    city.broker_says("vienna", "True", "Ready").await;
}
