//! What works against us for ever costs a bounded number of requests and events, and is named.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use mim_operator::reconcile::request::Verb;
use mim_tests::eventually::{eventually, throughout, within};
use serde_json::json;

use crate::city::{City, broker, image, passes};

/// How long the other side goes on: the tokens of a bucket and a few more.
const CONTEST: Duration = Duration::from_secs(14);
/// The bucket, and one more in five seconds, on a machine that is late now and then.
const MOST: usize = 30 + 5;

/// Changes of the running operator so far, of one resource.
fn written(city: &City, resource: &str, verbs: &[Verb]) -> usize {
    let changes = city.changes();
    let of = changes.iter().filter(|entry| entry.record.resource == resource);
    of.filter(|entry| verbs.contains(&entry.record.verb)).count()
}

/// Another controller that writes a field of ours as fast as it can.
fn contest(city: &City) -> tokio::task::JoinHandle<()> {
    let maps = city.config_maps();
    tokio::spawn(async move {
        let params = PatchParams {
            field_manager: Some("other-controller".to_owned()),
            ..PatchParams::default()
        };
        let edit = Patch::Merge(json!({"data": {"broker.yaml": "tenants: [stolen]"}}));
        loop {
            maps.patch("vienna-broker", &params, &edit).await.unwrap();
        }
    })
}

#[tokio::test]
async fn row_child_edited_for_ever_is_left_alone_once_the_broker_is_suspended_and_nothing_spins() {
    let city = City::new("left-alone").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    let other = contest(&city);
    city.broker_complains("vienna", "Contested", false, &["vienna-broker"])
        .await;
    city.apply(&broker("vienna", &json!({"suspend": true}))).await;
    eventually("it is suspended", || async {
        let before = written(&city, "configmaps", &[Verb::Apply]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = written(&city, "configmaps", &[Verb::Apply]);
        if before == now { Ok(()) } else { Err(now - before) }
    })
    .await;
    other.abort();
    let _ = other.await;
    // Longer than the time in which a token comes back: then it was that a pass followed the other without end.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = passes(&city.operator().handle);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let passes = passes(&city.operator().handle) - before;
    assert!(passes <= 2, "{passes} passes in two seconds");
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
}

#[tokio::test]
async fn row_child_edited_for_ever_by_another_controller_is_put_back_at_a_bounded_pace_and_the_writer_is_named()
 {
    let city = City::new("contest").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let maps = city.config_maps();
    let wanted = maps.get("vienna-broker").await.unwrap().data;
    let applies = || written(&city, "configmaps", &[Verb::Apply]);
    let before = (applies(), city.changes().len());
    let other = contest(&city);
    throughout("the pace is bounded", CONTEST, || async {
        let (puts, changes) = (applies() - before.0, city.changes().len() - before.1);
        if puts <= MOST && changes <= MOST + 15 {
            Ok(())
        } else {
            Err((puts, changes))
        }
    })
    .await;
    let words = ["ConfigMap vienna-broker", "other-controller", "again and again"];
    city.broker_complains("vienna", "Contested", false, &words).await;
    assert!(applies() - before.0 >= 30, "single edits are put back at once");
    other.abort();
    let _ = other.await;
    within("the child is as wanted", Duration::from_secs(10), || async {
        let data = maps.get("vienna-broker").await.unwrap().data;
        if data == wanted { Ok(()) } else { Err(data) }
    })
    .await;
    city.broker_says("vienna", "True", "Ready").await;
    let events = city.events("ContextBroker", "vienna").await;
    let repaired = events.iter().filter(|event| event.starts_with("Repaired"));
    let repaired: Vec<_> = repaired
        .filter(|event| event.contains("other-controller"))
        .collect();
    assert_eq!(repaired.len(), 1, "once a minute: {events:?}");
}

#[tokio::test]
async fn row_image_a_preflight_that_every_node_refuses_is_tried_at_a_bounded_pace_and_its_reason_is_told() {
    let city = City::new("refused-preflight").await;
    city.apply(&broker("vienna", &json!({"release": "0.1.0"}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let running = city.pods().get("vienna-database-0").await.unwrap().metadata.uid;
    let words = "Allocate failed due to no healthy devices present";
    let trouble = ("UnexpectedAdmissionError", words);
    city.kubelet
        .troubles
        .lock()
        .unwrap()
        .insert(image("postgis", 'd'), trouble);
    city.apply(&broker("vienna", &json!({"release": "0.2.0"}))).await;
    throughout("the pace is bounded", CONTEST, || async {
        let steps = written(&city, "pods", &[Verb::Create, Verb::Delete]);
        if steps <= MOST { Ok(()) } else { Err(steps) }
    })
    .await;
    let told = ["Pod vienna-database-preflight", "UnexpectedAdmissionError", words];
    city.broker_complains("vienna", "AdmissionRefused", false, &told)
        .await;
    let steps = written(&city, "pods", &[Verb::Create, Verb::Delete]);
    assert!(steps >= 4, "it is tried again: {steps}");
    let events = city.events("ContextBroker", "vienna").await;
    assert!(events.len() < 25, "{events:?}");
    let held = city.pods().get("vienna-database-0").await.unwrap().metadata.uid;
    assert_eq!(held, running, "what ran keeps running");
    city.kubelet.troubles.lock().unwrap().clear();
    city.database_runs(&image("postgis", 'd')).await;
    city.broker_says("vienna", "True", "Ready").await;
}
