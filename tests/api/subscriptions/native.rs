//! Subscriptions in the broker that is ours, with its database: what it takes, keeps and shows is what the operator wants and finds.

use kube::api::DeleteParams;
use mim_operator::reconcile::request::Journal;
use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use super::{annotate, subscription};
use crate::city::{City, broker};
use crate::native::Broker;

const TENANT: (&str, &str) = ("ngsild-tenant", "north");

/// The only subscription of the tenant.
async fn only(native: &Broker) -> Option<Value> {
    let path = "/subscriptions?options=sysAttrs";
    let answer = native.send("GET", path, &[TENANT], None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut all: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    assert!(all.len() <= 1, "{all:#?}");
    all.pop()
}

async fn eventually_shown(native: &Broker, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        match only(native).await {
            Some(shown) if is(&shown) => Ok(shown),
            other => Err(other),
        }
    })
    .await
}

/// What somebody does to the subscription by hand.
async fn by_hand(native: &Broker, method: &str, id: &str, body: Option<&Value>) {
    let body = body.map(ToString::to_string);
    let path = format!("/subscriptions/{id}");
    let answer = native.send(method, &path, &[TENANT], body.as_deref()).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[tokio::test]
async fn a_subscription_is_made_set_back_and_deleted_in_the_native_broker() {
    let native = Broker::configured("tenants: [north]\n").await;
    let mut city = City::without_operator("sub-native").await;
    let host = city.host("vienna");
    city.doors.lead_to(&host, native.api.ip());
    city.start(Journal::new());
    let url = format!("http://{host}:{}", native.api.port());
    city.apply(&broker(
        "vienna",
        &json!({"engine": "External", "external": {"url": url}}),
    ))
    .await;
    let spec = json!({"tenant": "north", "q": "no2>40", "throttling": "PT10S"});
    city.apply(&subscription("air", "vienna", &spec)).await;
    city.subscription_says("air", "True", "Ready").await;
    let made = only(&native).await.unwrap();
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        (&made["q"], &made["throttling"]),
        (&json!("no2>40"), &json!(10)),
        "{made}"
    );
    // What is as wanted is found so: looking again changes nothing.
    annotate(&city, "air", "mim.city/requestedAt", "1").await;
    city.quiet().await;
    city.subscription_says("air", "True", "Ready").await;
    let again = only(&native).await.unwrap();
    assert!(
        again["modifiedAt"].is_string() && again["modifiedAt"] == made["modifiedAt"],
        "{again}"
    );
    let events = city.events("ContextSubscription", "air").await;
    assert!(
        !events.iter().any(|event| event.contains("Repaired")),
        "{events:?}"
    );

    let edit = json!({"q": "no2>1", "isActive": false, "expiresAt": "2091-01-01T00:00:00Z"});
    by_hand(&native, "PATCH", id, Some(&edit)).await;
    annotate(&city, "air", "mim.city/requestedAt", "2").await;
    eventually_shown(&native, "the edit is set back", |shown| {
        shown["q"] == "no2>40" && shown["isActive"] == true && shown.get("expiresAt").is_none()
    })
    .await;
    city.event_says("ContextSubscription", "air", &["Repaired", id])
        .await;

    by_hand(&native, "DELETE", id, None).await;
    annotate(&city, "air", "mim.city/requestedAt", "3").await;
    eventually_shown(&native, "it is there again", |shown| {
        shown["id"] == id && shown["q"] == "no2>40"
    })
    .await;

    city.subscriptions()
        .delete("air", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the object is gone", || async {
        match city.subscriptions().get_opt("air").await.unwrap() {
            None => Ok(()),
            Some(held) => Err(held.metadata.finalizers),
        }
    })
    .await;
    assert_eq!(only(&native).await, None, "before the object went");
}
