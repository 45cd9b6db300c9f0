//! Every file of `examples/` is applied as a user would; `city.yaml` is what all the other tests stand on.

use std::collections::BTreeSet;

use kube::api::Api;
use mim_crds::ContextBroker;
use mim_tests::demo::install::{apply, example};
use mim_tests::demo::programs::checkout;
use mim_tests::demo::ready;
use mim_tests::demo::say::Say;

use crate::city::{City, EXAMPLES, eventually};

/// Waits until the condition Ready of a ContextBroker is False for this reason; returns its message.
async fn not_ready_because(city: &City, name: &str, reason: &str) -> String {
    let api: Api<ContextBroker> = Api::namespaced(city.cluster.client.clone(), EXAMPLES);
    eventually(&format!("{name} tells {reason}"), || async {
        let found = api.get(name).await.unwrap();
        let conditions = found.status.map(|status| status.conditions).unwrap_or_default();
        let ready = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready");
        match ready {
            Some(ready) if ready.status == "False" && ready.reason == reason => Ok(ready.message),
            other => Err(other),
        }
    })
    .await
}

async fn delete(city: &City, file: &str) {
    let path = example(file).display().to_string();
    let arguments = ["--namespace", EXAMPLES, "delete", "-f", &path, "--wait=true"];
    city.cluster.kubectl(&arguments).await.unwrap();
}

#[test]
fn each_example_has_a_test_here() {
    let found: BTreeSet<String> = std::fs::read_dir(checkout().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let tested = [
        "city.yaml",
        "external-broker.yaml",
        "minimal.yaml",
        "multi-tenant.yaml",
    ];
    assert_eq!(found, tested.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_becomes_ready() {
    let city = City::new().await;
    apply(&city.cluster, EXAMPLES, &example("minimal.yaml"))
        .await
        .unwrap();
    let waiting = Say::default().waiting();
    ready::ready(&city.cluster.client, EXAMPLES, "my-city", waiting)
        .await
        .unwrap();
    delete(&city, "minimal.yaml").await;
    // Deleted with Retain: what is left is the test's to clear.
    let arguments = [
        "--namespace",
        EXAMPLES,
        "delete",
        "pvc,secret",
        "--all",
        "--wait=true",
    ];
    city.cluster.kubectl(&arguments).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_broker_that_does_not_exist_is_told_as_what_it_is() {
    let city = City::new().await;
    apply(&city.cluster, EXAMPLES, &example("external-broker.yaml"))
        .await
        .unwrap();
    let message = not_ready_because(&city, "water", "ExternalUnreachable").await;
    assert!(message.contains("broker.water.example.org"), "{message}");
    delete(&city, "external-broker.yaml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn multi_tenant_waits_for_the_secret_of_its_database_and_names_it() {
    let city = City::new().await;
    apply(&city.cluster, EXAMPLES, &example("multi-tenant.yaml"))
        .await
        .unwrap();
    let message = not_ready_because(&city, "departments", "DependencyNotFound").await;
    assert!(message.contains("departments-db-app"), "{message}");
    delete(&city, "multi-tenant.yaml").await;
}
