//! One operator for a whole cluster, and objects of a newer definition than the operator knows.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use mim_crds::ContextBroker;
use mim_operator::reconcile::request::{Journal, Purpose};
use mim_operator::reconcile::watch::Scope;
use mim_tests::cluster::{Cluster, api_of, apply};
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::FakeBroker;
use serde_json::{Value, json};

use crate::city::{City, broker, platform};
use crate::faults::delete_namespace;
use crate::rights::{self, RELEASE};
use crate::subscriptions::subscription;
use crate::{invariants, own};

#[tokio::test]
async fn row_cluster_mode_namespace_not_onboarded_is_stalled_and_goes_on_when_the_role_binding_comes() {
    let own = own::cluster().await;
    let mut onboarded = City::without_rights(&own, "onboarded").await;
    let mut stranger = City::without_rights(&own, "stranger").await;
    stranger.doors = onboarded.doors.clone();
    let outside = stranger.serve("linz").await;
    rights::install(&onboarded.client, &rights::chart().await.cluster).await;
    let role = format!("{RELEASE}-namespace");
    rights::bind(
        &onboarded.client,
        &onboarded.namespace,
        RELEASE,
        "ClusterRole",
        &role,
    )
    .await;
    let mut options = onboarded.options();
    options.scope = Scope::Cluster;
    onboarded.start_with(options, Journal::new());

    stranger.apply(&platform("graz", &json!({"broker": {}}))).await;
    stranger.apply(&broker("linz", &json!({}))).await;
    let mut confirmed = broker("wels", &json!({"deletionPolicy": "Delete"}));
    confirmed["metadata"]["annotations"] = json!({"mim.city/confirm-deletion": "wels"});
    stranger.apply(&confirmed).await;
    onboarded.apply(&platform("vienna", &json!({"broker": {}}))).await;
    let words = [stranger.namespace.as_str(), "not onboarded"];
    stranger
        .broker_complains("linz", "NamespaceNotOnboarded", true, &words)
        .await;
    stranger
        .broker_complains("wels", "NamespaceNotOnboarded", true, &words)
        .await;
    stranger
        .platform_says("graz", "False", "NamespaceNotOnboarded")
        .await;
    onboarded.platform_says("vienna", "True", "Ready").await;
    let made: Vec<_> = stranger.children("ContextBroker", "linz").await;
    assert!(made.is_empty(), "{made:?}");

    rights::bind(
        &stranger.client,
        &stranger.namespace,
        RELEASE,
        "ClusterRole",
        &role,
    )
    .await;
    stranger.broker_says("linz", "True", "Ready").await;
    stranger.broker_says("wels", "True", "Ready").await;
    stranger.platform_says("graz", "True", "Ready").await;

    // Invariant 6, for an operator that may look everywhere: what concerns an object stays in its namespace.
    let all: Api<ContextBroker> = Api::all(onboarded.client.clone());
    let objects = all.list(&ListParams::default()).await.unwrap().items;
    let namespaces: HashSet<_> = objects.iter().filter_map(ResourceExt::namespace).collect();
    for entry in onboarded.operator().journal.entries() {
        let record = &entry.record;
        match (&record.namespace, record.purpose) {
            (None, Purpose::Watch | Purpose::Discovery) => {}
            (Some(namespace), _) if namespaces.contains(namespace) => {}
            _ => panic!("{record}"),
        }
        assert_ne!(
            (record.resource.as_str(), record.purpose),
            ("secrets", Purpose::Watch)
        );
    }
    // A namespace goes with all that is in it, also where the operator's rights go before its objects, and a finalizer of ours is among them.
    stranger.apply(&subscription("air", "linz", &json!({}))).await;
    stranger.subscription_says("air", "True", "Ready").await;
    assert!(outside.only().is_some());
    offboard(&stranger).await;
    delete_namespace(&stranger).await;
    onboarded.stop().await;
}

/// Takes the operator's rights in a namespace away, and waits until that holds.
async fn offboard(city: &City) {
    let bindings = api_of(
        &city.client,
        &city.namespace,
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding"}),
    );
    bindings.delete(RELEASE, &DeleteParams::default()).await.unwrap();
    let of_operator = kube::Client::try_from(city.config.clone()).unwrap();
    let secrets: Api<Secret> = Api::namespaced(of_operator, &city.namespace);
    eventually("the rights are gone", || async {
        match secrets.get_opt("none").await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(other.map(|found| found.is_some())),
        }
    })
    .await;
}

