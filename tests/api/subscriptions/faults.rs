//! Brokers that are away, refuse, or take what they do not show.

use std::time::{Duration, Instant};

use mim_operator::reconcile::request::Journal;
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::Fault;
use serde_json::{Value, json};

use super::{eventually_shown, subscription, with_broker};
use crate::city::{City, broker};

#[tokio::test]
async fn row_broker_of_a_subscription_away_is_told_holds_up_no_other_and_goes_on_by_itself() {
    let mut city = City::without_operator("sub-away").await;
    let (silent, good) = (city.serve("linz").await, city.serve("vienna").await);
    city.start(Journal::new());
    for name in ["linz", "vienna"] {
        city.apply(&city.external_broker(name)).await;
    }
    silent.fault(Some(Fault::Silent));
    for number in 0..20 {
        city.apply(&subscription(&format!("silent-{number}"), "linz", &json!({})))
            .await;
    }
    city.subscription_complains(
        "silent-0",
        "BrokerUnreachable",
        false,
        &["ContextBroker linz", "within 5 s"],
    )
    .await;
    // While 20 wait for the silent one, two at a time and 5 s each, another one is made at once.
    let start = Instant::now();
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(good.made_and_deleted(), (1, 0));
    silent.fault(None);
    for number in 0..20 {
        city.subscription_says(&format!("silent-{number}"), "True", "Ready")
            .await;
    }
    assert_eq!(silent.made_and_deleted(), (20, 0));
}

#[tokio::test]
async fn row_broker_of_a_subscription_refuses_it_is_stalled_in_words_of_ours_and_what_was_there_stays() {
    let (city, broker) = with_broker("sub-refused").await;
    city.apply(&subscription("air", "vienna", &json!({"q": "no2>40"})))
        .await;
    city.subscription_says("air", "True", "Ready").await;
    let before = broker.only().unwrap();
    broker.fault(Some(Fault::Refuses(400, "BadRequestData")));
    city.apply(&subscription("air", "vienna", &json!({"q": "no2>>40"})))
        .await;
    let words = ["ContextBroker vienna", "400 BadRequestData", "check q"];
    let message = city
        .subscription_complains("air", "BrokerRefused", true, &words)
        .await;
    assert!(!message.contains("words-of-the-broker"), "{message}");
    assert_eq!(broker.only().unwrap(), before, "a bad spec stops nothing");
    broker.fault(None);
    city.apply(&subscription("air", "vienna", &json!({"q": "no2>50"})))
        .await;
    city.subscription_says("air", "True", "Ready").await;
    assert_eq!(broker.only().unwrap()["q"], "no2>50");
    assert_eq!(broker.made_and_deleted(), (1, 0));
}

#[tokio::test]
async fn row_broker_of_a_subscription_refuses_the_token_or_has_no_such_tenant_is_told_and_heals() {
    let (city, broker) = with_broker("sub-token").await;
    broker.fault(Some(Fault::Answers(401, "x")));
    city.apply(&subscription("air", "vienna", &json!({"tenant": "north"})))
        .await;
    city.subscription_complains("air", "BrokerUnauthorised", false, &["401", "tokenSecretRef"])
        .await;
    broker.fault(Some(Fault::Refuses(404, "NonexistentTenant")));
    city.subscription_complains(
        "air",
        "BrokerRefused",
        false,
        &["NonexistentTenant", "spec.tenant"],
    )
    .await;
    broker.fault(None);
    city.subscription_says("air", "True", "Ready").await;
}

