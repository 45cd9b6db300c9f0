//! Words of the schema and values of the types are the same, in both directions.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests: a wrong shape is a failed test"
)]

use mim_crds::{
    Accept, ContextBroker, ContextSubscription, Engine, Format, Geometry, Join, Profile, Reason, Scheme,
    SubscriptionMode, Switch, Trigger, UrbanDataPlatform,
};
use serde_json::{Value, json};

fn spec_words(kind: &str, field: &str) -> Vec<Value> {
    let crd = mim_crds::all()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let crd = serde_json::to_value(crd).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let field = field.split('.').fold(spec, |schema, name| match name {
        "[]" => &schema["items"],
        name => &schema["properties"][name],
    });
    field["enum"].as_array().unwrap().clone()
}

/// Whether every word of a field of ContextSubscription is read as a value of the type, and written as that word.
fn known<T: serde::Serialize + serde::de::DeserializeOwned>(field: &str, is_unknown: fn(&T) -> bool) {
    let words = spec_words("ContextSubscription", field);
    assert!(words.len() >= 2, "{field}");
    for word in words {
        let value: T = serde_json::from_value(word.clone()).unwrap();
        assert!(!is_unknown(&value), "{field}: {word}");
        assert_eq!(serde_json::to_value(value).unwrap(), word, "{field}");
    }
}

#[test]
fn every_word_of_the_schema_is_known_to_the_type() {
    for word in spec_words("ContextBroker", "engine") {
        let engine: Engine = serde_json::from_value(word.clone()).unwrap();
        assert!(!matches!(engine, Engine::Unknown(_)), "{word}");
        assert_eq!(serde_json::to_value(engine).unwrap(), word);
    }
    for word in spec_words("UrbanDataPlatform", "profile") {
        let profile: Profile = serde_json::from_value(word.clone()).unwrap();
        assert!(!matches!(profile, Profile::Unknown(_)), "{word}");
        assert_eq!(serde_json::to_value(profile).unwrap(), word);
    }
}

#[test]
fn every_word_of_a_subscription_is_known_to_its_type() {
    known("mode", |of| matches!(of, SubscriptionMode::Unknown(_)));
    known("notificationTrigger.[]", |of| matches!(of, Trigger::Unknown(_)));
    known("geoQ.geometry", |of| matches!(of, Geometry::Unknown(_)));
    known("notification.format", |of| matches!(of, Format::Unknown(_)));
    known("notification.join", |of| matches!(of, Join::Unknown(_)));
    known("notification.sysAttrs", |of| matches!(of, Switch::Unknown(_)));
    known("notification.showChanges", |of| matches!(of, Switch::Unknown(_)));
    known("notification.endpoint.accept", |of| {
        matches!(of, Accept::Unknown(_))
    });
    known("notification.endpoint.serviceRef.scheme", |of| {
        matches!(of, Scheme::Unknown(_))
    });
}

#[test]
fn a_subscription_says_only_what_it_was_told() {
    let spec = json!({
        "brokerRef": {"name": "city"}, "mode": "Active", "entities": [{"type": "A"}],
        "notification": {"endpoint": {"serviceRef": {"name": "app", "port": 80, "scheme": "Http", "path": "/"}}},
    });
    let subscription = ContextSubscription::new("a", serde_json::from_value(spec.clone()).unwrap());
    assert_eq!(serde_json::to_value(&subscription.spec).unwrap(), spec);
    assert_eq!(mim_crds::validate(&subscription, None), []);
}

#[test]
fn a_broker_lets_in_the_namespaces_that_it_names_and_no_other() {
    let allows = |allowed: Value, namespace: &str| {
        let spec = json!({"allowedNamespaces": allowed});
        serde_json::from_value::<mim_crds::ContextBrokerSpec>(spec)
            .unwrap()
            .allows(namespace)
    };
    assert!(allows(json!(["apps"]), "apps") && allows(json!(["*"]), "apps"));
    assert!(!allows(json!(["apps"]), "app") && !allows(json!([]), "apps"));
}

#[test]
fn a_word_of_a_newer_definition_is_kept_and_no_error() {
    let broker: ContextBroker = serde_json::from_value(json!({
        "apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker", "metadata": {"name": "city"},
        "spec": {"engine": "Scorpio"},
    }))
    .unwrap();
    assert_eq!(broker.spec.engine, Engine::Unknown("Scorpio".to_owned()));
    assert_eq!(
        serde_json::to_value(&broker).unwrap()["spec"]["engine"],
        "Scorpio"
    );
    let platform: UrbanDataPlatform = serde_json::from_value(json!({
        "apiVersion": "mim.city/v1alpha1", "kind": "UrbanDataPlatform", "metadata": {"name": "city"},
        "spec": {"profile": "mims-plus-10.0"},
    }))
    .unwrap();
    assert_eq!(
        platform.spec.profile,
        Profile::Unknown("mims-plus-10.0".to_owned())
    );
}

#[test]
fn an_empty_spec_is_a_whole_broker() {
    let broker = ContextBroker::new("city", serde_json::from_value(json!({})).unwrap());
    assert_eq!(broker.spec.engine, Engine::Native);
    assert_eq!(broker.spec.replicas(), 2);
    assert_eq!(broker.spec.managed_storage().unwrap().size, "10Gi");
    assert!(mim_crds::validate(&broker, None).is_empty());
    // What a platform applies claims only what it says.
    assert_eq!(
        serde_json::to_value(&broker.spec).unwrap(),
        json!({"engine": "Native"})
    );
}

#[test]
fn every_reason_is_one_word_with_a_meaning_and_is_found_again() {
    assert!(Reason::ALL.len() > 20);
    for reason in Reason::ALL {
        let word = reason.to_string();
        assert!(
            word.chars().all(|c| c.is_ascii_alphanumeric())
                && word.starts_with(|c: char| c.is_ascii_uppercase())
        );
        assert!(reason.meaning().trim().ends_with('.'), "{word}");
        assert_eq!(Reason::parse(&word), Some(*reason));
    }
    assert_eq!(Reason::parse("ready"), None);
}
