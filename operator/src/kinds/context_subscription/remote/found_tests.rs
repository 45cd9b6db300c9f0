//! What a broker shows, and what of it counts.

use serde_json::{Value, json};

use super::*;
use crate::kinds::context_subscription::remote::fixtures::{secrets, shown, wanted, wanted_with};

/// Whether two sights of what is wanted are the same to the operator.
fn same(wanted: &Wanted, one: &Value, other: &Value) -> bool {
    shown(wanted, one).digest(wanted) == shown(wanted, other).digest(wanted)
}

#[test]
fn what_moves_by_itself_is_no_edit() {
    let wanted = wanted(&json!({"watchedAttributes": ["a", "b"], "q": "a>1"}));
    for more in [
        json!({"status": "expired", "modifiedAt": "2026-02-02T00:00:00Z", "jsonldContext": "https://broker/implicit"}),
        json!({"notification": {"status": "ok", "timesSent": 7, "timesFailed": 1, "lastNotification": "2026-02-02T00:00:00Z"}}),
        json!({"watchedAttributes": ["b", "a"]}),
        json!({"origin": "cache", "@context": ["https://example.org/c"]}),
    ] {
        assert!(same(&wanted, &json!({}), &more), "{more}");
    }
}

#[test]
fn whatever_a_client_can_write_is_an_edit() {
    let wanted = wanted(&json!({
        "watchedAttributes": ["a"], "q": "a>1", "jsonldContext": "https://example.org/c",
        "geoQ": {"georel": "within", "geometry": "Polygon", "coordinates": "[[[0,0],[0,1],[1,1],[0,0]]]"},
        "notification": {"endpoint": {"headers": [{"name": "X-City", "value": "vienna"}]}},
    }));
    for more in [
        json!({"q": "a>2"}),
        json!({"q": null}),
        json!({"isActive": false}),
        json!({"throttling": 5}),
        json!({"watchedAttributes": ["a", "b"]}),
        json!({"entities": [{"type": "Sensor"}, {"type": "Other"}]}),
        json!({"jsonldContext": "https://example.org/d"}),
        json!({"geoQ": {"coordinates": [[[0, 0], [1, 1], [0, 1], [0, 0]]]}}),
        json!({"notification": {"format": "concise"}}),
        json!({"notification": {"pick": ["id"]}}),
        json!({"notification": {"endpoint": {"uri": "https://elsewhere.example.org/"}}}),
        json!({"notification": {"endpoint": {"accept": "application/ld+json"}}}),
        json!({"notification": {"endpoint": {"receiverInfo": [{"key": "X-City", "value": "graz"}]}}}),
        json!({"notification": {"endpoint": {"receiverInfo": [{"key": "X-Town", "value": "vienna"}]}}}),
        json!({"notification": {"endpoint": {"receiverInfo": null}}}),
    ] {
        assert!(!same(&wanted, &json!({}), &more), "{more}");
    }
}

fn secret_wanted(token: &str) -> Wanted {
    let spec = json!({"notification": {"endpoint": {
        "url": "mqtts://mqtt.example.org/city", "credentialsSecretRef": {"name": "mqtt"},
        "headers": [{"name": "Authorization", "secretKeyRef": {"name": "app", "key": "token"}}],
    }}});
    let values = [
        ("app", "token", token),
        ("mqtt", "username", "city"),
        ("mqtt", "password", token),
    ];
    wanted_with(&spec, &secrets("1", &values))
}

#[test]
fn of_secret_values_it_counts_whether_they_are_shown_as_sent_and_no_value_is_in_the_digest() {
    let (one, other) = (secret_wanted("one"), secret_wanted("other"));
    let clear = |wanted: &Wanted| shown(wanted, &json!({})).digest(wanted);
    assert_eq!(clear(&one), clear(&other), "nothing follows from the value");
    let masked = |info: Value| {
        let of_endpoint = json!({"uri": "mqtts://mqtt.example.org/city", "receiverInfo": info});
        shown(&one, &json!({"notification": {"endpoint": of_endpoint}})).digest(&one)
    };
    // A broker hides values in a way of its own, and always in the same.
    let stars = masked(json!([{"key": "Authorization", "value": "***"}]));
    assert_eq!(stars, masked(json!([{"key": "authorization", "value": "****"}])));
    assert_ne!(stars, masked(json!([{"key": "Authorization"}])));
    assert_ne!(stars, clear(&one));
    // Where a broker shows values, an edit of one is seen.
    let edited =
        json!({"notification": {"endpoint": {"receiverInfo": [{"key": "Authorization", "value": "mine"}]}}});
    assert!(!same(&one, &json!({}), &edited));
    let edited = json!({"notification": {"endpoint": {"uri": "mqtts://city:mine@mqtt.example.org/city"}}});
    assert!(!same(&one, &json!({}), &edited));
}

