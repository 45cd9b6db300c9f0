//! The example that users copy.

use mim_operator::reconcile::request::Journal;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::city::{City, broker};

#[tokio::test]
async fn the_example_of_a_subscription_becomes_ready_at_the_broker_of_the_example_of_a_city() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/subscription.yaml"
    ))
    .unwrap();
    let mut city = City::without_operator("sub-example").await;
    let native = city.serve("city").await;
    city.start(Journal::new());
    city.apply(&broker("city", &json!({"tenants": ["environment", "mobility"]})))
        .await;
    for document in serde_yaml::Deserializer::from_str(&text) {
        city.apply(&Value::deserialize(document).unwrap()).await;
    }
    city.subscription_says("air-alerts", "True", "Ready").await;
    let ((tenant, _), shown) = native.subscriptions().pop_first().unwrap();
    assert_eq!(tenant, "environment");
    let endpoint = &shown["notification"]["endpoint"];
    assert_eq!(
        endpoint["uri"],
        format!("http://air-alerts.{}.svc:8080/changes", city.namespace)
    );
    assert_eq!(
        (&endpoint["timeout"], &endpoint["cooldown"]),
        (&json!(5000), &json!(30_000))
    );
    assert_eq!(endpoint["receiverInfo"].as_array().unwrap().len(), 2);
    assert_eq!(shown["throttling"], 60);
}
