//! Why a part is not ready is told in the words of whoever knows it, and what ran keeps running.

use http::StatusCode;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use mim_crds::{ContextBroker, annotation};
use mim_operator::reconcile::request::{Verb, Verdict};
use mim_tests::cluster::api_of;
use mim_tests::eventually::eventually;
use mim_tests::kubelet::UNHEALTHY;
use serde_json::{Value, json};

use crate::city::{City, broker, image, passes, platform, told};
use crate::invariants::app_secret;
use crate::meddler::Meddler;

/// Passes of a restarted operator that must find the same words as the one before.
async fn a_restarted_operator_says_the_same(city: &mut City, name: &str) {
    let before = city.brokers().get(name).await.unwrap();
    city.restart().await;
    eventually("the new operator has looked twice", || async {
        let now = passes(&city.operator().handle);
        if now >= 2 { Ok(()) } else { Err(now) }
    })
    .await;
    let after = city.brokers().get(name).await.unwrap();
    let status = |broker: &ContextBroker| serde_json::to_value(broker.status.clone()).unwrap();
    assert_eq!(status(&after), status(&before));
    let changes: Vec<_> = city.changes().iter().map(told).collect();
    assert_eq!(changes, Vec::<String>::new(), "neither a status nor an event");
}

#[tokio::test]
async fn row_image_cannot_be_pulled_or_pod_crash_loops_the_real_reason_stands_in_the_condition() {
    let mut city = City::new("no-image").await;
    let words = "rpc error: code = NotFound desc = failed to pull and unpack image: not found";
    city.kubelet
        .troubles
        .lock()
        .unwrap()
        .insert(image("broker", 'c'), ("ImagePullBackOff", words));
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.broker_complains(
        "vienna",
        "ImagePullFailed",
        false,
        &["vienna-broker-", "not found"],
    )
    .await;
    let told = city.platform_says("vienna", "False", "ComponentNotReady").await;
    let message = &told.status.unwrap().conditions[0].message;
    assert!(
        message.contains("ImagePullFailed") && message.contains("not found"),
        "{message}"
    );
    city.quiet().await;
    a_restarted_operator_says_the_same(&mut city, "vienna").await;
    city.kubelet.troubles.lock().unwrap().insert(
        image("broker", 'c'),
        (
            "CrashLoopBackOff",
            "back-off 40s restarting failed container=broker",
        ),
    );
    city.broker_complains(
        "vienna",
        "CrashLooping",
        false,
        &["vienna-broker-", "ends again and again"],
    )
    .await;
    city.event_says("ContextBroker", "vienna", &["ImagePullFailed", "not found"])
        .await;
    city.kubelet.troubles.lock().unwrap().clear();
    city.platform_says("vienna", "True", "Ready").await;
}

/// What a kubelet passes on of the probes of a broker whose database does not suit, and what is to be told of it. That the broker says so of such a
/// database is tested with the broker (`services/broker/tests/faults/words.rs`).
const UNSUITED: [(&str, &str); 9] = [
    (
        "Startup probe failed: the database refuses the login of app: password authentication failed",
        "the database refuses the login of app: password authentication failed",
    ),
    (
        "Startup probe failed: the database is PostgreSQL 14.2; the broker needs 15 or newer",
        "the database is PostgreSQL 14.2; the broker needs 15 or newer",
    ),
    (
        "Startup probe failed: PostGIS is missing in the database and cannot be created by app",
        "PostGIS is missing in the database and cannot be created by app",
    ),
    (
        "Readiness probe failed: HTTP probe failed with statuscode: 521",
        "the database cannot be reached; check host and port in its Secret, and network.egress",
    ),
    (
        "Readiness probe failed: HTTP probe failed with statuscode: 522",
        "the database has a certificate that is not trusted; check the CA and the host name",
    ),
    (
        "Readiness probe failed: HTTP probe failed with statuscode: 523",
        "the database offers no TLS; the broker connects with TLS only",
    ),
    (
        "Readiness probe failed: HTTP probe failed with statuscode: 524",
        "the database refuses the login; check username and password in its Secret",
    ),
    (
        "Readiness probe failed: HTTP probe failed with statuscode: 526",
        "the database is older than PostgreSQL 15",
    ),
    (
        "Readiness probe failed: HTTP probe failed with statuscode: 527",
        "the database lacks PostGIS, and the role may not create it; let a superuser run CREATE EXTENSION postgis",
    ),
];

