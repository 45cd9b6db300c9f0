//! What is no longer needed goes: what is ours, and only after all that is needed is there.

use http::StatusCode;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::Api;
use mim_operator::reconcile::request::{Entry, Purpose, Verb, Verdict};
use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use crate::city::{City, broker, told};
use crate::meddler::Meddler;

/// A ConfigMap with these labels, that belongs to `owner`.
fn config_map(name: &str, labels: &Value, owner: Option<&Value>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels, "ownerReferences": owner.into_iter().collect::<Vec<_>>()},
    })
}

/// A reference that says who controls an object.
fn controller(api_version: &str, kind: &str, name: &str, uid: Option<&str>) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true})
}

fn names_of_deleted(changes: &[Entry]) -> Vec<String> {
    let deleted = changes.iter().filter(|entry| entry.record.verb == Verb::Delete);
    deleted
        .map(|entry| entry.record.name.clone().unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn what_has_our_labels_and_belongs_to_somebody_else_or_is_ours_without_labels_outlives_a_prune() {
    let city = City::new("prune").await;
    for name in ["vienna", "graz"] {
        city.apply(&broker(name, &json!({"replicas": 2}))).await;
    }
    let vienna = city.broker_says("vienna", "True", "Ready").await;
    let graz = city.broker_says("graz", "True", "Ready").await;
    let chart = city.apply(&config_map("chart", &json!({}), None)).await;
    let labels = json!({
        "app.kubernetes.io/managed-by": "mim-operator", "mim.city/kind": "ContextBroker", "mim.city/name": "vienna",
    });
    let ours = controller(
        "mim.city/v1alpha1",
        "ContextBroker",
        "vienna",
        vienna.metadata.uid.as_deref(),
    );
    let of_graz = controller(
        "mim.city/v1alpha1",
        "ContextBroker",
        "graz",
        graz.metadata.uid.as_deref(),
    );
    let of_chart = controller("v1", "ConfigMap", "chart", chart.metadata.uid.as_deref());
    let mut kept = Vec::new();
    for (name, labels, owner) in [
        ("of-another-broker", &labels, Some(&of_graz)),
        ("of-a-chart", &labels, Some(&of_chart)),
        ("of-nobody", &labels, None),
        ("without-labels", &json!({}), Some(&ours)),
    ] {
        let made = city.apply(&config_map(name, labels, owner)).await;
        kept.push((name, made.uid()));
    }
    // One watch shows them in this order: who sees the last has seen all.
    city.apply(&config_map("stale", &labels, Some(&ours))).await;
    eventually("what is ours and not needed goes", || async {
        match city.config_maps().get_opt("stale").await.unwrap() {
            None => Ok(()),
            Some(held) => Err(held.metadata),
        }
    })
    .await;
    city.event_says("ContextBroker", "vienna", &["Pruned", "ConfigMap stale"])
        .await;
    // One pod needs no budget.
    city.apply(&broker("vienna", &json!({"replicas": 1}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.event_says(
        "ContextBroker",
        "vienna",
        &["Pruned", "PodDisruptionBudget vienna-broker"],
    )
    .await;
    city.quiet().await;
    for (name, uid) in kept {
        let held = city.config_maps().get(name).await.unwrap();
        assert_eq!(held.uid(), uid, "{name}");
        assert_eq!(held.metadata.deletion_timestamp, None, "{name}");
    }
    assert_eq!(names_of_deleted(&city.changes()), ["stale", "vienna-broker"]);
}

#[tokio::test]
async fn after_an_apply_that_failed_nothing_is_pruned_until_one_has_reached_its_end() {
    let mut city = City::without_operator("prune-later").await;
    let meddler = Meddler::new();
    city.start_meddled(&meddler);
    city.apply(&broker("vienna", &json!({"replicas": 2}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.quiet().await;
    let budgets: Api<PodDisruptionBudget> = city.api();
    let uid = budgets.get("vienna-broker").await.unwrap().uid();
    meddler.journal.clear();
    let of_deployment =
        |entry: &&Entry| entry.record.resource == "deployments" && entry.record.purpose == Purpose::Apply;
    meddler.on_request(|record| {
        if record.resource == "deployments" && record.purpose == Purpose::Apply {
            Verdict::Fail(StatusCode::INTERNAL_SERVER_ERROR)
        } else {
            Verdict::Continue
        }
    });
    city.apply(&broker("vienna", &json!({"replicas": 1}))).await;
    eventually("the Deployment was tried three times", || async {
        let tried = city.changes().iter().filter(of_deployment).count();
        if tried >= 3 { Ok(()) } else { Err(tried) }
    })
    .await;
    let changes = city.changes();
    assert_eq!(
        names_of_deleted(&changes),
        Vec::<String>::new(),
        "{:#?}",
        changes.iter().map(told).collect::<Vec<_>>()
    );
    let held = budgets.get("vienna-broker").await.unwrap();
    assert_eq!((held.uid(), held.metadata.deletion_timestamp), (uid, None));
    meddler.rest();
    city.broker_says("vienna", "True", "Ready").await;
    eventually("the budget goes once the rest is there", || async {
        match budgets.get_opt("vienna-broker").await.unwrap() {
            None => Ok(()),
            Some(held) => Err(held.metadata),
        }
    })
    .await;
    assert_eq!(names_of_deleted(&city.changes()), ["vienna-broker"]);
}