#[test]
fn what_a_broker_fills_in_is_not_left_over() {
    let wanted = wanted(&json!({}));
    let defaults = json!({
        "notificationTrigger": ["attributeUpdated", "attributeCreated"], "throttling": 0, "localOnly": false, "description": "",
        "notification": {"format": "normalized", "sysAttrs": false, "showChanges": false, "join": "none", "joinLevel": 1,
            "endpoint": {"accept": "application/json", "timeout": 5000, "cooldown": 0, "receiverInfo": [],
                "notifierInfo": [{"key": "MQTT-QoS", "value": "0"}]}},
    });
    let found = shown(&wanted, &defaults);
    assert_eq!(found.left_over(&wanted), Vec::<&str>::new());
    assert_eq!(found.missing(&wanted), Vec::<&str>::new());
    let more = json!({
        "q": "a>1", "throttling": 5, "notificationTrigger": ["entityDeleted"],
        "notification": {"pick": ["id"], "showChanges": true, "endpoint": {"receiverInfo": [{"key": "a", "value": "b"}]}},
    });
    let found = shown(&wanted, &more);
    assert_eq!(
        found.left_over(&wanted),
        [
            "notificationTrigger",
            "q",
            "throttling",
            "pick",
            "showChanges",
            "receiverInfo"
        ]
    );
    assert_eq!(
        found.left_over_on_top(&wanted),
        ["notificationTrigger", "q", "throttling"]
    );
}

#[test]
fn what_a_broker_does_not_show_is_named() {
    let wanted = wanted(&json!({
        "q": "a>1", "throttling": "PT5S",
        "notification": {"format": "Normalized", "pick": ["id"], "endpoint": {"cooldown": "PT1M", "accept": "Json"}},
    }));
    let hidden = json!({
        "q": null, "subscriptionName": null, "isActive": null,
        "notification": {"format": null, "pick": null, "endpoint": {"cooldown": null, "accept": null}},
    });
    assert_eq!(
        shown(&wanted, &hidden).missing(&wanted),
        ["q", "pick", "cooldown"]
    );
}

#[test]
fn states_and_deliveries_are_read_in_every_spelling() {
    let wanted = wanted(&json!({}));
    for (more, expected) in [
        (json!({}), SubscriptionState::Active),
        (json!({"status": "paused"}), SubscriptionState::Paused),
        (json!({"status": "expired"}), SubscriptionState::Expired),
        (
            json!({"status": null, "isActive": false}),
            SubscriptionState::Paused,
        ),
        (json!({"status": null}), SubscriptionState::Active),
    ] {
        assert_eq!(shown(&wanted, &more).state, Some(expected), "{more}");
    }
    let delivery = |of: Value| shown(&wanted, &json!({"notification": of})).delivery;
    assert_eq!(delivery(json!({})), None, "nothing was sent");
    let ok = delivery(json!({
        "status": "ok", "timesSent": 3, "timesFailed": 0,
        "lastNotification": "2026-02-02T00:00:00.5Z", "lastSuccess": "2026-02-02T00:00:00,5Z",
    }))
    .unwrap();
    assert_eq!(
        (ok.result, ok.times_sent, ok.times_failed),
        (Some(DeliveryResult::Ok), Some(3), Some(0))
    );
    assert_eq!(
        ok.last_notification.unwrap().0.to_string(),
        "2026-02-02T00:00:00Z"
    );
    assert_eq!(ok.last_success.unwrap().0.to_string(), "2026-02-02T00:00:00Z");
    // Whoever has no word for it tells the times, newer brokers in notification, older ones in its endpoint.
    let times = json!({"lastSuccess": "2026-02-02T00:00:00Z", "lastFailure": "2026-02-03T00:00:00Z"});
    assert_eq!(
        delivery(times.clone()).unwrap().result,
        Some(DeliveryResult::Failed)
    );
    assert_eq!(
        delivery(json!({"endpoint": times})).unwrap().result,
        Some(DeliveryResult::Failed)
    );
    assert_eq!(
        delivery(json!({"status": "ok"})),
        None,
        "a state before the first notification says nothing"
    );
    for hostile in [
        json!({"timesSent": -1}),
        json!({"timesSent": "many", "lastNotification": "yesterday"}),
        json!({"lastSuccess": 5, "status": ["ok"]}),
    ] {
        assert_eq!(delivery(hostile.clone()), None, "{hostile}");
    }
}
