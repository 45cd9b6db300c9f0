//! Invariants 5 and 6: one bad object stops no other, what runs keeps running, and nobody reaches out of a namespace.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::ListParams;
use mim_operator::reconcile::request::{Journal, Purpose};
use mim_tests::eventually::throughout;
use mim_tests::operator::{catalogue, release, releases};
use serde_json::json;

use super::quiet::app_secret;
use crate::city::{City, broker, image, platform};

/// Uids of the pods of a broker and its database that are ready.
async fn ready_pods(city: &City, name: &str) -> BTreeMap<String, String> {
    let listed = city
        .pods()
        .list(&ListParams::default().labels(&format!("app.kubernetes.io/instance={name}")))
        .await
        .unwrap();
    listed
        .items
        .into_iter()
        .filter(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod
                    .status
                    .iter()
                    .flat_map(|status| status.conditions.iter().flatten())
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
        .map(|pod| (pod.uid().unwrap(), pod.name_any()))
        .collect()
}

#[tokio::test]
async fn invariant_5_an_image_that_cannot_be_pulled_or_crashes_keeps_what_runs_and_a_good_spec_heals_it() {
    let mut city = City::without_operator("bad-image").await;
    let mut options = city.options();
    options.releases = releases(&format!("{}{}", catalogue(), release("0.3.0", 15, 'e', 'f')));
    city.start_with(options, Journal::new());
    city.apply(&broker("vienna", &json!({"release": "0.1.0"}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let running = ready_pods(&city, "vienna").await;
    assert_eq!(running.len(), 3, "{running:?}");

    let words = "failed to resolve reference: not found";
    city.kubelet.troubles.lock().unwrap().extend([
        (image("broker", 'c'), ("ImagePullBackOff", words)),
        (image("postgis", 'd'), ("ImagePullBackOff", words)),
    ]);
    city.apply(&broker("vienna", &json!({"release": "0.2.0"}))).await;
    city.broker_complains("vienna", "ImagePullFailed", false, &[words])
        .await;
    // A bad object does not stop another, and a good one is not slower for it.
    city.apply(&broker("graz", &json!({"release": "0.1.0"}))).await;
    city.broker_says("graz", "True", "Ready").await;
    throughout(
        "what ran keeps running, the database too",
        Duration::from_secs(3),
        || async {
            let now = ready_pods(&city, "vienna").await;
            if running.keys().all(|uid| now.contains_key(uid)) {
                Ok(())
            } else {
                Err(now)
            }
        },
    )
    .await;

    // The next bad one crashes instead; then a good one, without a manual step in between.
    city.kubelet.troubles.lock().unwrap().extend([
        (
            image("broker", 'e'),
            ("CrashLoopBackOff", "back-off 10s restarting failed container"),
        ),
        (
            image("postgis", 'f'),
            ("CrashLoopBackOff", "back-off 10s restarting failed container"),
        ),
    ]);
    city.apply(&broker("vienna", &json!({"release": "0.3.0"}))).await;
    city.broker_complains("vienna", "CrashLooping", false, &["vienna-"])
        .await;
    throughout(
        "what ran keeps running, the database too",
        Duration::from_secs(2),
        || async {
            let now = ready_pods(&city, "vienna").await;
            if running.keys().all(|uid| now.contains_key(uid)) {
                Ok(())
            } else {
                Err(now)
            }
        },
    )
    .await;
    city.kubelet.troubles.lock().unwrap().clear();
    city.kubelet
        .troubles
        .lock()
        .unwrap()
        .insert(image("broker", 'e'), ("CrashLoopBackOff", "back-off"));
    city.apply(&broker("vienna", &json!({"release": "0.2.0"}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let after = ready_pods(&city, "vienna").await;
    assert_eq!(after.len(), 3, "{after:?}");
    assert!(
        running.keys().all(|uid| !after.contains_key(uid)),
        "all are of the new release"
    );
}

#[tokio::test]
async fn invariant_5_a_bad_spec_keeps_what_runs_and_a_good_spec_after_it_needs_no_manual_step() {
    let city = City::new("bad-spec").await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    let running = ready_pods(&city, "vienna").await;
    city.apply(&platform("vienna", &json!({"release": "9.9.9", "broker": {}})))
        .await;
    city.platform_says("vienna", "False", "ReleaseUnknown").await;
    city.apply(&broker("graz", &json!({}))).await;
    city.broker_says("graz", "True", "Ready").await;
    assert_eq!(ready_pods(&city, "vienna").await, running);
    city.apply(&platform("vienna", &json!({"broker": {"replicas": 3}})))
        .await;
    city.platform_says("vienna", "True", "Ready").await;
    let after = ready_pods(&city, "vienna").await;
    assert_eq!(after.len(), running.len() + 1);
    assert!(
        running.keys().all(|uid| after.contains_key(uid)),
        "a replica more restarts nothing"
    );
}

#[tokio::test]
async fn invariant_6_every_request_stays_in_the_objects_namespace() {
    let city = City::new("inside").await;
    city.apply(&app_secret("graz-db")).await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.apply(&broker(
        "graz",
        &json!({"storage": {"external": {"secretRef": {"name": "graz-db"}}}}),
    ))
    .await;
    city.platform_says("vienna", "True", "Ready").await;
    city.broker_says("graz", "True", "Ready").await;
    city.quiet().await;
    let entries = city.operator().journal.entries();
    assert!(entries.len() > 50, "{}", entries.len());
    let outside: Vec<_> = entries
        .iter()
        .filter(|entry| entry.record.namespace.as_ref() != Some(&city.namespace))
        .filter(|entry| entry.record.purpose != Purpose::Discovery)
        .map(|entry| entry.record.to_string())
        .collect();
    assert_eq!(outside, Vec::<String>::new());
    let bodies = entries.iter().filter_map(|entry| entry.record.body.as_ref());
    for body in bodies {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let of = &body["metadata"]["namespace"];
        assert!(of.is_null() || *of == city.namespace, "{body}");
    }
}
