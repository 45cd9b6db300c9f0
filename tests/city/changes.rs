//! Changes of the running city that restart nothing.

use http::{Method, StatusCode};
use mim_tests::demo::CITY;
use mim_tests::demo::door::{Door, PORT};
use mim_tests::demo::http::Broker;
use mim_tests::demo::ready::ready;
use mim_tests::demo::say::Say;
use serde_json::json;

use crate::city::{City, eventually};

const TYPES: &str = "/ngsi-ld/v1/types";

async fn change(city: &City, broker: serde_json::Value) {
    let patch = json!({"spec": {"broker": broker}}).to_string();
    city.kubectl(&["patch", "udp/city", "--type=merge", "--patch", &patch])
        .await;
    let waiting = Say::default().waiting();
    ready(&city.cluster.client, CITY, CITY, waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tenant_and_a_label_of_the_service_reach_the_running_city_and_no_pod_restarts() {
    let city = City::new().await;
    let before = (
        city.brokers().starts().await.unwrap(),
        city.databases().starts().await.unwrap(),
    );
    let door = Door::open(city.cluster.clone(), CITY, "city-broker", PORT, Say::default())
        .await
        .unwrap();
    let harbour = Broker::of_tenant(door, "harbour");
    let of_tenant = |status| harbour.expect(status, Method::GET, TYPES, None);
    of_tenant(StatusCode::NOT_FOUND).await.unwrap();

    let tenants = json!(["environment", "mobility", "harbour"]);
    change(
        &city,
        json!({"tenants": tenants, "service": {"labels": {"team": "harbour"}}}),
    )
    .await;
    let path = "jsonpath={.metadata.labels.team}";
    let label = city
        .kubectl(&["get", "service/city-broker", "--output", path])
        .await;
    assert_eq!(label, "harbour");
    // A kubelet looks at what a pod mounts once a minute, and when the pod itself changes.
    let stir = format!("tests.mim.city/stirred=at-{:08x}", rand::random::<u32>());
    city.kubectl(&[
        "annotate",
        "--overwrite",
        "pod",
        "--selector=app.kubernetes.io/instance=city,app.kubernetes.io/component=broker",
        &stir,
    ])
    .await;
    // Of each pod: the Service leads to either.
    for _ in 0..5 {
        eventually("the new tenant is served", || of_tenant(StatusCode::OK)).await;
    }
    let after = (
        city.brokers().starts().await.unwrap(),
        city.databases().starts().await.unwrap(),
    );
    assert_eq!(after, before);
    // As examples/city.yaml has it: other tests apply that.
    change(
        &city,
        json!({"tenants": ["environment", "mobility"], "service": null}),
    )
    .await;
}
