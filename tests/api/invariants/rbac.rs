//! Invariant 10: RBAC is what the request log shows by a documented rule, no more.
//!
//! The rule, for one request of the log:
//!
//! 1. Every request needs its own verb; server-side apply needs `patch`, and `create` where the object is not there yet (a status has its object).
//! 2. A watch needs `list` and `watch`: which of the two it sends first depends on where it is taken up.
//! 3. A child that is applied needs `get` and `delete`: the name may turn out not to be free, and the child may no longer be needed.
//! 4. A body with an owner reference that blocks deletion needs `update` of the owner's `finalizers` (admission plug-in
//!    OwnerReferencesPermissionEnforcement).
//! 5. An object of our kinds needs `get`: one that cannot be parsed is read as it is.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use kube::api::{DeleteParams, ListParams, PostParams};
use mim_operator::reconcile::lease::Timing;
use mim_operator::reconcile::request::{Entry, Journal, Purpose, Verb};
use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use super::quiet::app_secret;
use crate::city::{City, broker, platform, stranger_pod};
use crate::rights::{self, Chart, RELEASE};
use crate::subscriptions::subscription;

type Right = (String, String, String);

fn right(group: &str, resource: &str, verb: &str) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

/// What the rules of a role grant.
fn granted(rules: &Value) -> BTreeSet<Right> {
    let words = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    rights.insert(right(&group, &resource, &verb));
                }
            }
        }
    }
    rights
}

/// What a request needs, by the rule above.
fn needed(entry: &Entry) -> Vec<Right> {
    let record = &entry.record;
    if record.purpose == Purpose::Discovery {
        return Vec::new();
    }
    let (group, resource) = (&record.group, &record.resource);
    if let Some(subresource) = &record.subresource {
        assert_eq!(
            (record.verb, subresource.as_str()),
            (Verb::Apply, "status"),
            "{record}"
        );
        return vec![right(group, &format!("{resource}/status"), "patch")];
    }
    let mut verbs: BTreeSet<&str> = record.verb.rbac().iter().copied().collect();
    if record.purpose == Purpose::Watch {
        verbs.extend(["list", "watch"]);
    }
    if record.verb == Verb::Apply {
        verbs.extend(["get", "delete"]);
    }
    if group == "mim.city" {
        verbs.insert("get");
    }
    let mut rights: Vec<_> = verbs
        .into_iter()
        .map(|verb| right(group, resource, verb))
        .collect();
    let body: Value = record
        .body
        .as_ref()
        .and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default();
    for owner in body["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if owner["blockOwnerDeletion"] == true {
            let plural = format!("{}s", owner["kind"].as_str().unwrap().to_lowercase());
            rights.push(right("mim.city", &format!("{plural}/finalizers"), "update"));
        }
    }
    rights
}

#[tokio::test]
async fn invariant_10_the_charts_rights_are_all_used_and_none_is_missing() {
    let mut city = City::without_operator("rights").await;
    let _steyr = city.serve("steyr").await;
    rights::grant_lease(&city.client, &city.namespace).await;
    let mut options = city.options();
    let timing = Timing::new(
        Duration::from_secs(15),
        Duration::from_secs(10),
        Duration::from_millis(500),
    );
    options.election = Some(timing.unwrap());
    options.settings.certificate_lifetime = Some(Duration::from_secs(20));
    city.start_with(options, Journal::new());
    everything(&city).await;

    let entries = city.operator().journal.entries();
    let refused: Vec<_> = entries
        .iter()
        .filter(|entry| entry.status == Some(StatusCode::FORBIDDEN))
        .map(|entry| entry.record.to_string())
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "rights that are missing");
    let used: BTreeSet<Right> = entries.iter().flat_map(needed).collect();
    let chart = &rights::chart().await.namespaced;
    let mut granted_by_chart = granted(&Chart::rules(chart, "Role", RELEASE));
    granted_by_chart.extend(granted(&Chart::rules(chart, "Role", &format!("{RELEASE}-lease"))));
    let unused: Vec<_> = granted_by_chart.difference(&used).collect();
    let missing: Vec<_> = used.difference(&granted_by_chart).collect();
    assert_eq!(unused, Vec::<&Right>::new(), "granted, but not used");
    assert_eq!(missing, Vec::<&Right>::new(), "used by the rule, but not granted");
}

