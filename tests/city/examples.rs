//! Every file of `examples/` is applied as a user would; `city.yaml` is what all the other tests stand on.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{Method, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::Api;
use mim_crds::{ContextBroker, ContextSubscription};
use mim_tests::demo::door::{Door, PORT};
use mim_tests::demo::http::Broker;
use mim_tests::demo::install::{apply, example};
use mim_tests::demo::programs::checkout;
use mim_tests::demo::ready;
use mim_tests::demo::say::Say;

use crate::city::{City, EXAMPLES, eventually};
use crate::foreign_database;

/// The message of a condition Ready that is False for this reason.
fn message(conditions: Option<Vec<Condition>>, reason: &str) -> Result<String, String> {
    let mut conditions = conditions.unwrap_or_default().into_iter();
    match conditions.find(|condition| condition.type_ == "Ready") {
        Some(ready) if ready.status == "False" && ready.reason == reason => Ok(ready.message),
        other => Err(format!("{other:?}")),
    }
}

async fn delete(city: &City, file: &str) {
    let path = example(file).display().to_string();
    let arguments = [
        "--namespace",
        EXAMPLES,
        "delete",
        "-f",
        &path,
        "--ignore-not-found",
        "--wait=true",
    ];
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
        "preloaded-contexts.yaml",
        "subscription-mqtt.yaml", // by the demo
        "subscription.yaml",
    ];
    assert_eq!(found, tested.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_becomes_ready() {
    let city = City::new().await;
    // What a broken-off run left would be taken for this city's data.
    remove_minimal(&city).await;
    apply(&city.cluster, EXAMPLES, &example("minimal.yaml"))
        .await
        .unwrap();
    let waiting = Say::default().waiting();
    ready::ready(&city.cluster.client, EXAMPLES, "my-city", waiting)
        .await
        .unwrap();
    remove_minimal(&city).await;
}

/// Deletes the platform, and then what Retain keeps: volume, credentials, identity.
async fn remove_minimal(city: &City) {
    remove(city, "minimal.yaml", "my-city").await;
}

/// Deletes what a file applies, and what Retain keeps of the object of this name.
async fn remove(city: &City, file: &str, name: &str) {
    delete(city, file).await;
    let label = format!("--selector=app.kubernetes.io/instance={name}");
    let arguments = [
        "--namespace",
        EXAMPLES,
        "delete",
        "pvc,secret,configmap",
        &label,
        "--wait=true",
    ];
    city.cluster.kubectl(&arguments).await.unwrap();
}

/// Nobody serves the URL: `example` is no domain.
#[tokio::test(flavor = "multi_thread")]
async fn a_preloaded_context_gives_names_that_nobody_could_fetch() {
    const FILE: &str = "preloaded-contexts.yaml";
    const URL: &str = "https://data.my-city.example/contexts/parking.jsonld";
    let city = City::new().await;
    remove(&city, FILE, "parking").await;
    apply(&city.cluster, EXAMPLES, &example(FILE)).await.unwrap();
    city.broker_says(EXAMPLES, "parking", "True", "Ready").await;
    let door = || {
        Door::open(
            Arc::clone(&city.cluster),
            EXAMPLES,
            "parking-broker",
            PORT,
            Say::default(),
        )
    };
    let named = Broker::new(door().await.unwrap()).in_context(URL);
    let entity = serde_json::json!({"id": "urn:ngsi-ld:OffStreetParking:1", "type": "OffStreetParking", "totalSpotNumber": 40});
    let entities = "/ngsi-ld/v1/entities";
    eventually("it takes an entity", || async {
        let answer = named.send(Method::POST, entities, Some(&entity)).await;
        match answer.map(|answer| answer.status) {
            // The one before it was taken, and its answer was lost.
            Ok(StatusCode::CREATED | StatusCode::CONFLICT) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let path = format!("{entities}/urn:ngsi-ld:OffStreetParking:1?format=simplified");
    let expect = async |broker: &Broker| {
        let answer = broker.expect(StatusCode::OK, Method::GET, &path, None).await;
        answer.unwrap().body
    };
    assert_eq!(expect(&named).await, entity);
    let unnamed = expect(&Broker::new(door().await.unwrap())).await;
    assert_eq!(
        unnamed["type"],
        "https://data.my-city.example/parking/OffStreetParking"
    );
    remove(&city, FILE, "parking").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_broker_that_does_not_exist_is_told_as_what_it_is() {
    let city = City::new().await;
    apply(&city.cluster, EXAMPLES, &example("external-broker.yaml"))
        .await
        .unwrap();
    let message = city
        .broker_says(EXAMPLES, "water", "False", "ExternalUnreachable")
        .await;
    assert!(message.contains("broker.water.example.org"), "{message}");
    delete(&city, "external-broker.yaml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_external_database_that_is_missing_or_refuses_the_login_is_told_in_its_words_and_goes_on_by_itself()
 {
    let city = City::new().await;
    apply(&city.cluster, EXAMPLES, &example("multi-tenant.yaml"))
        .await
        .unwrap();
    let message = city
        .broker_says(EXAMPLES, "departments", "False", "DependencyNotFound")
        .await;
    assert!(message.contains("departments-db-app"), "{message}");
    foreign_database::start(&city).await;
    // The Secret is there, and its password is not the role's.
    let words = ["refuses the login of app", "password authentication failed"];
    city.broker_tells(EXAMPLES, "departments", "False", "DatabaseNotReady", &words)
        .await;
    foreign_database::let_in(&city).await;
    let status = eventually("departments is ready", || async {
        let api: Api<ContextBroker> = Api::namespaced(city.cluster.client.clone(), EXAMPLES);
        let status = api.get("departments").await.unwrap().status.unwrap();
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        if ready.is_some_and(|ready| ready.status == "True") {
            Ok(status)
        } else {
            Err(status.conditions)
        }
    })
    .await;
    assert_eq!(status.ready_replicas, Some(3));
    assert_eq!(status.tenants, ["air_quality", "parking", "street_lights"]);
    let cluster = Arc::clone(&city.cluster);
    let door = Door::open(cluster, EXAMPLES, "departments-broker", PORT, Say::default())
        .await
        .unwrap();
    let broker = Broker::new(door);
    eventually("it answers", || {
        broker.expect(StatusCode::OK, Method::GET, "/ngsi-ld/v1/types", None)
    })
    .await;
    // A password that is no longer right, while the broker runs: its pods are asked by HTTP, and the words come all the same.
    foreign_database::lock_out(&city).await;
    let words = ["refuses the login; check username and password"];
    city.broker_tells(EXAMPLES, "departments", "False", "DatabaseNotReady", &words)
        .await;
    foreign_database::let_in(&city).await;
    city.broker_says(EXAMPLES, "departments", "True", "Ready").await;
    delete(&city, "multi-tenant.yaml").await;
    foreign_database::remove(&city).await;
}

/// `tests/api/subscriptions/example.rs` has it at a broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_names_the_broker_that_it_waits_for_and_goes_without_it() {
    let city = City::new().await;
    apply(&city.cluster, EXAMPLES, &example("subscription.yaml"))
        .await
        .unwrap();
    let api: Api<ContextSubscription> = Api::namespaced(city.cluster.client.clone(), EXAMPLES);
    let told = eventually("air-alerts waits for its broker", || async {
        let found = api.get("air-alerts").await.unwrap();
        message(found.status.map(|status| status.conditions), "DependencyNotFound")
    })
    .await;
    assert!(told.contains("ContextBroker city does not exist"), "{told}");
    delete(&city, "subscription.yaml").await;
}
