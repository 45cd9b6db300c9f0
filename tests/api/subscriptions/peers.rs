//! A broker of another namespace is reached only where it lets that namespace in (invariant 6).

use kube::api::DeleteParams;
use mim_operator::reconcile::request::Journal;
use mim_operator::reconcile::watch::Scope;
use mim_tests::fake_broker::FakeBroker;
use serde_json::{Value, json};

use super::leaving::{delete, is_gone};
use super::{annotate, subscription};
use crate::city::City;

/// A namespace with a broker and one that may want to use it, with one operator for both.
async fn two_namespaces() -> (City, City) {
    let mut host = City::without_operator("host").await;
    let guest = City::without_operator("guest").await;
    host.doors = guest.doors.clone();
    (host, guest)
}

fn start(host: &mut City, guest: &City) {
    let mut options = host.options();
    options.scope = Scope::Namespaces(vec![host.namespace.clone(), guest.namespace.clone()]);
    host.start_with(options, Journal::new());
}

fn of_other(host: &City, name: &str) -> Value {
    let mut object = subscription(name, "vienna", &json!({}));
    object["spec"]["brokerRef"]["namespace"] = host.namespace.clone().into();
    object
}

/// A broker that lets the other namespace in, and holds a subscription of it.
async fn let_in() -> (City, City, FakeBroker) {
    let (mut host, guest) = two_namespaces().await;
    let broker = host.serve("vienna").await;
    start(&mut host, &guest);
    allow(&host, json!([guest.namespace])).await;
    guest.apply(&of_other(&host, "air")).await;
    guest.subscription_says("air", "True", "Ready").await;
    (host, guest, broker)
}

async fn allow(host: &City, allowed: Value) {
    let mut broker = host.external_broker("vienna");
    broker["spec"]["allowedNamespaces"] = allowed;
    host.apply(&broker).await;
}

#[tokio::test]
async fn invariant_6_a_broker_of_another_namespace_is_used_only_while_it_lets_that_namespace_in() {
    let (mut host, guest) = two_namespaces().await;
    let broker = host.serve("vienna").await;
    start(&mut host, &guest);
    host.apply(&host.external_broker("vienna")).await;
    guest.apply(&of_other(&host, "air")).await;
    // That there is one is not told to those whom it does not let in.
    let closed = guest
        .subscription_complains("air", "ReferenceNotPermitted", false, &["allowedNamespaces"])
        .await;
    let mut absent = of_other(&host, "water");
    absent["spec"]["brokerRef"]["name"] = "graz".into();
    guest.apply(&absent).await;
    let nothing = guest
        .subscription_complains("water", "ReferenceNotPermitted", false, &["allowedNamespaces"])
        .await;
    assert_eq!(closed.replace("vienna", "graz"), nothing);
    assert!(broker.calls().is_empty());

    allow(&host, json!([guest.namespace])).await;
    guest.subscription_says("air", "True", "Ready").await;
    assert_eq!(broker.made_and_deleted(), (1, 0));

    // Not let in any more: from here on the broker hears nothing of it, not even to set an edit back.
    allow(&host, json!(["somebody-else"])).await;
    guest
        .subscription_complains("air", "ReferenceNotPermitted", false, &[&host.namespace])
        .await;
    let calls = broker.calls().len();
    broker.edit(|held| drop(held.insert("isActive".into(), json!(false))));
    delete(&guest, "air").await;
    let words = ["allowedNamespaces", "mim.city/abandon=air"];
    guest
        .subscription_complains("air", "ReferenceNotPermitted", false, &words)
        .await;
    assert_eq!(broker.calls().len(), calls);

    allow(&host, json!(["*"])).await;
    is_gone(&guest, "air").await;
    assert_eq!((broker.only(), broker.made_and_deleted()), (None, (1, 1)));
    host.stop().await;
}

#[tokio::test]
async fn a_token_is_read_where_the_broker_is_and_never_where_the_subscription_is() {
    let (mut host, guest) = two_namespaces().await;
    let _broker = host.serve("vienna").await;
    start(&mut host, &guest);
    let mut external = host.external_broker("vienna");
    let url = format!("https://{}:1026", host.host("vienna"));
    external["spec"]["external"] = json!({"url": url, "tokenSecretRef": {"name": "token"}});
    external["spec"]["allowedNamespaces"] = json!([guest.namespace]);
    host.apply(&external).await;
    guest.apply(&of_other(&host, "air")).await;
    let words = [
        "ContextBroker vienna of namespace",
        "tokenSecretRef",
        "Secret token does not exist",
    ];
    guest
        .subscription_complains("air", "DependencyNotFound", false, &words)
        .await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"token": "x"}});
    host.apply(&secret).await;
    // It speaks no TLS, which is what the answer says now.
    guest
        .subscription_complains("air", "BrokerUnreachable", false, &["TLS"])
        .await;
    let asked: Vec<_> = host
        .operator()
        .journal
        .entries()
        .into_iter()
        .filter(|entry| {
            entry.record.resource == "secrets" && entry.record.namespace.as_ref() == Some(&guest.namespace)
        })
        .map(|entry| entry.record.to_string())
        .collect();
    assert_eq!(asked, Vec::<String>::new());
    host.stop().await;
}

#[tokio::test]
async fn a_broker_that_is_gone_lets_go_those_whom_it_had_let_in() {
    let (mut host, guest, broker) = let_in().await;
    host.brokers()
        .delete("vienna", &DeleteParams::default())
        .await
        .unwrap();
    guest
        .subscription_complains("air", "ReferenceNotPermitted", false, &[])
        .await;
    delete(&guest, "air").await;
    is_gone(&guest, "air").await;
    assert!(broker.only().is_some());
    host.stop().await;
}

#[tokio::test]
async fn a_broker_of_a_namespace_that_is_not_watched_is_told_so_and_holds_no_object_for_ever() {
    let (mut host, guest, broker) = let_in().await;
    host.stop().await;
    // The administrator takes the broker's namespace off the list of the chart.
    let mut options = host.options();
    options.scope = Scope::Namespaces(vec![guest.namespace.clone()]);
    host.start_with(options, Journal::new());
    let calls = broker.calls().len();
    let told = format!("does not watch namespace {}", host.namespace);
    guest
        .subscription_complains("air", "ReferenceNotPermitted", false, &[&told, "watchNamespaces"])
        .await;
    delete(&guest, "air").await;
    guest
        .subscription_complains(
            "air",
            "ReferenceNotPermitted",
            false,
            &[&told, "mim.city/abandon=air"],
        )
        .await;
    annotate(&guest, "air", "mim.city/abandon", "air").await;
    is_gone(&guest, "air").await;
    assert_eq!(broker.calls().len(), calls, "what is out of sight is not asked");
    assert!(broker.only().is_some());
    host.stop().await;
}
