//! How many pods there are, where somebody else says it.

use kube::api::{Patch, PatchParams};
use mim_tests::eventually::eventually;
use serde_json::json;

use crate::city::{City, platform};

#[tokio::test]
async fn row_scale_wins_over_a_platform_that_says_no_number_as_an_autoscaler_does() {
    let city = City::new("scaled").await;
    city.apply(&platform("vienna", &json!({"broker": {"tenants": ["north"]}})))
        .await;
    city.platform_says("vienna", "True", "Ready").await;
    city.brokers()
        .patch_scale(
            "vienna",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 4}})),
        )
        .await
        .unwrap();
    eventually("four pods are ready", || async {
        let held = city.brokers().get("vienna").await.unwrap().status.unwrap();
        if held.ready_replicas == Some(4) {
            Ok(())
        } else {
            Err(held.ready_replicas)
        }
    })
    .await;
    city.quiet().await;
    city.operator().handle.resync();
    city.quiet().await;
    assert_eq!(city.brokers().get("vienna").await.unwrap().spec.replicas, Some(4));
    let scale = city.brokers().get_scale("vienna").await.unwrap().status.unwrap();
    assert_eq!(scale.replicas, 4);
    assert!(
        scale
            .selector
            .unwrap()
            .contains("app.kubernetes.io/component=broker")
    );
    city.platform_says("vienna", "True", "Ready").await;
}
