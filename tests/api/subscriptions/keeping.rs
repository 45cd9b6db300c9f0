//! A subscription is made, changed and kept as the object says.

use http::Method;
use kube::ResourceExt;
use mim_operator::reconcile::request::{Journal, Purpose};
use mim_tests::eventually::eventually;
use serde_json::{Value, json};

use super::{annotate, eventually_shown, subscription, with_broker};
use crate::city::{City, broker, passes, told};

#[tokio::test]
async fn invariant_2_a_subscription_costs_a_finalizer_and_two_statuses() {
    let mut city = City::without_operator("sub-cost").await;
    let native = city.serve("vienna").await;
    city.apply(&broker("vienna", &json!({"tenants": ["north"]})))
        .await;
    city.apply(&subscription(
        "air",
        "vienna",
        &json!({"tenant": "north", "q": "no2>40"}),
    ))
    .await;
    city.start(Journal::new());
    let held = city.subscription_says("air", "True", "Ready").await;
    city.quiet().await;
    let uid = held.uid().unwrap();
    let id = format!("urn:ngsi-ld:Subscription:mim.city:{}:air:{uid}", city.namespace);
    let ((tenant, found), shown) = native.subscriptions().pop_first().unwrap();
    assert_eq!((tenant.as_str(), &found), ("north", &id));
    assert_eq!(shown["q"], "no2>40");
    assert_eq!(shown["subscriptionName"], format!("{}/air", city.namespace));
    let status = held.status.unwrap().subscription.unwrap();
    assert_eq!(status.id, Some(id));
    assert_eq!(
        status.endpoint,
        Some(format!("http://{}:1026", city.host("vienna")))
    );
    assert_eq!(held.metadata.finalizers.unwrap(), ["mim.city/subscription"]);
    let of_object: Vec<_> = city
        .changes()
        .into_iter()
        .filter(|entry| entry.record.resource == "contextsubscriptions")
        .collect();
    let purposes: Vec<_> = of_object.iter().map(|entry| entry.record.purpose).collect();
    assert_eq!(
        purposes,
        [Purpose::Finalizer, Purpose::Status, Purpose::Status],
        "{:#?}",
        of_object.iter().map(told).collect::<Vec<_>>()
    );
    let changes: Vec<_> = native.changes().into_iter().map(|call| call.method).collect();
    assert_eq!(changes, [Method::POST], "made once");
}

#[tokio::test]
async fn another_spec_changes_what_is_there_and_takes_away_what_is_not_said_any_more() {
    let (city, broker) = with_broker("sub-change").await;
    city.apply(&subscription(
        "air",
        "vienna",
        &json!({"q": "no2>40", "throttling": "PT10S"}),
    ))
    .await;
    city.subscription_says("air", "True", "Ready").await;
    let before = broker.only().unwrap();
    assert_eq!(
        (&before["throttling"], &before["isActive"]),
        (&json!(10), &json!(true))
    );
    city.apply(&subscription(
        "air",
        "vienna",
        &json!({"mode": "Paused", "scopeQ": "/Vienna/#"}),
    ))
    .await;
    let held = city.subscription_says("air", "True", "Paused").await;
    let after = broker.only().unwrap();
    assert_eq!(
        (&after["isActive"], &after["scopeQ"]),
        (&json!(false), &json!("/Vienna/#"))
    );
    assert!(
        after.get("q").is_none() && after.get("throttling").is_none(),
        "{after}"
    );
    assert_eq!(after["createdAt"], before["createdAt"]);
    let mode = serde_json::to_value(held.status.unwrap().subscription.unwrap().mode).unwrap();
    assert_eq!(mode, "Paused");
    assert_eq!(broker.made_and_deleted(), (1, 0), "it was changed, not made anew");
}