/// Whatever an operator ever does in a namespace.
async fn everything(city: &City) {
    city.kubelet
        .unbound
        .lock()
        .unwrap()
        .insert("linz-database".to_owned());
    city.apply(&app_secret("wels-db")).await;
    city.apply(&platform("vienna", &json!({"release": "0.1.0", "broker": {}})))
        .await;
    let mut doomed = broker("graz", &json!({"deletionPolicy": "Delete"}));
    doomed["metadata"]["annotations"] = json!({"mim.city/confirm-deletion": "graz"});
    city.apply(&doomed).await;
    city.apply(&broker("linz", &json!({}))).await;
    city.apply(&broker(
        "wels",
        &json!({"storage": {"external": {"secretRef": {"name": "wels-db"}}}}),
    ))
    .await;
    city.apply(&city.external_broker("steyr")).await;
    city.apply(&subscription("air", "steyr", &json!({}))).await;
    city.platform_says("vienna", "True", "Ready").await;
    city.broker_says("graz", "True", "Ready").await;
    city.broker_says("wels", "True", "Ready").await;
    city.subscription_says("air", "True", "Ready").await;
    city.subscriptions()
        .delete("air", &DeleteParams::default())
        .await
        .unwrap();
    // Somebody else has the name of the preflight pod.
    let taken = "vienna-database-preflight";
    city.apply(&stranger_pod(taken)).await;
    city.apply(&platform("vienna", &json!({"release": "0.2.0", "broker": {}})))
        .await;
    city.broker_complains("vienna", "NameTaken", true, &[taken]).await;
    city.pods()
        .delete(taken, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    // A new release: a preflight pod, and the pods on the old template. One replica: the budget is pruned.
    city.apply(&platform(
        "vienna",
        &json!({"release": "0.2.0", "broker": {"replicas": 1}}),
    ))
    .await;
    city.platform_says("vienna", "True", "Ready").await;
    city.brokers()
        .delete("graz", &DeleteParams::default())
        .await
        .unwrap();
    city.apply(&platform("vienna", &json!({"release": "0.2.0"})))
        .await;
    eventually("what was deleted is gone", || async {
        let left: Vec<_> = [
            city.brokers().get_opt("graz").await,
            city.brokers().get_opt("vienna").await,
        ]
        .into_iter()
        .filter(|found| !matches!(found, Ok(None)))
        .collect();
        let held = city.subscriptions().get_opt("air").await;
        if left.is_empty() && matches!(held, Ok(None)) {
            Ok(())
        } else {
            Err((left.len(), held.is_ok()))
        }
    })
    .await;
    eventually("the events of a part that is not ready are read", || async {
        let entries = city.operator().journal.entries();
        let read = entries
            .iter()
            .any(|entry| entry.record.purpose == Purpose::Explain);
        let renewed = entries
            .iter()
            .any(|entry| entry.record.resource == "secrets" && entry.record.verb == Verb::Update);
        if read && renewed {
            Ok(())
        } else {
            Err((read, renewed))
        }
    })
    .await;
}

/// It makes nothing in Kubernetes, so it needs little; and of that, what lets it act for a namespace comes with the namespace.
#[tokio::test]
async fn invariant_10_a_subscription_needs_itself_and_gets_secrets_by_name_and_acts_only_where_it_was_let_in()
{
    let mut city = City::without_operator("sub-rights").await;
    let _vienna = city.serve("vienna").await;
    city.start(Journal::new());
    // A broker of ours: to one that is outside no Secret travels over plain http.
    city.apply(&broker("vienna", &json!({}))).await;
    city.broker_says("vienna", "True", "Ready").await;
    city.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}, "stringData": {"token": "x"}}))
        .await;
    let headers = json!([{"name": "Authorization", "secretKeyRef": {"name": "app", "key": "token"}}]);
    let endpoint = json!({"url": "https://app.example.org/changes", "headers": headers});
    city.apply(&subscription(
        "air",
        "vienna",
        &json!({"notification": {"endpoint": endpoint}}),
    ))
    .await;
    city.subscription_says("air", "True", "Ready").await;
    city.subscriptions()
        .delete("air", &DeleteParams::default())
        .await
        .unwrap();
    eventually("it is gone", || async {
        match city.subscriptions().get_opt("air").await.unwrap() {
            None => Ok(()),
            Some(held) => Err(held.status),
        }
    })
    .await;
    let entries = city.operator().journal.entries().into_iter();
    let of_subscription = entries.filter(|entry| {
        let record = &entry.record;
        record.resource == "contextsubscriptions" || record.name.as_deref() == Some("app")
    });
    let used: BTreeSet<Right> = of_subscription.flat_map(|entry| needed(&entry)).collect();
    let own = |verb| right("mim.city", "contextsubscriptions", verb);
    let status = right("mim.city", "contextsubscriptions/status", "patch");
    let everywhere = BTreeSet::from([own("get"), own("list"), own("watch"), own("patch"), status]);
    let let_in = BTreeSet::from([own("update"), right("", "secrets", "get")]);
    assert_eq!(used, everywhere.union(&let_in).cloned().collect());
    let chart = &rights::chart().await.cluster;
    let role = |name: &str| granted(&Chart::rules(chart, "ClusterRole", name));
    let bound_everywhere = role(RELEASE);
    assert_eq!(
        used.intersection(&bound_everywhere)
            .cloned()
            .collect::<BTreeSet<_>>(),
        everywhere
    );
    let bound_by_namespace = role(&format!("{RELEASE}-namespace"));
    assert_eq!(
        used.intersection(&bound_by_namespace)
            .cloned()
            .collect::<BTreeSet<_>>(),
        let_in
    );
}

#[tokio::test]
async fn invariant_10_the_roles_of_cluster_mode_add_up_to_the_role_of_namespaced_mode() {
    let chart = rights::chart().await;
    let mut cluster = granted(&Chart::rules(&chart.cluster, "ClusterRole", RELEASE));
    assert!(
        cluster.iter().all(|(_, resource, _)| resource != "secrets"),
        "no Secrets everywhere"
    );
    cluster.extend(granted(&Chart::rules(
        &chart.cluster,
        "ClusterRole",
        &format!("{RELEASE}-namespace"),
    )));
    assert_eq!(
        cluster,
        granted(&Chart::rules(&chart.namespaced, "Role", RELEASE))
    );
}

#[tokio::test]
async fn invariant_10_the_rights_do_bind_the_operator_of_these_tests() {
    let city = City::without_operator("bound").await;
    let client = kube::Client::try_from(city.config.clone()).unwrap();
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(client.clone(), &city.namespace);
    let refused = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("cannot list resource"), "{refused}");
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(client, "default");
    let elsewhere = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    let refused = maps.create(&PostParams::default(), &elsewhere).await.unwrap_err();
    assert!(
        refused.to_string().contains("cannot create resource"),
        "{refused}"
    );
}
