//! Brokers that somebody else runs, looked at by the operator's own probe: through its guard, its NetworkPolicy, DNS and TLS.

use mim_tests::cluster::apply;
use mim_tests::demo::CITY;
use mim_tests::foreign::any_authority;
use serde_json::{Value, json};

use crate::city::{City, EXAMPLES};
use crate::foreign_broker::ForeignBroker;

const SERVICE: &str = "harbour";

async fn put(city: &City, namespace: &str, object: &Value) {
    apply(&city.cluster.client, namespace, object).await.unwrap();
}

fn secret(name: &str, key: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}})
}

fn external(name: &str, external: &Value) -> Value {
    json!({
        "apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker", "metadata": {"name": name},
        "spec": {"engine": "External", "external": external},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn row_external_broker_that_answers_is_ready_and_a_wrong_token_or_authority_is_told() {
    let city = City::new().await;
    let foreign = ForeignBroker::start(&city, SERVICE, "the-right-token").await;
    let token = |value: &str| secret("harbour-token", "token", value);
    let ca = |value: &str| secret("harbour-ca", "ca.crt", value);
    put(&city, EXAMPLES, &token("the-right-token")).await;
    put(&city, EXAMPLES, &ca(&foreign.ca)).await;
    let url = format!("https://{SERVICE}.{EXAMPLES}.svc");
    let spec = json!({"url": url, "tokenSecretRef": {"name": "harbour-token"}, "caSecretRef": {"name": "harbour-ca"}});
    put(&city, EXAMPLES, &external("harbour", &spec)).await;
    city.broker_says(EXAMPLES, "harbour", "True", "Ready").await;
    let head = foreign.requests.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("GET /ngsi-ld/v1/types?limit=1 HTTP/1.1\r\n"),
        "{head}"
    );

    put(&city, EXAMPLES, &token("another-token")).await;
    city.look_at(EXAMPLES, "harbour").await;
    let message = city
        .broker_says(EXAMPLES, "harbour", "False", "ExternalUnauthorised")
        .await;
    assert!(
        message.contains("401") && message.contains("tokenSecretRef"),
        "{message}"
    );
    put(&city, EXAMPLES, &token("the-right-token")).await;
    city.look_at(EXAMPLES, "harbour").await;
    city.broker_says(EXAMPLES, "harbour", "True", "Ready").await;

    put(&city, EXAMPLES, &ca(&any_authority().bundle)).await;
    city.look_at(EXAMPLES, "harbour").await;
    let message = city
        .broker_says(EXAMPLES, "harbour", "False", "ExternalUnreachable")
        .await;
    assert!(
        message.contains("certificate") && message.contains("check the CA"),
        "{message}"
    );
    put(&city, EXAMPLES, &ca(&foreign.ca)).await;
    city.look_at(EXAMPLES, "harbour").await;
    city.broker_says(EXAMPLES, "harbour", "True", "Ready").await;

    let objects = [
        "contextbroker/harbour",
        "service/harbour",
        "endpointslice/harbour",
        "secret/harbour-token",
        "secret/harbour-ca",
    ];
    let arguments = [&["--namespace", EXAMPLES, "delete", "--wait=true"][..], &objects].concat();
    city.cluster.kubectl(&arguments).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_external_broker_that_is_a_sibling_of_ours_answers_though_its_clients_do_not_name_the_operator() {
    let city = City::new().await;
    // examples/city.yaml lets in its own namespace and another one; the operator is in neither.
    let url = "http://city-broker.city.svc:1026";
    put(&city, CITY, &external("mirror", &json!({"url": url}))).await;
    city.broker_says(CITY, "mirror", "True", "Ready").await;
    city.kubectl(&["delete", "contextbroker/mirror", "--wait=true"])
        .await;
}