/// An operator of the whole cluster in a namespace that has let it in, a namespace that has not, and a broker outside for the first of them.
async fn host_and_guest(own: &Cluster) -> (City, City, FakeBroker) {
    let mut host = City::without_rights(own, "host").await;
    let guest = City::without_rights(own, "guest").await;
    host.doors = guest.doors.clone();
    let outside = host.serve("vienna").await;
    rights::install(&host.client, &rights::chart().await.cluster).await;
    let role = format!("{RELEASE}-namespace");
    rights::bind(&host.client, &host.namespace, RELEASE, "ClusterRole", &role).await;
    let mut options = host.options();
    options.scope = Scope::Cluster;
    host.start_with(options, Journal::new());
    (host, guest, outside)
}

/// Nobody deletes the subscription before: the namespace's controller does, in any order beside the RoleBinding. Of a broker in the same namespace the address and
/// the token may go first, so this one is elsewhere.
#[tokio::test]
async fn row_namespace_deletion_takes_subscriptions_out_of_a_broker_that_answers() {
    let own = own::cluster().await;
    let (mut host, guest, outside) = host_and_guest(&own).await;
    let mut open = host.external_broker("vienna");
    open["spec"]["allowedNamespaces"] = json!([guest.namespace]);
    host.apply(&open).await;
    let role = format!("{RELEASE}-namespace");
    rights::bind(&guest.client, &guest.namespace, RELEASE, "ClusterRole", &role).await;
    let of = json!({"brokerRef": {"name": "vienna", "namespace": host.namespace}});
    guest.apply(&subscription("air", "vienna", &of)).await;
    guest.subscription_says("air", "True", "Ready").await;
    assert!(outside.only().is_some());
    delete_namespace(&guest).await;
    assert_eq!((outside.only(), outside.made_and_deleted()), (None, (1, 1)));
    host.stop().await;
}

/// A subscription has no children whose refusal would show that its namespace has not let the operator in.
#[tokio::test]
async fn row_cluster_mode_namespace_not_onboarded_its_subscription_is_in_no_broker_whoever_lets_it_in() {
    let own = own::cluster().await;
    let (mut host, guest, outside) = host_and_guest(&own).await;
    let role = format!("{RELEASE}-namespace");
    let of_other = |name: &str, broker: &str, namespace: &str, q: &str| {
        let of = json!({"brokerRef": {"name": broker, "namespace": namespace}, "q": q});
        subscription(name, broker, &of)
    };
    let air = |q: &str| of_other("air", "vienna", &host.namespace, q);
    // An operator that sees every namespace tells no more of them than one that does not.
    host.apply(&host.external_broker("vienna")).await;
    guest.apply(&air("no2>40")).await;
    let closed = guest
        .subscription_complains("air", "ReferenceNotPermitted", false, &["allowedNamespaces"])
        .await;
    guest.apply(&of_other("water", "graz", "nowhere", "ph>7")).await;
    let nothing = guest
        .subscription_complains("water", "ReferenceNotPermitted", false, &["allowedNamespaces"])
        .await;
    let same = closed
        .replace("vienna", "graz")
        .replace(&host.namespace, "nowhere");
    assert_eq!(same, nothing);

    let mut open = host.external_broker("vienna");
    open["spec"]["allowedNamespaces"] = json!([guest.namespace]);
    host.apply(&open).await;
    let words = [guest.namespace.as_str(), "not onboarded", "contextsubscriptions"];
    guest
        .subscription_complains("air", "NamespaceNotOnboarded", true, &words)
        .await;
    let held = guest.subscriptions().get("air").await.unwrap();
    assert_eq!(held.metadata.finalizers, None);
    assert!(outside.calls().is_empty());
    rights::bind(&guest.client, &guest.namespace, RELEASE, "ClusterRole", &role).await;
    guest.subscription_says("air", "True", "Ready").await;

    // What is there stays as it is while the rights are gone.
    offboard(&guest).await;
    guest.apply(&air("no2>50")).await;
    guest
        .subscription_complains("air", "NamespaceNotOnboarded", true, &words)
        .await;
    assert_eq!(outside.only().unwrap()["q"], "no2>40");
    rights::bind(&guest.client, &guest.namespace, RELEASE, "ClusterRole", &role).await;
    guest.subscription_says("air", "True", "Ready").await;
    assert_eq!(outside.only().unwrap()["q"], "no2>50");
    assert_eq!(outside.made_and_deleted(), (1, 0));
    host.stop().await;
}

