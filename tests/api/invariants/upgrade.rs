//! Invariant 9: upgrading the operator restarts no operand, unless the release in the spec changes.

use kube::ResourceExt;
use kube::api::ListParams;
use mim_operator::reconcile::request::Journal;
use mim_tests::operator::{catalogue, release, releases};
use serde_json::json;

use crate::city::{City, broker, passes, platform};
use mim_tests::eventually::eventually;

#[tokio::test]
async fn invariant_9_an_operator_with_a_newer_default_release_changes_no_pod_template_and_no_object() {
    let mut city = City::new("upgrade").await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.apply(&broker("graz", &json!({}))).await;
    city.apply(&broker("linz", &json!({"release": "0.1.0"}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    city.broker_says("graz", "True", "Ready").await;
    city.broker_says("linz", "True", "Ready").await;
    city.quiet().await;
    let state = |city: &City| {
        let (deployments, sets, pods) = (city.deployments(), city.stateful_sets(), city.pods());
        async move {
            let mut found = Vec::new();
            for object in deployments.list(&ListParams::default()).await.unwrap() {
                found.push((object.name_any(), object.metadata.generation, object.uid()));
            }
            for object in sets.list(&ListParams::default()).await.unwrap() {
                found.push((object.name_any(), object.metadata.generation, object.uid()));
            }
            for object in pods.list(&ListParams::default()).await.unwrap() {
                found.push((object.name_any(), None, object.uid()));
            }
            found
        }
    };
    let before = state(&city).await;
    assert!(before.len() >= 6 + 9, "{before:?}");
    city.stop().await;
    let mut options = city.options();
    options.releases = releases(&format!("{}{}", catalogue(), release("0.3.0", 15, 'e', 'f')));
    city.start_with(options, Journal::new());
    eventually("the new operator has seen every object", || async {
        let now = passes(&city.operator().handle);
        if now >= 4 { Ok(()) } else { Err(now) }
    })
    .await;
    city.quiet().await;
    assert_eq!(state(&city).await, before);
    assert_eq!(
        city.changes()
            .iter()
            .map(|entry| entry.record.to_string())
            .collect::<Vec<_>>(),
        Vec::<String>::new()
    );
    for (name, release) in [("vienna", "0.2.0"), ("graz", "0.2.0"), ("linz", "0.1.0")] {
        let held = city.brokers().get(name).await.unwrap().status.unwrap();
        assert_eq!(held.release.as_deref(), Some(release), "{name}");
    }
    // What is new from now on gets the new default.
    city.apply(&broker("wels", &json!({}))).await;
    let new = city.broker_says("wels", "True", "Ready").await;
    assert_eq!(new.status.unwrap().release.as_deref(), Some("0.3.0"));
}
