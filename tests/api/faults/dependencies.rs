//! What the spec names is missing or not as it must be, until it is.

use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use crate::city::{City, broker, platform};
use crate::invariants::app_secret;

#[tokio::test]
async fn row_secret_named_in_spec_missing_then_created_goes_on_by_itself() {
    let city = City::new("missing").await;
    let external = |secret: &str| json!({"storage": {"external": {"secretRef": {"name": secret}, "caSecretRef": {"name": "db-ca"}}}});
    city.apply(&broker("vienna", &external("vienna-db"))).await;
    city.broker_complains(
        "vienna",
        "DependencyNotFound",
        false,
        &[
            "spec.storage.external.secretRef",
            "Secret vienna-db does not exist",
        ],
    )
    .await;
    let held = city.brokers().get("vienna").await.unwrap().status.unwrap();
    assert!(
        held.conditions
            .iter()
            .any(|c| c.type_ == "Reconciling" && c.status == "True")
    );
    // One that lacks a key is as good as none, and the key is named.
    let mut half = app_secret("vienna-db");
    half["stringData"].as_object_mut().unwrap().remove("password");
    city.apply(&half).await;
    city.broker_complains("vienna", "DependencyInvalid", false, &["vienna-db", "password"])
        .await;
    let mut wrong = app_secret("vienna-db");
    wrong["stringData"]["port"] = json!("x");
    city.apply(&wrong).await;
    city.broker_complains(
        "vienna",
        "DependencyInvalid",
        false,
        &[
            "spec.storage.external.secretRef",
            "vienna-db",
            "key port",
            "65535",
        ],
    )
    .await;
    city.apply(&app_secret("vienna-db")).await;
    city.broker_complains(
        "vienna",
        "DependencyNotFound",
        false,
        &["spec.storage.external.caSecretRef", "db-ca"],
    )
    .await;
    let ca = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db-ca"}, "stringData": {"ca.crt": "-----BEGIN CERTIFICATE-----"}});
    city.apply(&ca).await;
    city.broker_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn row_secret_named_in_spec_missing_of_an_external_broker_is_named_and_made_goes_on_by_itself() {
    let city = City::new("missing-token").await;
    let external = json!({"url": "https://broker.invalid", "tokenSecretRef": {"name": "token"}, "caSecretRef": {"name": "ca"}});
    let external = json!({"engine": "External", "external": external});
    city.apply(&broker("linz", &external)).await;
    for (name, field, key) in [
        ("token", "spec.external.tokenSecretRef", "token"),
        ("ca", "spec.external.caSecretRef", "ca.crt"),
    ] {
        let missing = format!("Secret {name} does not exist");
        city.broker_complains("linz", "DependencyNotFound", false, &[field, &missing])
            .await;
        let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}});
        city.apply(&secret(" ")).await;
        city.broker_complains("linz", "DependencyInvalid", false, &[field, name, key])
            .await;
        city.apply(&secret("something")).await;
    }
    city.broker_says("linz", "False", "ExternalUnreachable").await;
}

#[tokio::test]
async fn row_config_map_named_in_spec_missing_then_made_goes_on_by_itself_and_a_later_key_restarts_nothing() {
    let city = City::new("missing-context").await;
    let context = |path: &str, key: &str| json!({"url": format!("https://example.org/{path}"), "configMapRef": {"name": "models", "key": key}});
    let map = |texts: &Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "models"}, "data": texts});
    let good = json!({"@context": {"Car": "https://example.org/Car"}}).to_string();
    // A section of a platform is the same spec, and its condition tells what is missing.
    let spec = json!({"broker": {"contexts": [context("a", "a.jsonld")]}});
    city.apply(&platform("vienna", &spec)).await;
    city.broker_complains(
        "vienna",
        "DependencyNotFound",
        false,
        &["spec.contexts", "ConfigMap models does not exist"],
    )
    .await;
    for (texts, words) in [
        (json!({"b.jsonld": good}), "no text under the key a.jsonld"),
        (
            json!({"a.jsonld": "[]"}),
            "no JSON object with a member @context under the key a.jsonld",
        ),
    ] {
        city.apply(&map(&texts)).await;
        city.broker_complains("vienna", "DependencyInvalid", false, &["ConfigMap models", words])
            .await;
    }
    city.apply(&map(&json!({"a.jsonld": good, "b.jsonld": good})))
        .await;
    city.platform_says("vienna", "True", "Ready").await;
    let generation = async || {
        let deployment = city.deployments().get("vienna-broker").await.unwrap();
        deployment.metadata.generation.unwrap()
    };
    let before = generation().await;
    let both = json!({"broker": {"contexts": [context("a", "a.jsonld"), context("b", "b.jsonld")]}});
    city.apply(&platform("vienna", &both)).await;
    eventually("the broker is told of the second context", || async {
        let told = city
            .config_maps()
            .get("vienna-broker")
            .await
            .unwrap()
            .data
            .unwrap();
        if told["broker.yaml"].contains("models/b.jsonld") {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    city.platform_says("vienna", "True", "Ready").await;
    assert_eq!(generation().await, before, "the pods are as they were");
}
