//! The operator comes and goes; the city runs on.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Api as KubeApi, ResourceExt as _};
use mim_crds::{UrbanDataPlatform, annotation};
use mim_tests::demo::CITY;
use mim_tests::demo::install::SYSTEM;

use crate::city::{City, eventually, upgrade_operator};

/// What must not change when the operator does: pods with their containers, and the generations of what makes pods.
async fn operands(city: &City) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, pods) in [("broker", city.brokers()), ("database", city.databases())] {
        found.insert(name.to_owned(), format!("{:?}", pods.starts().await.unwrap()));
    }
    let client = &city.cluster.client;
    let deployments: KubeApi<Deployment> = Api::namespaced(client.clone(), CITY);
    for deployment in deployments.list(&ListParams::default()).await.unwrap() {
        let generation = deployment.metadata.generation;
        found.insert(deployment.name_any(), format!("generation {generation:?}"));
    }
    let sets: KubeApi<StatefulSet> = Api::namespaced(client.clone(), CITY);
    for set in sets.list(&ListParams::default()).await.unwrap() {
        let generation = set.metadata.generation;
        found.insert(set.name_any(), format!("generation {generation:?}"));
    }
    found
}

async fn leader(city: &City) -> Option<String> {
    let api: KubeApi<Lease> = Api::namespaced(city.cluster.client.clone(), SYSTEM);
    let leases = api.list(&ListParams::default()).await.unwrap();
    let mut holders = leases
        .items
        .into_iter()
        .filter_map(|lease| lease.spec?.holder_identity);
    holders.find(|holder| !holder.is_empty())
}

/// Waits until another process leads than `before`, and has passed over the city.
async fn another_operator_has_passed(city: &City, before: Option<&str>, request: &str) {
    eventually("another operator leads", || async {
        match leader(city).await {
            Some(now) if Some(now.as_str()) != before => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let annotated = format!("{}={request}", annotation::REQUESTED_AT);
    for object in ["udp/city", "cb/city"] {
        city.kubectl(&["annotate", "--overwrite", object, &annotated])
            .await;
    }
    let api: KubeApi<UrbanDataPlatform> = Api::namespaced(city.cluster.client.clone(), CITY);
    eventually("the new operator has looked at the city", || async {
        let found = api.get(CITY).await.unwrap();
        let told = found.status.and_then(|status| status.last_handled_requested_at);
        if told.as_deref() == Some(request) {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    let path = "jsonpath={.status.lastHandledRequestedAt}";
    eventually("the new operator has looked at the broker", || async {
        let told = city.kubectl(&["get", "cb/city", "--output", path]).await;
        if told == request { Ok(()) } else { Err(told) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_9_a_rollout_of_the_operator_restarts_no_operand() {
    let city = City::new().await;
    let (before, led) = (operands(&city).await, leader(&city).await);
    assert!(led.is_some());
    // Another pod template of the operator: every process of it is replaced, as by an upgrade, and by one of the same code.
    let chart = mim_tests::demo::programs::checkout().join("charts/mim-operator");
    let annotated = format!("podAnnotations.rolled=at-{:08x}", rand::random::<u32>());
    city.cluster
        .helm(&[
            "upgrade",
            "mim-operator",
            &chart.display().to_string(),
            "--namespace",
            SYSTEM,
            "--reuse-values",
            "--set",
            &annotated,
            "--wait",
            "--timeout",
            "3m",
        ])
        .await
        .unwrap();
    another_operator_has_passed(&city, led.as_deref(), &annotated.replace('=', "-")).await;
    assert_eq!(operands(&city).await, before);
    upgrade_operator(&city.cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_9_operators_that_are_killed_restart_no_operand() {
    let city = City::new().await;
    let (before, led) = (operands(&city).await, leader(&city).await);
    let pods: KubeApi<k8s_openapi::api::core::v1::Pod> = Api::namespaced(city.cluster.client.clone(), SYSTEM);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    pods.delete_collection(&params, &ListParams::default())
        .await
        .unwrap();
    let request = format!("killed-{:08x}", rand::random::<u32>());
    another_operator_has_passed(&city, led.as_deref(), &request).await;
    assert_eq!(operands(&city).await, before);
}
