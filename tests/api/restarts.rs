//! Why operands start anew, as their events tell it.

use mim_crds::annotation;
use serde_json::{Value, json};

use crate::city::{City, broker, image};

/// What an event of a restart begins with.
const REASONS: [&str; 5] = [
    "ReleaseChanged",
    "ResourcesChanged",
    "PodTemplateChanged",
    "RestartRequested",
    "StuckOnOldTemplate",
];
const BROKER: &str = "rolls Deployment vienna-broker";
const DATABASE: &str = "deleted Pod vienna-database-0";

/// Events of restarts, as `reason: what`, sorted.
async fn restarts(city: &City) -> Vec<String> {
    let events = city.events("ContextBroker", "vienna").await.into_iter();
    let mut told: Vec<_> = events
        .filter(|event| REASONS.iter().any(|reason| event.starts_with(reason)))
        .filter_map(|event| Some(event.rsplit_once(": ")?.0.to_owned()))
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn every_restart_of_an_operand_is_told_once_in_an_event_with_its_reason() {
    let city = City::new("restarts").await;
    let mut spec = json!({"release": "0.1.0"});
    city.apply(&broker("vienna", &spec)).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    assert_eq!(
        restarts(&city).await,
        Vec::<String>::new(),
        "a start is no restart"
    );
    let limit = |memory: &str| json!({"limits": {"memory": memory}});
    let changes: [(&str, Value, &str, &[&str]); 4] = [
        ("resources", limit("300Mi"), "ResourcesChanged", &[BROKER]),
        (
            "storage",
            json!({"managed": {"resources": limit("1100Mi")}}),
            "ResourcesChanged",
            &[DATABASE],
        ),
        (
            "podTemplate",
            json!({"labels": {"team": "air"}}),
            "PodTemplateChanged",
            &[BROKER],
        ),
        ("release", "0.2.0".into(), "ReleaseChanged", &[BROKER, DATABASE]),
    ];
    let mut expected = Vec::new();
    for (field, value, reason, whats) in changes {
        spec[field] = value;
        city.apply(&broker("vienna", &spec)).await;
        for what in whats {
            city.event_says("ContextBroker", "vienna", &[reason, what]).await;
            expected.push(format!("{reason}: {what}"));
        }
        city.broker_says("vienna", "True", "Ready").await;
    }
    city.annotate_broker("vienna", annotation::RESTARTED_AT, "2026-02-03T04:05:06Z")
        .await;
    for what in [BROKER, DATABASE] {
        city.event_says("ContextBroker", "vienna", &["RestartRequested", what])
            .await;
        expected.push(format!("RestartRequested: {what}"));
    }
    city.quiet().await;
    expected.sort();
    assert_eq!(restarts(&city).await, expected);
}

#[tokio::test]
async fn a_database_that_never_ran_on_its_old_template_goes_without_a_preflight_and_one_event_says_so() {
    let city = City::new("stuck").await;
    city.kubelet
        .troubles
        .lock()
        .unwrap()
        .insert(image("postgis", 'b'), ("ImagePullBackOff", "not found"));
    city.apply(&broker("vienna", &json!({"release": "0.1.0"}))).await;
    let words = ["pod vienna-database-0", "not found"];
    city.broker_complains("vienna", "ImagePullFailed", false, &words)
        .await;
    city.apply(&broker("vienna", &json!({"release": "0.2.0"}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.database_runs(&image("postgis", 'd')).await;
    city.quiet().await;
    assert_eq!(
        restarts(&city).await,
        [
            format!("ReleaseChanged: {BROKER}"),
            format!("StuckOnOldTemplate: {DATABASE}")
        ]
    );
    let events = city.events("ContextBroker", "vienna").await;
    let preflights = events.iter().filter(|event| event.starts_with("Preflight"));
    assert_eq!(preflights.count(), 0, "{events:?}");
}
