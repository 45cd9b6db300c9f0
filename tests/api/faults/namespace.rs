//! A namespace goes with all that is in it.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use mim_tests::cluster::api_of;
use mim_tests::eventually::eventually;
use serde_json::json;

use crate::city::{City, broker, platform};

/// Deletes the namespace, and waits until it is gone.
pub async fn delete_namespace(city: &City) {
    let namespaces: Api<Namespace> = Api::all(city.client.clone());
    namespaces
        .delete(&city.namespace, &DeleteParams::default())
        .await
        .unwrap();
    eventually("the namespace is gone", || async {
        match namespaces.get_opt(&city.namespace).await.unwrap() {
            None => Ok(()),
            Some(namespace) => Err(namespace.status),
        }
    })
    .await;
}

#[tokio::test]
async fn row_namespace_deletion_deletes_the_data_with_the_operator_alive() {
    let city = City::new("ending").await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.apply(&broker("graz", &json!({"deletionPolicy": "Delete"})))
        .await;
    city.platform_says("vienna", "True", "Ready").await;
    city.broker_says("graz", "True", "Ready").await;
    delete_namespace(&city).await;
    assert!(!city.operator().has_ended(), "the operator lives on");
}

#[tokio::test]
async fn row_namespace_deletion_is_not_blocked_by_an_operator_that_is_not_there() {
    let mut city = City::new("abandoned").await;
    city.apply(&platform(
        "vienna",
        &json!({"deletionPolicy": "Delete", "broker": {}}),
    ))
    .await;
    city.platform_says("vienna", "True", "Ready").await;
    city.stop().await;
    delete_namespace(&city).await;
}

#[tokio::test]
async fn row_namespace_deletion_deletes_confirmed_data_too_when_the_operators_rights_go_first() {
    let city = City::new("rights-go").await;
    let mut doomed = broker("graz", &json!({"deletionPolicy": "Delete"}));
    doomed["metadata"]["annotations"] = json!({"mim.city/confirm-deletion": "graz"});
    city.apply(&doomed).await;
    city.broker_says("graz", "True", "Ready").await;
    // The namespace's controller deletes kinds in any order. This is the worst of them: from here on every write is forbidden.
    for kind in ["RoleBinding", "Role"] {
        let what = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind});
        let api = api_of(&city.client, &city.namespace, &what);
        api.delete(crate::rights::RELEASE, &DeleteParams::default())
            .await
            .unwrap();
    }
    delete_namespace(&city).await;
}
