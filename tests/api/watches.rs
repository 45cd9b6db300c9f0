//! Watches that end, break, expire or lose events, an API server that goes away, and a kind that is not there yet: the operator finds its
//! way back by itself, and writes nothing that it need not.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use mim_operator::reconcile::request::{Chunk, Journal, Verb, Verdict};
use mim_tests::eventually::{eventually, throughout};
use serde_json::json;

use crate::city::{City, broker, platform, told};
use crate::meddler::Meddler;
use crate::own;

/// Deletes a ConfigMap of a broker and waits until it is back: its deletion is learnt of by a watch alone.
async fn learns_of_a_deletion(city: &City, name: &str) {
    let child = format!("{name}-broker");
    let before = delete(city, &child).await;
    is_back(city, &child, before).await;
}

async fn delete(city: &City, child: &str) -> Option<String> {
    let before = city.config_maps().get(child).await.unwrap().uid();
    city.config_maps()
        .delete(child, &DeleteParams::default())
        .await
        .unwrap();
    before
}

async fn is_back(city: &City, child: &str, before: Option<String>) {
    eventually(&format!("ConfigMap {child} is back"), || async {
        match city.config_maps().get_opt(child).await {
            Ok(Some(found)) if found.uid() != before => Ok(()),
            other => Err(format!(
                "{:?}",
                other.map(|found| found.and_then(|found| found.uid()))
            )),
        }
    })
    .await;
}

async fn changes_since(city: &City, count: usize) -> Vec<String> {
    city.quiet().await;
    city.changes().iter().skip(count).map(told).collect()
}

#[tokio::test]
async fn an_api_server_that_is_restarted_is_found_again_and_nothing_is_written_for_it() {
    let mut own = own::cluster().await;
    let mut city = City::of(&own, "restarted").await;
    city.start(Journal::new());
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let before = city.changes().len();
    own.plane.stop_api_server();
    let health = city.operator().handle.health.clone();
    eventually("the watches say that they broke", || async {
        let (ready, text) = health.readiness();
        if text.contains("is being opened again") {
            Ok(())
        } else {
            Err((ready, text))
        }
    })
    .await;
    assert!(health.liveness().0, "a restart of the operator would not help");
    own.plane.start_api_server().await.unwrap();
    eventually("every watch is open again", || async {
        let (ready, text) = health.readiness();
        if ready && text == "ready\n" {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    assert_eq!(changes_since(&city, before).await, Vec::<String>::new());
    learns_of_a_deletion(&city, "vienna").await;
    city.apply(&platform("vienna", &json!({"broker": {"replicas": 1}})))
        .await;
    city.platform_says("vienna", "True", "Ready").await;
    assert!(!city.operator().has_ended());
}

#[tokio::test]
async fn an_api_server_that_answers_nothing_for_a_while_is_waited_for() {
    let own = own::cluster().await;
    let mut city = City::of(&own, "paused").await;
    city.start(Journal::new());
    city.apply(&broker("vienna", &json!({}))).await;
    // In the middle of the work, twice.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        own.plane.pause_api_server().unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        own.plane.resume_api_server().unwrap();
    }
    city.broker_says("vienna", "True", "Ready").await;
    learns_of_a_deletion(&city, "vienna").await;
    assert!(!city.operator().has_ended());
}

/// As the API server answers for a kind whose definition is quite new: the list is in, and the stream has to wait.
#[tokio::test]
async fn a_watch_that_is_opened_late_is_known_to_be_open_though_nothing_happens() {
    let mut city = City::without_operator("late").await;
    let meddler = Meddler::new();
    let mut refused = HashSet::new();
    meddler.on_request(move |record| {
        if record.verb == Verb::Watch && refused.insert(record.resource.clone()) {
            return Verdict::Fail(StatusCode::TOO_MANY_REQUESTS);
        }
        Verdict::Continue
    });
    city.start_meddled(&meddler);
    let health = city.operator().handle.health.clone();
    let mut broken = HashSet::new();
    eventually("every watch broke, and is open", || {
        let (_, text) = health.readiness();
        let lines = text.lines().filter(|line| line.contains("is being opened again"));
        broken.extend(lines.map(|line| line.split(':').next().unwrap_or_default().to_owned()));
        let state = (broken.len(), text.clone());
        async move {
            if state.0 > 10 && state.1 == "ready\n" {
                Ok(())
            } else {
                Err(state)
            }
        }
    })
    .await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
}

/// As the API server ends a watch whose version is compacted away.
const EXPIRED: &[u8] =
    b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\
    \"status\":\"Failure\",\"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";

#[tokio::test]
async fn a_watch_that_expires_with_410_lists_anew_and_misses_nothing() {
    let mut city = City::without_operator("expired").await;
    let meddler = Meddler::new();
    city.start_meddled(&meddler);
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let before = city.changes().len();
    // The next event of every watch is lost to a 410, and the two watches that are opened after that are refused with one, too.
    let (mut ended, mut refused) = (HashSet::new(), std::collections::HashMap::<String, u32>::new());
    meddler.on_chunk(move |record, bytes| {
        if ended.insert(record.resource.clone()) {
            Chunk::Pass(Bytes::from_static(EXPIRED))
        } else {
            Chunk::Pass(bytes)
        }
    });
    meddler.on_request(move |record| {
        let count = refused.entry(record.resource.clone()).or_default();
        if record.verb == Verb::Watch && *count < 2 {
            *count += 1;
            return Verdict::Fail(StatusCode::GONE);
        }
        Verdict::Continue
    });
    let lost = delete(&city, "vienna-broker").await;
    is_back(&city, "vienna-broker", lost).await;
    meddler.rest();
    let changed = changes_since(&city, before).await;
    assert_eq!(changed.len(), 1, "only what was deleted is written: {changed:#?}");
    city.apply(&platform("vienna", &json!({"broker": {"replicas": 3}})))
        .await;
    city.platform_says("vienna", "True", "Ready").await;
}

/// How often a watch was opened.
fn opened(city: &City, resource: &str) -> usize {
    let entries = city.operator().journal.entries();
    let watches = entries
        .iter()
        .filter(|entry| entry.record.verb == Verb::Watch && entry.record.resource == resource);
    watches.count()
}

#[tokio::test]
async fn events_that_a_watch_loses_before_it_breaks_are_seen_when_it_is_taken_up_again() {
    let mut city = City::without_operator("lossy").await;
    let meddler = Meddler::new();
    city.start_meddled(&meddler);
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    meddler.on_chunk(|record, bytes| {
        if record.resource == "configmaps" {
            Chunk::Drop
        } else {
            Chunk::Pass(bytes)
        }
    });
    let lost = delete(&city, "vienna-broker").await;
    throughout(
        "what the watch lost is not known",
        Duration::from_secs(1),
        || async {
            match city.config_maps().get_opt("vienna-broker").await.unwrap() {
                None => Ok(()),
                Some(_) => Err("known by other means"),
            }
        },
    )
    .await;
    let before = opened(&city, "configmaps");
    meddler.on_chunk(|record, bytes| {
        if record.resource == "configmaps" {
            Chunk::Break
        } else {
            Chunk::Pass(bytes)
        }
    });
    // Any event of that watch breaks it; then it resumes where it last heard something.
    city.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "noise", "labels": {"app.kubernetes.io/managed-by": "mim-operator"}}}))
        .await;
    eventually("the watch broke, and is opened again", || async {
        let now = opened(&city, "configmaps");
        if now > before { Ok(()) } else { Err(now) }
    })
    .await;
    meddler.rest();
    is_back(&city, "vienna-broker", lost).await;
}

