//! Invariant 8: data outlives mistakes.

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use mim_tests::cluster::api_of;
use mim_tests::eventually::{eventually, throughout};
use serde_json::{Value, json};
use std::time::Duration;

use crate::city::{City, broker, platform};

/// What holds data or opens it.
const KEPT: &[(&str, &str)] = &[
    ("PersistentVolumeClaim", "database"),
    ("ConfigMap", "database-identity"),
    ("Secret", "database"),
    ("Secret", "database-ca"),
    ("Secret", "database-tls"),
];

pub fn api(city: &City, kind: &str) -> Api<DynamicObject> {
    api_of(
        &city.client,
        &city.namespace,
        &json!({"apiVersion": "v1", "kind": kind}),
    )
}

/// Uids of what holds data or opens it; `None` where it is gone.
pub async fn kept(city: &City, name: &str) -> Vec<Option<String>> {
    let mut uids = Vec::new();
    for (kind, component) in KEPT {
        let found = api(city, kind)
            .get_opt(&format!("{name}-{component}"))
            .await
            .unwrap();
        uids.push(found.and_then(|object| object.uid()));
    }
    uids
}

pub async fn identifier(city: &City, name: &str) -> String {
    let broker = city.broker_says(name, "True", "Ready").await;
    broker
        .status
        .and_then(|status| status.storage?.system_identifier)
        .expect("the identifier of the data")
}

/// Waits until nothing that runs is left of a broker.
pub async fn nothing_runs(city: &City, name: &str) {
    eventually(&format!("nothing of {name} runs"), || async {
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
        let pods = city.pods().list(&labels).await.unwrap().items.len();
        let deployments = city.deployments().list(&labels).await.unwrap().items.len();
        let brokers = city.brokers().get_opt(name).await.unwrap().is_some();
        if (pods, deployments, brokers) == (0, 0, false) {
            Ok(())
        } else {
            Err((pods, deployments, brokers))
        }
    })
    .await;
}

