//! A subscription goes before its object, and no object stays for ever.

use kube::api::DeleteParams;
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::Fault;
use serde_json::json;

use super::{annotate, subscription, with_broker};
use crate::city::City;

pub(super) async fn delete(city: &City, name: &str) {
    city.subscriptions()
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

pub(super) async fn is_gone(city: &City, name: &str) {
    eventually(&format!("ContextSubscription {name} is gone"), || async {
        match city.subscriptions().get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(held) => Err((held.metadata.finalizers, held.status)),
        }
    })
    .await;
}

#[tokio::test]
async fn row_subscription_deleted_goes_from_the_broker_before_its_object() {
    let (city, broker) = with_broker("sub-leaves").await;
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    broker.fault(Some(Fault::Refuses(500, "InternalError")));
    delete(&city, "air").await;
    let words = ["500 InternalError", "mim.city/abandon=air"];
    city.subscription_complains("air", "BrokerUnreachable", false, &words)
        .await;
    assert!(broker.only().is_some());
    broker.fault(None);
    is_gone(&city, "air").await;
    assert_eq!((broker.only(), broker.made_and_deleted()), (None, (1, 1)));
}

#[tokio::test]
async fn row_subscription_deleted_while_the_broker_is_gone_for_good_goes_when_that_is_confirmed() {
    let (city, broker) = with_broker("sub-abandon").await;
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    city.doors.close(&city.host("vienna"));
    delete(&city, "air").await;
    let words = ["does not resolve", "mim.city/abandon=air"];
    city.subscription_complains("air", "BrokerUnreachable", false, &words)
        .await;
    annotate(&city, "air", "mim.city/abandon", "another").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(
        city.subscriptions().get_opt("air").await.unwrap().is_some(),
        "another name confirms nothing"
    );
    annotate(&city, "air", "mim.city/abandon", "air").await;
    is_gone(&city, "air").await;
    city.event_says("ContextSubscription", "air", &["Abandoned", "mim.city/abandon"])
        .await;
    assert!(broker.only().is_some(), "it was left");
}

#[tokio::test]
async fn row_subscription_deleted_when_its_broker_object_is_gone_goes_at_once_and_says_what_is_left() {
    let (city, broker) = with_broker("sub-orphan").await;
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    city.brokers()
        .delete("vienna", &DeleteParams::default())
        .await
        .unwrap();
    city.subscription_complains("air", "DependencyNotFound", false, &["ContextBroker vienna"])
        .await;
    delete(&city, "air").await;
    is_gone(&city, "air").await;
    city.event_says(
        "ContextSubscription",
        "air",
        &["Abandoned", "ContextBroker vienna does not exist"],
    )
    .await;
    assert!(broker.only().is_some());
}

#[tokio::test]
async fn row_subscription_deleted_that_never_was_in_a_broker_goes_at_once() {
    let (city, broker) = with_broker("sub-never").await;
    city.apply(&subscription("air", "nowhere", &json!({}))).await;
    city.subscription_complains("air", "DependencyNotFound", false, &["nowhere"])
        .await;
    delete(&city, "air").await;
    is_gone(&city, "air").await;
    assert!(broker.calls().is_empty());
}

#[tokio::test]
async fn row_subscription_deleted_while_suspended_or_refused_goes_too() {
    let (city, broker) = with_broker("sub-suspended").await;
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    city.apply(&subscription("air", "vienna", &json!({"suspend": true})))
        .await;
    city.subscription_says("air", "True", "Suspended").await;
    delete(&city, "air").await;
    is_gone(&city, "air").await;
    assert_eq!(broker.only(), None);
}