#[tokio::test]
async fn every_connection_that_breaks_again_and_again_ends_in_the_same_place() {
    let mut city = City::without_operator("broken").await;
    let meddler = Meddler::new();
    let mut seen = 0_u32;
    meddler.on_chunk(move |_, bytes| {
        seen += 1;
        if seen.is_multiple_of(5) {
            Chunk::Break
        } else {
            Chunk::Pass(bytes)
        }
    });
    let mut asked = 0_u32;
    meddler.on_request(move |record| {
        asked += 1;
        // Less often than a look at the Secrets asks, as one that fails begins anew. Not the status: an answer that was not given is a matter of the
        // crash tests.
        if asked.is_multiple_of(13) && !record.mutates() {
            return Verdict::Fail(StatusCode::SERVICE_UNAVAILABLE);
        }
        Verdict::Continue
    });
    city.start_meddled(&meddler);
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    meddler.rest();
    city.quiet().await;
    city.platform_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn a_kind_whose_definition_is_not_there_is_waited_for_and_listed_in_readyz_which_answers_200() {
    let own = own::cluster().await;
    let mut city = City::of(&own, "absent").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(city.client.clone());
    let name = "urbandataplatforms.mim.city";
    definitions.delete(name, &DeleteParams::default()).await.unwrap();
    eventually("the definition is gone", || async {
        match definitions.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(_) => Err("still there"),
        }
    })
    .await;
    city.start(Journal::new());
    let health = city.operator().handle.health.clone();
    eventually("ready, with the kind in the list", || async {
        let (ready, text) = health.readiness();
        let listed = text.contains("UrbanDataPlatform") && text.contains("waiting for its CRD");
        if ready && listed {
            Ok(())
        } else {
            Err((ready, text))
        }
    })
    .await;
    city.apply(&broker("graz", &json!({}))).await;
    city.broker_says("graz", "True", "Ready").await;
    own.install_definitions().await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    // A new definition may make the API server open its storage anew, which ends watches that were well.
    eventually("ready, with an empty list", || async {
        match health.readiness() {
            (true, text) if text == "ready\n" => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
