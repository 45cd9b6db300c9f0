//! What the operator counts about itself, after it has met objects of all sorts.

use serde_json::json;

use crate::city::{City, broker, platform};
use crate::subscriptions::{subscription, with_broker};

/// Names that stand in no word of ours.
const PLATFORM: &str = "salzburg";
const REFUSED: &str = "hallein";
const WAITING: &str = "bregenz";
const SUBSCRIPTION: &str = "dornbirn";
const OUTSIDE: &str = "vienna";

/// The values of all labels.
fn values(text: &str) -> Vec<&str> {
    let labels = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('{')?.1.rsplit_once('}')?.0));
    labels
        .flat_map(|labels| labels.split('"').skip(1).step_by(2))
        .collect()
}

async fn objects_of_all_sorts(city: &City) {
    city.apply(&platform(PLATFORM, &json!({"broker": {}}))).await;
    city.apply(&broker(REFUSED, &json!({"release": "9.9.9"}))).await;
    let external = json!({"storage": {"external": {"secretRef": {"name": "nowhere"}}}});
    city.apply(&broker(WAITING, &external)).await;
    city.apply(&subscription(SUBSCRIPTION, OUTSIDE, &json!({}))).await;
    city.platform_says(PLATFORM, "True", "Ready").await;
    city.broker_says(REFUSED, "False", "ReleaseUnknown").await;
    city.broker_says(WAITING, "False", "DependencyNotFound").await;
    city.broker_says(OUTSIDE, "True", "Ready").await;
    city.subscription_says(SUBSCRIPTION, "True", "Ready").await;
}

#[tokio::test]
async fn no_name_of_an_object_or_a_namespace_becomes_a_label_of_a_metric() {
    let (city, _outside) = with_broker("counted").await;
    objects_of_all_sorts(&city).await;
    city.quiet().await;
    let text = city.operator().handle.metrics.render().unwrap();
    let values = values(&text);
    for counted in ["UrbanDataPlatform", "ContextSubscription", "secrets", "201"] {
        assert!(values.contains(&counted), "{counted} is not counted:\n{text}");
    }
    // Names of children begin with their owner's.
    for name in [PLATFORM, REFUSED, WAITING, SUBSCRIPTION, OUTSIDE, &city.namespace] {
        let found: Vec<_> = values.iter().filter(|value| value.contains(name)).collect();
        assert!(found.is_empty(), "{name} stands in {found:?}:\n{text}");
    }
}
