//! Subscriptions that wait for no change.

use super::Broker;
use serde_json::{Value, json};

/// Subscribes to all entities of the type `T`, told in short every so many seconds.
pub async fn subscribe(broker: &Broker, id: &str, seconds: f64, endpoint: Value) {
    let body = json!({"id": id, "type": "Subscription", "entities": [{"type": "T"}], "timeInterval": seconds,
        "notification": {"format": "keyValues", "endpoint": endpoint}});
    let answer = broker.post("/subscriptions", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}