#[tokio::test]
async fn row_subscription_of_a_broker_that_is_not_there_yet_goes_on_when_it_comes() {
    let mut city = City::without_operator("sub-early").await;
    let native = city.serve("vienna").await;
    city.start(Journal::new());
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    let words = ["spec.brokerRef", "ContextBroker vienna does not exist"];
    city.subscription_complains("air", "DependencyNotFound", false, &words)
        .await;
    assert!(native.calls().is_empty());
    let held = city.subscriptions().get("air").await.unwrap();
    assert_eq!(
        held.metadata.finalizers, None,
        "nothing is there that would have to go first"
    );
    city.apply(&broker("vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
}

#[tokio::test]
async fn row_subscription_follows_its_broker_to_another_address_and_tells_what_stays_behind() {
    let mut city = City::without_operator("sub-moves").await;
    let (old, new) = (city.serve("vienna").await, city.serve("graz").await);
    city.start(Journal::new());
    city.apply(&city.external_broker("vienna")).await;
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    let mut moved = city.external_broker("graz");
    moved["metadata"]["name"] = "vienna".into();
    city.apply(&moved).await;
    eventually_shown(&new, "it is made at the new address", |_| true).await;
    let address = format!("http://{}:1026", city.host("vienna"));
    city.event_says("ContextSubscription", "air", &["LeftBehind", &address])
        .await;
    assert!(old.only().is_some(), "what is left behind is not touched");
    eventually("the status has the new address", || async {
        let status = city.subscriptions().get("air").await.unwrap().status.unwrap();
        let endpoint = status.subscription.unwrap().endpoint.unwrap();
        if endpoint.contains("graz") {
            Ok(())
        } else {
            Err(endpoint)
        }
    })
    .await;
}

fn with_secret(url: &str) -> Value {
    json!({"notification": {"endpoint": {
        "url": url,
        "headers": [{"name": "Authorization", "secretKeyRef": {"name": "app", "key": "token"}}],
    }}})
}

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}, "stringData": {"token": value}})
}

#[tokio::test]
async fn row_secret_named_in_spec_missing_of_a_subscription_then_made_then_changed_reaches_the_broker() {
    let mut city = City::without_operator("sub-secret").await;
    let native = city.serve("vienna").await;
    city.start(Journal::new());
    city.apply(&broker("vienna", &json!({}))).await;
    city.apply(&subscription(
        "air",
        "vienna",
        &with_secret("https://app.example.org/"),
    ))
    .await;
    let words = ["headers[Authorization].secretKeyRef", "Secret app does not exist"];
    city.subscription_complains("air", "DependencyNotFound", false, &words)
        .await;
    city.apply(&secret("two-lines-not-to-be-told\nnot-to-be-told"))
        .await;
    let words = [
        "headers[Authorization].secretKeyRef",
        "Secret app",
        "key token",
        "one line of ASCII",
    ];
    let message = city
        .subscription_complains("air", "DependencyInvalid", false, &words)
        .await;
    assert!(!message.contains("not-to-be-told"), "{message}");
    assert!(native.calls().is_empty());
    city.apply(&secret("first-not-to-be-told")).await;
    city.subscription_says("air", "True", "Ready").await;
    let value = |shown: &Value| {
        shown
            .pointer("/notification/endpoint/receiverInfo/0/value")
            .cloned()
    };
    assert_eq!(
        value(&native.only().unwrap()),
        Some(json!("first-not-to-be-told"))
    );
    // Secrets are not watched; who does not want to wait asks.
    city.apply(&secret("second-not-to-be-told")).await;
    super::annotate(&city, "air", "mim.city/requestedAt", "1").await;
    eventually_shown(&native, "the new value is there", |shown| {
        value(shown) == Some(json!("second-not-to-be-told"))
    })
    .await;
    city.subscription_says("air", "True", "Ready").await;
    // An edit of a value is set back, as this broker shows values.
    native.edit(|held| held["notification"]["endpoint"]["receiverInfo"][0]["value"] = json!("by-hand"));
    eventually_shown(&native, "the value is set back", |shown| {
        value(shown) == Some(json!("second-not-to-be-told"))
    })
    .await;
    assert_eq!(native.made_and_deleted(), (1, 0));
}

#[tokio::test]
async fn row_secret_of_a_subscription_never_travels_over_plain_http_to_an_external_broker() {
    let (city, broker) = with_broker("sub-plain").await;
    city.apply(&secret("not-to-be-told")).await;
    city.apply(&subscription(
        "air",
        "vienna",
        &with_secret("https://app.example.org/"),
    ))
    .await;
    city.subscription_complains("air", "DependencyInvalid", false, &["plain http", "https url"])
        .await;
    assert!(broker.calls().is_empty());
}