#[tokio::test]
async fn row_subscription_edited_by_hand_in_the_broker_is_set_back_and_an_event_says_so() {
    let (city, broker) = with_broker("sub-drift").await;
    city.apply(&subscription("air", "vienna", &json!({"q": "no2>40"})))
        .await;
    city.subscription_says("air", "True", "Ready").await;
    let id = broker.only().unwrap()["id"].clone();
    // Nobody asks for it: it is found at the next look.
    broker.edit(|held| {
        held.insert("isActive".into(), json!(false));
        held.insert("expiresAt".into(), json!("2031-01-01T00:00:00Z"));
    });
    eventually_shown(&broker, "the edit is set back", |shown| {
        shown["isActive"] == true && shown.get("expiresAt").is_none()
    })
    .await;
    let words = ["Repaired", "was changed in the broker", id.as_str().unwrap()];
    city.event_says("ContextSubscription", "air", &words).await;
    // A deleted one is there again under the same id; who asks does not wait for the next look.
    broker.clear();
    annotate(&city, "air", "mim.city/requestedAt", "1").await;
    eventually_shown(&broker, "it is there again", |shown| {
        shown["id"] == id && shown["q"] == "no2>40"
    })
    .await;
    city.event_says("ContextSubscription", "air", &["Repaired", "is there again"])
        .await;
    eventually("the request is echoed", || async {
        let status = city.subscriptions().get("air").await.unwrap().status.unwrap();
        match status.last_handled_requested_at.as_deref() {
            Some("1") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    city.subscription_says("air", "True", "Ready").await;
}

#[tokio::test]
async fn what_a_broker_writes_in_its_own_way_is_no_edit_and_what_it_does_not_keep_is_told() {
    let (city, broker) = with_broker("sub-ways").await;
    broker.mask();
    broker.ignore(&["throttling"]);
    let endpoint =
        json!({"url": "https://app.example.org/changes", "headers": [{"name": "X-City", "value": "vienna"}]});
    let spec = json!({"throttling": "PT10S", "notification": {"endpoint": endpoint}});
    city.apply(&subscription("air", "vienna", &spec)).await;
    let held = city.subscription_says("air", "True", "Ready").await;
    let status = held.status.unwrap();
    let message = &status.conditions[0].message;
    assert!(message.contains("does not show throttling"), "{message}");
    let looks = broker.calls().len();
    eventually("it is looked at again and again", || async {
        let calls = broker.calls().len();
        if calls >= looks + 3 { Ok(()) } else { Err(calls) }
    })
    .await;
    assert_eq!(broker.changes().len(), 1, "{:#?}", broker.changes());
}

#[tokio::test]
async fn a_restarted_operator_looks_and_changes_nothing_in_the_broker() {
    let (mut city, broker) = with_broker("sub-restart").await;
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    city.quiet().await;
    city.stop().await;
    let before = broker.calls().len();
    city.start(Journal::new());
    eventually("the new operator has looked", || async {
        let looked = broker.calls().len() > before && passes(&city.operator().handle) > 1;
        if looked { Ok(()) } else { Err(broker.calls().len()) }
    })
    .await;
    city.quiet().await;
    assert_eq!(broker.changes().len(), 1, "{:#?}", broker.changes());
    let written: Vec<_> = city
        .changes()
        .iter()
        .filter(|entry| entry.record.resource == "contextsubscriptions")
        .map(told)
        .collect();
    assert_eq!(written, Vec::<String>::new());
}

#[tokio::test]
async fn a_suspended_subscription_is_looked_at_and_not_changed() {
    let (city, broker) = with_broker("sub-suspend").await;
    city.apply(&subscription("air", "vienna", &json!({"q": "no2>40"})))
        .await;
    city.subscription_says("air", "True", "Ready").await;
    city.apply(&subscription(
        "air",
        "vienna",
        &json!({"q": "no2>50", "suspend": true}),
    ))
    .await;
    city.subscription_says("air", "True", "Suspended").await;
    broker.edit(|held| drop(held.insert("isActive".into(), json!(false))));
    let looks = broker.calls().len();
    eventually("it is looked at", || async {
        let calls = broker.calls().len();
        if calls >= looks + 2 { Ok(()) } else { Err(calls) }
    })
    .await;
    let shown = broker.only().unwrap();
    assert_eq!(
        (&shown["q"], &shown["isActive"]),
        (&json!("no2>40"), &json!(false))
    );
    city.apply(&subscription("air", "vienna", &json!({"q": "no2>50"})))
        .await;
    city.subscription_says("air", "True", "Ready").await;
    let shown = broker.only().unwrap();
    assert_eq!(
        (&shown["q"], &shown["isActive"]),
        (&json!("no2>50"), &json!(true))
    );
}

#[tokio::test]
async fn deliveries_are_told_and_a_failing_endpoint_has_a_reason_of_its_own() {
    let (city, broker) = with_broker("sub-delivery").await;
    city.apply(&subscription("air", "vienna", &json!({}))).await;
    city.subscription_says("air", "True", "Ready").await;
    let fares = |status: &'static str, at: &'static str| {
        broker.edit(|held| {
            let notification = held["notification"].as_object_mut().unwrap();
            let last = if status == "ok" {
                "lastSuccess"
            } else {
                "lastFailure"
            };
            let told =
                json!({"status": status, "timesSent": 3, "timesFailed": 1, "lastNotification": at, last: at});
            notification.extend(told.as_object().unwrap().clone());
        });
    };
    fares("failed", "2026-02-02T00:00:00Z");
    let held = city.subscription_says("air", "True", "EndpointFailing").await;
    let delivery = serde_json::to_value(held.status.unwrap().delivery.unwrap()).unwrap();
    let sampled: Value = delivery["sampleTime"].clone();
    assert!(sampled.is_string());
    assert_eq!(
        delivery,
        json!({"result": "Failed", "sampleTime": sampled, "lastNotification": "2026-02-02T00:00:00Z",
               "lastFailure": "2026-02-02T00:00:00Z", "timesSent": 3, "timesFailed": 1})
    );
    fares("ok", "2026-02-02T00:01:00Z");
    let held = city.subscription_says("air", "True", "Ready").await;
    let delivery = held.status.unwrap().delivery.unwrap();
    assert_eq!(
        delivery.last_success.unwrap().0.to_string(),
        "2026-02-02T00:01:00Z"
    );
    assert_eq!(broker.changes().len(), 1, "what the broker counts is no edit");
}

#[tokio::test]
async fn an_end_that_is_over_is_told_and_a_later_one_revives_the_subscription() {
    let (city, broker) = with_broker("sub-expired").await;
    city.apply(&subscription(
        "air",
        "vienna",
        &json!({"expiresAt": "2020-01-01T00:00:00Z"}),
    ))
    .await;
    city.subscription_says("air", "True", "Expired").await;
    assert_eq!(broker.only(), None);
    city.apply(&subscription(
        "air",
        "vienna",
        &json!({"expiresAt": "2031-01-01T00:00:00Z"}),
    ))
    .await;
    city.subscription_says("air", "True", "Ready").await;
    assert_eq!(broker.only().unwrap()["expiresAt"], "2031-01-01T00:00:00Z");
}
