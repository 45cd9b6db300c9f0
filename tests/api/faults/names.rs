//! Names of children that somebody else has taken.

use kube::ResourceExt;
use kube::api::DeleteParams;
use mim_tests::cluster::api_of;
use serde_json::json;

use crate::city::{City, broker, image, platform, stranger_pod};

#[tokio::test]
async fn row_someone_elses_object_with_our_childs_name_is_untouched_and_its_owner_is_named() {
    let city = City::new("taken").await;
    let owner = city
        .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "chart"}}))
        .await;
    let of_chart = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "chart", "uid": owner.uid(), "controller": true}]);
    let port = json!({"ports": [{"port": 80}]});
    let cases = [
        (
            "vienna",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "vienna-broker", "labels": {"app.kubernetes.io/managed-by": "Helm"}}, "spec": port}),
            "Helm",
        ),
        (
            "graz",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "graz-broker", "ownerReferences": of_chart}}),
            "ConfigMap chart",
        ),
        (
            "linz",
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "linz-database"}, "stringData": {"a": "b"}}),
            "somebody else",
        ),
        (
            "wels",
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "wels-database"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            "somebody else",
        ),
    ];
    for (_, object, _) in &cases {
        city.apply(object).await;
    }
    let mut before = Vec::new();
    for (name, object, owner) in &cases {
        let kind = object["kind"].as_str().unwrap();
        let child = object["metadata"]["name"].as_str().unwrap();
        let api = api_of(&city.client, &city.namespace, object);
        // A claim is bound by the kubelet of these tests.
        let held = api.get(child).await.unwrap();
        before.push((held.uid(), held.metadata.labels, held.data.get("data").cloned()));
        city.apply(&broker(name, &json!({}))).await;
        city.broker_complains(name, "NameTaken", true, &[&format!("{kind} {child}"), owner])
            .await;
    }
    city.quiet().await;
    for ((name, object, _), before) in cases.iter().zip(&before) {
        let api = api_of(&city.client, &city.namespace, object);
        let child = object["metadata"]["name"].as_str().unwrap();
        let held = api.get(child).await.unwrap();
        assert_eq!(
            &(
                held.uid(),
                held.metadata.labels.clone(),
                held.data.get("data").cloned()
            ),
            before,
            "{name}"
        );
        let managers = held.metadata.managed_fields.unwrap_or_default();
        assert!(
            managers
                .iter()
                .all(|entry| entry.manager.as_deref() != Some("mim-operator")),
            "{name}: {managers:?}"
        );
    }
    // What carries our labels and belongs to nobody, as a backup brings it back, is no stranger.
    city.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "enns-broker", "labels": {
        "app.kubernetes.io/managed-by": "mim-operator", "mim.city/kind": "ContextBroker", "mim.city/name": "enns"}}}))
        .await;
    city.apply(&broker("enns", &json!({}))).await;
    city.broker_says("enns", "True", "Ready").await;
    // Its owner takes it away: it goes on by itself.
    for (_, object, _) in &cases {
        let api = api_of(&city.client, &city.namespace, object);
        api.delete(
            object["metadata"]["name"].as_str().unwrap(),
            &DeleteParams::default(),
        )
        .await
        .unwrap();
    }
    for (name, ..) in &cases {
        city.broker_says(name, "True", "Ready").await;
    }
}

#[tokio::test]
async fn row_someone_elses_object_a_broker_that_stands_alone_is_untouched_by_a_platform_of_its_name() {
    let city = City::new("alone").await;
    city.apply(&broker("vienna", &json!({"tenants": ["mine"]}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let before = city.brokers().get("vienna").await.unwrap();
    city.apply(&platform("vienna", &json!({"broker": {"tenants": ["theirs"]}})))
        .await;
    let told = city.platform_says("vienna", "False", "NameTaken").await;
    let conditions = told.status.unwrap().conditions;
    assert!(
        conditions
            .iter()
            .any(|c| c.type_ == "Stalled" && c.status == "True")
    );
    let message = &conditions[0].message;
    assert!(
        message.contains("ContextBroker vienna") && message.contains("somebody else"),
        "{message}"
    );
    city.quiet().await;
    let after = city.brokers().get("vienna").await.unwrap();
    assert_eq!(after.metadata, before.metadata);
    assert_eq!(after.spec.tenants, ["mine"]);
    city.broker_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn row_someone_elses_pod_with_the_name_of_the_preflight_is_untouched_and_named_and_the_rollout_goes_on_without_it()
 {
    let city = City::new("preflight-taken").await;
    city.apply(&broker("vienna", &json!({"release": "0.1.0"}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let uid = city.apply(&stranger_pod("vienna-database-preflight")).await.uid();
    city.apply(&broker("vienna", &json!({"release": "0.2.0"}))).await;
    city.broker_complains(
        "vienna",
        "NameTaken",
        true,
        &["Pod vienna-database-preflight", "somebody else"],
    )
    .await;
    assert_eq!(
        city.pods().get("vienna-database-preflight").await.unwrap().uid(),
        uid
    );
    let events = city.events("ContextBroker", "vienna").await;
    assert!(
        !events.iter().any(|event| event.starts_with("Preflight")),
        "{events:?}"
    );
    city.pods()
        .delete(
            "vienna-database-preflight",
            &DeleteParams::default().grace_period(0),
        )
        .await
        .unwrap();
    city.broker_says("vienna", "True", "Ready").await;
    city.database_runs(&image("postgis", 'd')).await;
}
