//! `spec.suspend`: no child is written until it is false again; all else goes on.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::DeleteParams;
use mim_operator::reconcile::request::{Entry, Journal, Purpose};
use mim_tests::eventually::eventually;
use serde_json::json;

use crate::city::{City, broker, platform, told};

/// What was written but the status: children and Secrets.
fn writes(entries: &[Entry]) -> Vec<String> {
    let writes = entries
        .iter()
        .filter(|entry| entry.record.purpose != Purpose::Status);
    writes.map(told).collect()
}

async fn certificate(city: &City) -> Vec<u8> {
    let secret = city.secrets().get("vienna-database-tls").await.unwrap();
    secret.data.unwrap()["tls.crt"].0.clone()
}

#[tokio::test]
async fn a_spec_that_is_changed_while_suspended_writes_no_child_and_is_applied_when_that_ends() {
    let mut city = City::new("suspended").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let before = city.deployments().get("vienna-broker").await.unwrap();

    city.apply(&broker("vienna", &json!({"suspend": true}))).await;
    // Ready stays what it was, for what runs is what was asked for.
    city.broker_says("vienna", "True", "Suspended").await;
    let seen = city.changes().len();
    let changed =
        json!({"suspend": true, "replicas": 3, "tenants": ["north"], "service": {"labels": {"team": "air"}}});
    city.apply(&broker("vienna", &changed)).await;
    city.broker_says("vienna", "True", "Suspended").await;
    // Nor does a restarted operator, nor one that is told to look again.
    city.operator().handle.resync();
    city.quiet().await;
    assert_eq!(writes(&city.changes()[seen..]), Vec::<String>::new());
    city.restart().await;
    city.quiet().await;
    assert_eq!(writes(&city.changes()), Vec::<String>::new());
    let now = city.deployments().get("vienna-broker").await.unwrap();
    assert_eq!(now.metadata.generation, before.metadata.generation);

    let mut resumed = changed;
    resumed["suspend"] = false.into();
    city.apply(&broker("vienna", &resumed)).await;
    let held = city.broker_says("vienna", "True", "Ready").await;
    assert_eq!(held.status.unwrap().tenants, ["north"]);
    let now = city.deployments().get("vienna-broker").await.unwrap();
    assert_eq!(now.spec.replicas, Some(3));
    let service: kube::Api<k8s_openapi::api::core::v1::Service> = city.api();
    let service = service.get("vienna-broker").await.unwrap();
    assert_eq!(service.labels()["team"], "air");
}

#[tokio::test]
async fn a_certificate_is_renewed_while_its_broker_is_suspended_and_no_child_is_written() {
    let mut city = City::without_operator("suspended-renewal").await;
    let mut options = city.options();
    options.settings.certificate_lifetime = Some(Duration::from_secs(15));
    city.start_with(options, Journal::new());
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let suspended = json!({"suspend": true, "tenants": ["north"]});
    city.apply(&broker("vienna", &suspended)).await;
    city.broker_says("vienna", "True", "Suspended").await;
    // What is missing is not made, and keeps nothing else from being renewed.
    let missing = "vienna-broker-gateway";
    city.secrets()
        .delete(missing, &DeleteParams::default())
        .await
        .unwrap();
    let (before, seen) = (certificate(&city).await, city.changes().len());
    eventually("the certificate is renewed", || async {
        if certificate(&city).await == before {
            Err("the old one")
        } else {
            Ok(())
        }
    })
    .await;
    let mut written = writes(&city.changes()[seen..]);
    written.retain(|what| !what.starts_with("update secrets"));
    assert_eq!(written, Vec::<String>::new());
    assert!(city.secrets().get_opt(missing).await.unwrap().is_none());
    city.broker_says("vienna", "True", "Suspended").await;
}

#[tokio::test]
async fn a_platform_passes_its_suspension_on_and_takes_it_back() {
    let city = City::new("suspended-platform").await;
    let of = |suspend: bool, tenants: &[&str]| {
        platform(
            "vienna",
            &json!({"suspend": suspend, "broker": {"tenants": tenants}}),
        )
    };
    city.apply(&of(false, &[])).await;
    city.platform_says("vienna", "True", "Ready").await;
    city.apply(&of(true, &["north"])).await;
    city.broker_says("vienna", "True", "Suspended").await;
    city.platform_says("vienna", "True", "Suspended").await;
    // The component has the new spec, and does nothing about it.
    let held = city.brokers().get("vienna").await.unwrap();
    assert!(held.spec.suspend);
    assert_eq!(held.spec.tenants, ["north"]);
    city.quiet().await;
    let map = city.config_maps().get("vienna-broker").await.unwrap();
    assert!(!map.data.unwrap()["broker.yaml"].contains("north"));

    city.apply(&of(false, &["north"])).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.platform_says("vienna", "True", "Ready").await;
    let map = city.config_maps().get("vienna-broker").await.unwrap();
    assert!(map.data.unwrap()["broker.yaml"].contains("north"));
}