/// Changes the schema of a kind as a newer version of the definition might.
async fn relax(client: &kube::Client, definition: &str, patch: &Value) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .patch(
            definition,
            &PatchParams::default(),
            &Patch::Json::<()>(serde_json::from_value(patch.clone()).unwrap()),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn row_unknown_engine_and_an_object_that_cannot_be_read_are_stalled_and_stop_no_other() {
    let own = own::cluster().await;
    let mut city = City::of(&own, "newer").await;
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    relax(
        &city.client,
        "contextbrokers.mim.city",
        &json!([
            {"op": "remove", "path": format!("{spec}/engine/enum")},
            {"op": "replace", "path": format!("{spec}/suspend"), "value": {"type": "string"}},
        ]),
    )
    .await;
    city.start(Journal::new());
    let objects = [
        broker("engine", &json!({"engine": "Scorpio"})),
        broker("unreadable", &json!({"suspend": "at night"})),
    ];
    for object in &objects {
        eventually("the newer definition is in force", || {
            apply(&city.client, &city.namespace, object)
        })
        .await;
    }
    city.apply(&invariants::app_secret("graz-db")).await;
    city.apply(&broker(
        "graz",
        &json!({"storage": {"external": {"secretRef": {"name": "graz-db"}}}}),
    ))
    .await;
    city.broker_complains(
        "engine",
        "InvalidSpec",
        true,
        &["spec.engine", "Scorpio", "upgrade the operator"],
    )
    .await;
    eventually("the object that cannot be read says so", || async {
        let what = broker("unreadable", &json!({}));
        let api = api_of(&city.client, &city.namespace, &what);
        let held = api.get("unreadable").await.unwrap();
        let conditions = held.data["status"]["conditions"].to_string();
        if ["Stalled", "InvalidSpec", "upgrade the operator"]
            .iter()
            .all(|word| conditions.contains(word))
        {
            Ok(())
        } else {
            Err(conditions)
        }
    })
    .await;
    city.broker_says("graz", "True", "Ready").await;
    // A good spec after it needs no manual step.
    let what = broker("unreadable", &json!({}));
    city.patch(&what, "unreadable", &json!({"spec": {"suspend": null}}))
        .await;
    city.broker_says("unreadable", "True", "Ready").await;
    city.brokers()
        .delete("engine", &DeleteParams::default())
        .await
        .unwrap();
    own.install_definitions().await;
    city.stop().await;
}

#[tokio::test]
async fn row_subscription_deleted_that_cannot_be_read_stays_and_says_why_until_its_owner_lets_it_go() {
    let own = own::cluster().await;
    let mut city = City::of(&own, "unread").await;
    let suspend = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend";
    let patch = json!([{"op": "replace", "path": suspend, "value": {"type": "string"}}]);
    relax(&city.client, "contextsubscriptions.mim.city", &patch).await;
    let mut object = subscription("air", "vienna", &json!({"suspend": "at night"}));
    object["metadata"]["finalizers"] = json!([mim_crds::context_subscription::FINALIZER]);
    eventually("the newer definition is in force", || {
        apply(&city.client, &city.namespace, &object)
    })
    .await;
    city.start(Journal::new());
    let api = api_of(&city.client, &city.namespace, &object);
    api.delete("air", &DeleteParams::default()).await.unwrap();
    eventually("it says why it stays", || async {
        let held = api.get("air").await.unwrap();
        let conditions = held.data["status"]["conditions"].to_string();
        if ["InvalidSpec", "mim.city/abandon=air"]
            .iter()
            .all(|word| conditions.contains(word))
        {
            Ok(())
        } else {
            Err(conditions)
        }
    })
    .await;
    let confirmed = json!({"metadata": {"annotations": {"mim.city/abandon": "air"}}});
    city.patch(&object, "air", &confirmed).await;
    eventually("it is gone", || async {
        match api.get_opt("air").await.unwrap() {
            None => Ok(()),
            Some(held) => Err(held.data),
        }
    })
    .await;
    own.install_definitions().await;
    city.stop().await;
}
