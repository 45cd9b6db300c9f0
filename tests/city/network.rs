//! NetworkPolicies, proven by traffic that passes and traffic that does not.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use mim_tests::demo::CITY;
use mim_tests::demo::door::{Door, PORT};
use mim_tests::demo::http::Broker;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::city::City;
use crate::probe::Probe;

const BROKER: &str = "http://city-broker.city.svc.cluster.local:1026/ngsi-ld/v1/types";

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_citys_clients_reach_the_broker_and_others_do_not() {
    let city = City::new().await;
    // examples/city.yaml lets in its own namespace and this one.
    for namespace in ["city-apps", "city-strangers"] {
        city.namespace(namespace).await;
    }
    let own = Probe::start(&city.cluster, CITY).await;
    let apps = Probe::start(&city.cluster, "city-apps").await;
    let strangers = Probe::start(&city.cluster, "city-strangers").await;

    assert!(own.reaches(BROKER).await.contains("EntityTypeList"));
    apps.reaches(BROKER).await;
    strangers.is_kept_from(BROKER).await;
    // Straight to a pod it is no other than through the Service.
    let pod = city.brokers().one().await.unwrap();
    let address = pod.status.unwrap().pod_ip.unwrap();
    let straight = format!("http://{address}:1026/ngsi-ld/v1/types");
    own.reaches(&straight).await;
    strangers.is_kept_from(&straight).await;
    // Numbers are for every namespace: where a Prometheus runs is the cluster's business.
    let metrics = format!("http://{address}:8081/metrics");
    assert!(strangers.reaches(&metrics).await.contains("# TYPE"));

    own.end().await;
    for namespace in ["city-apps", "city-strangers"] {
        city.remove_namespace(namespace).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_broker_reaches_the_database() {
    let city = City::new().await;
    let pod = city.databases().one().await.unwrap();
    let address = pod.status.unwrap().pod_ip.unwrap();
    // It does listen: from the node, whose traffic no policy holds.
    let listens = TcpStream::connect((address.as_str(), 5432));
    tokio::time::timeout(Duration::from_secs(3), listens)
        .await
        .unwrap()
        .unwrap();

    let other = Probe::start(&city.cluster, CITY).await;
    other.reaches(BROKER).await;
    other.is_kept_from(&format!("http://{address}:5432/")).await;
    other
        .is_kept_from("http://city-database.city.svc.cluster.local:5432/")
        .await;
    other.end().await;

    // And the broker does reach it: each of its pods answers what only the database can answer.
    for pod in city.brokers().list().await.unwrap() {
        let address = pod.status.unwrap().pod_ip.unwrap().parse().unwrap();
        let broker = Broker::new(Door::Service(SocketAddr::new(address, PORT)));
        broker
            .expect(StatusCode::OK, Method::GET, "/ngsi-ld/v1/types", None)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_and_the_database_reach_nothing_that_no_edge_allows() {
    let city = City::new().await;
    city.namespace("city-strangers").await;
    let pod = city.brokers().one().await.unwrap();
    let numbers = format!("http://{}:8081/metrics", pod.status.unwrap().pod_ip.unwrap());
    let api_server = "https://kubernetes.default.svc.cluster.local/version";
    let database = "http://city-database.city.svc.cluster.local:5432/";
    // Both answer whom no policy holds.
    let free = Probe::start(&city.cluster, "city-strangers").await;
    free.reaches(&numbers).await;
    free.is_answered(api_server).await;
    free.end().await;

    for (policy, reaches_database) in [("city-broker", true), ("city-database", false)] {
        let held = Probe::start_as(&city.cluster, CITY, &selected_by(&city, policy).await).await;
        if reaches_database {
            held.is_answered(database).await;
        }
        held.is_kept_from(&numbers).await;
        held.is_kept_from(api_server).await;
        held.end().await;
    }
    city.remove_namespace("city-strangers").await;
}

/// Labels of a pod that a policy selects.
async fn selected_by(city: &City, policy: &str) -> Value {
    let path = "jsonpath={.spec.podSelector}";
    let policy = format!("networkpolicy/{policy}");
    let selector = city.kubectl(&["get", &policy, "--output", path]).await;
    let selector: Value = serde_json::from_str(&selector).unwrap();
    let mut labels = selector["matchLabels"].clone();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        assert_eq!(expression["operator"], "In");
        // The last: of the database and its preflight that is the one that no Service leads to.
        let values = expression["values"].as_array().unwrap();
        labels[expression["key"].as_str().unwrap()] = values.last().unwrap().clone();
    }
    labels
}
