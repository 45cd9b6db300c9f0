//! ContextSubscriptions against a broker that keeps subscriptions, through a real API server.

mod city;
mod example;
mod faults;
mod keeping;
mod leaving;
mod native;
mod peers;
mod secured;

use mim_operator::reconcile::request::Journal;
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::FakeBroker;
use serde_json::{Value, json};

pub use city::subscription;

use crate::city::City;

/// A city with an External broker that answers, and an operator that reaches it.
pub async fn with_broker(purpose: &str) -> (City, FakeBroker) {
    let mut city = City::without_operator(purpose).await;
    let broker = city.serve("vienna").await;
    city.start(Journal::new());
    city.apply(&city.external_broker("vienna")).await;
    (city, broker)
}

/// Waits until the only subscription in the broker is as this says.
pub async fn eventually_shown(broker: &FakeBroker, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        match broker.only() {
            Some(shown) if is(&shown) => Ok(shown),
            other => Err(other),
        }
    })
    .await
}

/// As `kubectl annotate` of a ContextSubscription.
pub async fn annotate(city: &City, name: &str, key: &str, value: &str) {
    let patch = json!({"metadata": {"annotations": {key: value}}});
    city.patch(&subscription(name, "vienna", &json!({})), name, &patch)
        .await;
}