pub async fn delete_broker(city: &City, name: &str) {
    city.brokers()
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

/// Waits until all that holds data or opens it goes with its broker, or nothing of it does.
async fn goes_with_its_broker(city: &City, name: &str, goes: bool) {
    let uid = city.brokers().get(name).await.unwrap().uid();
    eventually(&format!("the data of {name} goes with it: {goes}"), || async {
        let mut wrong = Vec::new();
        for (kind, component) in KEPT {
            let found = api(city, kind).get(&format!("{name}-{component}")).await.unwrap();
            let owners: Vec<_> = found
                .owner_references()
                .iter()
                .map(|of| Some(of.uid.clone()))
                .collect();
            if owners.contains(&uid) != goes || owners.len() > 1 {
                wrong.push((kind, component, owners));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    })
    .await;
}

async fn claim_is_going(city: &City, name: &str) -> bool {
    city.claims()
        .get_opt(&format!("{name}-database"))
        .await
        .unwrap()
        .is_none_or(|claim| claim.metadata.deletion_timestamp.is_some())
}

#[tokio::test]
async fn invariant_8_volume_and_secrets_carry_no_owner_reference_and_a_new_broker_of_that_name_adopts_them() {
    let city = City::new("adopt").await;
    city.apply(&broker("vienna", &json!({}))).await;
    let data = identifier(&city, "vienna").await;
    let before = kept(&city, "vienna").await;
    assert!(before.iter().all(Option::is_some), "{before:?}");
    for (kind, component) in KEPT {
        let object = api(&city, kind)
            .get(&format!("vienna-{component}"))
            .await
            .unwrap();
        assert!(object.owner_references().is_empty(), "{kind} {component}");
    }
    let password = city.secrets().get("vienna-database").await.unwrap().data;
    delete_broker(&city, "vienna").await;
    nothing_runs(&city, "vienna").await;
    assert_eq!(kept(&city, "vienna").await, before);
    city.apply(&broker("vienna", &json!({}))).await;
    assert_eq!(identifier(&city, "vienna").await, data, "the same data");
    assert_eq!(kept(&city, "vienna").await, before, "the same volume and Secrets");
    assert_eq!(
        city.secrets().get("vienna-database").await.unwrap().data,
        password
    );
}

#[tokio::test]
async fn row_platform_deleted_with_retain_the_data_is_kept_and_adopted_with_confirmed_delete_it_is_gone() {
    let city = City::new("platform-data").await;
    city.apply(&platform("vienna", &json!({"broker": {}}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    let data = identifier(&city, "vienna").await;
    let before = kept(&city, "vienna").await;
    city.platforms()
        .delete("vienna", &DeleteParams::default())
        .await
        .unwrap();
    nothing_runs(&city, "vienna").await;
    assert_eq!(kept(&city, "vienna").await, before);

    let mut doomed = platform("vienna", &json!({"deletionPolicy": "Delete", "broker": {}}));
    city.apply(&doomed).await;
    city.platform_says("vienna", "True", "Ready").await;
    assert_eq!(
        identifier(&city, "vienna").await,
        data,
        "the new platform has the old data"
    );
    doomed["metadata"]["annotations"] = json!({"mim.city/confirm-deletion": "vienna"});
    city.apply(&doomed).await;
    goes_with_its_broker(&city, "vienna", true).await;
    city.platforms()
        .delete("vienna", &DeleteParams::default())
        .await
        .unwrap();
    eventually("everything is gone", || async {
        let left = city.children("ContextBroker", "vienna").await;
        let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
        if names.is_empty() { Ok(()) } else { Err(names) }
    })
    .await;
    nothing_runs(&city, "vienna").await;
    assert!(kept(&city, "vienna").await.iter().all(Option::is_none));
}

#[tokio::test]
async fn invariant_8_data_goes_only_when_the_policy_and_the_annotation_both_say_so() {
    let city = City::new("unconfirmed").await;
    let cases = [
        ("alone", json!({"deletionPolicy": "Delete"}), None),
        ("wrong", json!({"deletionPolicy": "Delete"}), Some("other")),
        ("retain", json!({"deletionPolicy": "Retain"}), Some("retain")),
    ];
    for (name, spec, confirmed) in &cases {
        let mut object = broker(name, spec);
        if let Some(confirmed) = confirmed {
            object["metadata"]["annotations"] = json!({"mim.city/confirm-deletion": confirmed});
        }
        city.apply(&object).await;
    }
    for (name, ..) in &cases {
        city.broker_says(name, "True", "Ready").await;
        delete_broker(&city, name).await;
    }
    for (name, ..) in &cases {
        nothing_runs(&city, name).await;
        let left = kept(&city, name).await;
        assert!(left.iter().all(Option::is_some), "{name}: {left:?}");
    }
    throughout("the data stays", Duration::from_secs(2), || async {
        for (name, ..) in &cases {
            if claim_is_going(&city, name).await {
                return Err(*name);
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn invariant_8_a_confirmation_holds_and_is_withdrawn_at_once_also_while_suspended_or_refused() {
    let city = City::new("withdrawn").await;
    city.apply(&broker("vienna", &json!({"deletionPolicy": "Delete"})))
        .await;
    let data = identifier(&city, "vienna").await;
    let before = kept(&city, "vienna").await;
    goes_with_its_broker(&city, "vienna", false).await;
    let ways = [
        json!({}),
        json!({"suspend": true}),
        json!({"suspend": false, "release": "9.9.9"}),
    ];
    for way in &ways {
        city.patch(&broker("vienna", &json!({})), "vienna", &json!({"spec": way}))
            .await;
        city.annotate_broker("vienna", "mim.city/confirm-deletion", "vienna")
            .await;
        goes_with_its_broker(&city, "vienna", true).await;
        city.annotate_broker("vienna", "mim.city/confirm-deletion", "")
            .await;
        goes_with_its_broker(&city, "vienna", false).await;
    }
    city.event_says(
        "ContextBroker",
        "vienna",
        &["DeletionConfirmed", "destroys its data"],
    )
    .await;
    city.event_says("ContextBroker", "vienna", &["DeletionWithdrawn", "outlives"])
        .await;
    city.patch(
        &broker("vienna", &json!({})),
        "vienna",
        &json!({"spec": {"release": "0.2.0"}}),
    )
    .await;
    city.broker_says("vienna", "True", "Ready").await;
    goes_with_its_broker(&city, "vienna", false).await;
    assert_eq!(identifier(&city, "vienna").await, data);
    assert_eq!(kept(&city, "vienna").await, before);
}

#[tokio::test]
async fn invariant_8_a_new_broker_waits_until_the_data_of_its_predecessor_has_gone_and_takes_none_of_it() {
    let city = City::new("successor").await;
    let mut doomed = broker("vienna", &json!({"deletionPolicy": "Delete"}));
    doomed["metadata"]["annotations"] = json!({"mim.city/confirm-deletion": "vienna"});
    city.apply(&doomed).await;
    let data = identifier(&city, "vienna").await;
    let before = kept(&city, "vienna").await;
    hold(&city, Some("tests.mim.city/in-use")).await;
    let slow = |finalizers: Value| {
        let pods = city.pods();
        async move {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
            let params = PatchParams::default();
            pods.patch("vienna-database-0", &params, &patch).await.unwrap();
        }
    };
    slow(json!(["tests.mim.city/slow"])).await;
    delete_broker(&city, "vienna").await;
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_complains(
        "vienna",
        "Progressing",
        false,
        &["an earlier PersistentVolumeClaim vienna-database is being deleted"],
    )
    .await;
    hold(&city, None).await;
    // The pod that has seen the data outlives it, and is no witness of a loss.
    eventually("a volume of its own is made", || async {
        let claim = city.claims().get_opt("vienna-database").await.unwrap();
        let uid = claim.and_then(|claim| claim.uid());
        if uid.is_some() && !before.contains(&uid) {
            Ok(())
        } else {
            let broker = city.brokers().get("vienna").await.unwrap();
            Err((uid, broker.status.map(|status| status.conditions)))
        }
    })
    .await;
    slow(json!([])).await;
    assert_ne!(identifier(&city, "vienna").await, data, "an empty database");
    let after = kept(&city, "vienna").await;
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(old, new)| new.is_some() && old != new),
        "{after:?}"
    );
    goes_with_its_broker(&city, "vienna", false).await;
}

/// A claim is in use as long as a pod on a node mounts it; there are no nodes here, so the test says it.
pub async fn hold(city: &City, user: Option<&str>) {
    let finalizers: Vec<_> = user.into_iter().collect();
    city.claims()
        .patch(
            "vienna-database",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": finalizers}})),
        )
        .await
        .unwrap();
}
