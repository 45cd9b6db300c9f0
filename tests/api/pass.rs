//! From a manifest to Ready and back, with the controllers of Kubernetes and a kubelet of the tests.

use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use mim_tests::eventually::eventually;
use serde_json::json;

use crate::city::{City, broker};

#[tokio::test]
async fn a_broker_becomes_ready_and_its_deletion_leaves_the_data() {
    let city = City::new("pass").await;
    city.apply(&broker("vienna", &json!({}))).await;
    let ready = city.broker_says("vienna", "True", "Ready").await;
    let status = ready.status.clone().unwrap();
    assert_eq!(status.release.as_deref(), Some("0.2.0"));
    assert!(status.storage.unwrap().system_identifier.is_some());
    city.brokers()
        .delete(&ready.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::namespaced(city.client.clone(), &city.namespace);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(city.client.clone(), &city.namespace);
    eventually("the workloads go", || async {
        match deployments.get_opt("vienna-broker").await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "still there"))),
        }
    })
    .await;
    assert!(
        claims
            .get("vienna-database")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );
}