/// Has the probes of brokers fail in these words.
fn probes_fail(city: &City, words: &'static str) {
    let mut troubles = city.kubelet.troubles.lock().unwrap();
    troubles.insert(image("broker", 'c'), (UNHEALTHY, words));
}

/// Waits until the events of both pods of vienna's broker say this, and has the operator look.
async fn probes_say(city: &City, words: &str) {
    let said = format!("{UNHEALTHY}: {words}");
    eventually("both pods are told to be unhealthy", || async {
        let of_the_broker = ListParams::default().labels("app.kubernetes.io/component=broker");
        let mut told = Vec::new();
        for pod in city.pods().list(&of_the_broker).await.unwrap().items {
            told.extend(city.events("Pod", &pod.name_any()).await);
        }
        if told == [said.as_str(), &said] {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    city.annotate_broker("vienna", annotation::REQUESTED_AT, words)
        .await;
}

#[tokio::test]
async fn row_external_database_that_does_not_suit_is_told_by_login_tls_version_and_postgis_in_the_condition()
{
    let mut city = City::new("unsuited").await;
    city.apply(&app_secret("vienna-db")).await;
    let external = json!({"storage": {"external": {"secretRef": {"name": "vienna-db"}}}});
    for (words, told) in UNSUITED {
        probes_fail(&city, words);
        city.apply(&broker("vienna", &external)).await;
        probes_say(&city, words).await;
        city.broker_complains("vienna", "DatabaseNotReady", false, &["Pod vienna-broker-", told])
            .await;
    }
    city.quiet().await;
    a_restarted_operator_says_the_same(&mut city, "vienna").await;
    // A broker that ends, though nobody has deleted its pod (its node goes down), is no trouble of the database.
    let words = "Readiness probe failed: HTTP probe failed with statuscode: 531";
    probes_fail(&city, words);
    probes_say(&city, words).await;
    city.broker_complains(
        "vienna",
        "NotReady",
        false,
        &["Pod vienna-broker-", "the broker is shutting down"],
    )
    .await;
    city.kubelet.troubles.lock().unwrap().clear();
    city.broker_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn row_pvc_pending_the_provisioners_words_stand_in_the_condition() {
    let mut city = City::new("pending").await;
    city.kubelet
        .unbound
        .lock()
        .unwrap()
        .insert("vienna-database".to_owned());
    city.apply(&broker("vienna", &json!({}))).await;
    let claim = eventually("the claim is made", || async {
        city.claims()
            .get("vienna-database")
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    let words = "failed to provision volume with StorageClass \"standard\": no space left in pool";
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "vienna-database.1", "namespace": city.namespace},
        "type": "Warning", "reason": "ProvisioningFailed", "message": words, "count": 3,
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "vienna-database",
                           "namespace": city.namespace, "uid": claim.uid()},
    });
    api_of(&city.client, &city.namespace, &event)
        .create(&PostParams::default(), &serde_json::from_value(event).unwrap())
        .await
        .unwrap();
    city.broker_complains(
        "vienna",
        "VolumePending",
        false,
        &["PersistentVolumeClaim vienna-database", "no space left in pool"],
    )
    .await;
    city.quiet().await;
    a_restarted_operator_says_the_same(&mut city, "vienna").await;
    city.kubelet.unbound.lock().unwrap().clear();
    city.broker_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn row_quota_exceeded_the_quota_is_named_and_what_ran_keeps_running() {
    let city = City::new("quota").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let quota = |name: &str, hard: &Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}});
    city.apply(&quota("pods-of-the-city", &json!({"pods": "3"})))
        .await;
    eventually("the quota is counted", || async {
        let api = api_of(&city.client, &city.namespace, &quota("", &json!({})));
        let held = api.get("pods-of-the-city").await.unwrap();
        if held.data["status"]["used"]["pods"] == "3" {
            Ok(())
        } else {
            Err(held.data)
        }
    })
    .await;
    city.apply(&broker("vienna", &json!({"replicas": 4}))).await;
    city.broker_complains("vienna", "QuotaExceeded", false, &["pods-of-the-city", "pods=3"])
        .await;
    let ready = city
        .deployments()
        .get("vienna-broker")
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(ready.ready_replicas, Some(2), "what ran keeps running");
    // A whole new city in a namespace that is full: neither pod nor claim may be made.
    city.apply(&broker("graz", &json!({}))).await;
    city.broker_complains("graz", "QuotaExceeded", false, &["pods-of-the-city"])
        .await;
    city.apply(&quota(
        "claims-of-the-city",
        &json!({"persistentvolumeclaims": "2"}),
    ))
    .await;
    eventually("the quota is counted", || async {
        let api = api_of(&city.client, &city.namespace, &quota("", &json!({})));
        let held = api.get("claims-of-the-city").await.unwrap();
        if held.data["status"]["used"]["persistentvolumeclaims"] == "2" {
            Ok(())
        } else {
            Err(held.data)
        }
    })
    .await;
    city.apply(&broker("linz", &json!({}))).await;
    city.broker_complains(
        "linz",
        "QuotaExceeded",
        false,
        &["PersistentVolumeClaim linz-database", "claims-of-the-city"],
    )
    .await;
    for name in ["pods-of-the-city", "claims-of-the-city"] {
        api_of(&city.client, &city.namespace, &quota("", &json!({})))
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    city.broker_says("vienna", "True", "Ready").await;
    city.broker_says("graz", "True", "Ready").await;
    city.broker_says("linz", "True", "Ready").await;
}

#[tokio::test]
async fn row_api_server_refuses_a_child_for_a_reason_of_its_own_and_ready_does_not_outlive_what_is_gone() {
    let mut city = City::without_operator("webhook-down").await;
    let meddler = Meddler::new();
    city.start_meddled(&meddler);
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    // As with a webhook of the cluster that is down.
    meddler.on_request(|record| {
        if record.resource == "deployments" && record.verb == Verb::Apply {
            Verdict::Fail(StatusCode::INTERNAL_SERVER_ERROR)
        } else {
            Verdict::Continue
        }
    });
    city.deployments()
        .delete("vienna-broker", &DeleteParams::default())
        .await
        .unwrap();
    city.broker_complains(
        "vienna",
        "ApiUnavailable",
        false,
        &["API server", "500", "asked again"],
    )
    .await;
    meddler.rest();
    city.broker_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn what_a_broker_has_waited_for_for_a_minute_is_named_where_nobody_says_why() {
    let mut city = City::new("waiting").await;
    city.kubelet
        .unbound
        .lock()
        .unwrap()
        .insert("vienna-database".to_owned());
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_complains("vienna", "Progressing", false, &["not every part is ready"])
        .await;
    // A minute is over as soon as the status says that it began a minute ago.
    eventually("the wait is older than it is", || async {
        let held = city.brokers().get("vienna").await.unwrap();
        let mut conditions = serde_json::to_value(held.status.unwrap().conditions).unwrap();
        for condition in conditions.as_array_mut().unwrap() {
            condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
        }
        let aged = json!({"metadata": {"resourceVersion": held.metadata.resource_version}, "status": {"conditions": conditions}});
        city.brokers()
            .patch_status("vienna", &PatchParams::default(), &Patch::Merge(aged))
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    })
    .await;
    let words = "On its way: waits for StatefulSet vienna-database, Deployment vienna-broker.";
    let told = city
        .broker_complains("vienna", "Progressing", false, &["waits for"])
        .await;
    assert_eq!(told, words);
    city.quiet().await;
    a_restarted_operator_says_the_same(&mut city, "vienna").await;
    city.kubelet.unbound.lock().unwrap().clear();
    city.broker_says("vienna", "True", "Ready").await;
}
