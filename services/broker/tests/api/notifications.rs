//! What subscribers are told, and when.

use crate::support::{Broker, Receiver, eventually};
use serde_json::{Value, json};
use std::sync::Arc;

/// Subscribes; `more` is merged into the subscription, one level deep.
pub async fn subscribe(broker: &Broker, receiver: &Receiver, id: &str, more: Value) {
    let mut body = json!({
        "id": id, "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"endpoint": {"uri": receiver.url()}}
    });
    for (name, value) in more.as_object().unwrap() {
        match (body.get_mut(name), value) {
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more.clone()),
            _ => body[name] = value.clone(),
        }
    }
    let answer = broker.post("/subscriptions", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

pub async fn send(broker: &Broker, method: &str, path: &str, body: Option<&str>) {
    let answer = broker.send(method, path, &[], body).await;
    assert!(
        (200..300).contains(&answer.status),
        "{method} {path}: {}",
        answer.text()
    );
}

fn entity(n: u32, value: i32) -> String {
    json!({"id": format!("urn:x:{n}"), "type": "T", "n": value}).to_string()
}

#[tokio::test]
async fn a_write_that_concerns_a_subscriber_is_told_in_the_form_it_asked_for() {
    let broker = Broker::ready().await;
    let (normalized, simplified, linked) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    subscribe(&broker, &normalized, "urn:s:1", json!({})).await;
    subscribe(
        &broker,
        &simplified,
        "urn:s:2",
        json!({"notification": {"endpoint": {"uri": simplified.url(), "receiverInfo": [{"key": "X-City", "value": "v"}]}, "format": "keyValues", "attributes": ["n"]}}),
    )
    .await;
    subscribe(
        &broker,
        &linked,
        "urn:s:3",
        json!({"notification": {"endpoint": {"uri": linked.url(), "accept": "application/ld+json"}, "sysAttrs": true}}),
    )
    .await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":5,"m":6}"#).await;
    assert_eq!(
        normalized.until(1).await,
        [
            json!({"id": "urn:x:1", "type": "T", "n": {"type": "Property", "value": 5}, "m": {"type": "Property", "value": 6}})
        ]
    );
    let first = normalized.all().remove(0);
    assert_eq!(first.body["type"], "Notification");
    assert_eq!(first.body["subscriptionId"], "urn:s:1");
    assert!(first.body["id"].as_str().unwrap().starts_with("urn:") && first.body["notifiedAt"].is_string());
    assert_eq!(first.headers["content-type"], "application/json");
    assert!(
        first.headers["link"]
            .to_str()
            .unwrap()
            .contains("ngsi-ld-core-context")
    );
    assert!(!first.headers.contains_key("ngsild-tenant"));

    assert_eq!(
        simplified.until(1).await,
        [json!({"id": "urn:x:1", "type": "T", "n": 5})]
    );
    assert_eq!(simplified.all()[0].headers["x-city"], "v");
    let told = linked.until(1).await.remove(0);
    assert!(
        told["@context"].is_string() && told["createdAt"].is_string(),
        "{told}"
    );
    assert!(!linked.all()[0].headers.contains_key("link"));
    let status = broker.get("/subscriptions/urn:s:1").await.json();
    eventually(10, "it is counted", async || {
        let shown = broker.get("/subscriptions/urn:s:1").await.json();
        shown["notification"]["timesSent"] == 1 && shown["notification"]["status"] == "ok"
    })
    .await;
    assert!(status["notification"]["endpoint"].is_object());
}

#[tokio::test]
async fn only_what_was_asked_for_is_told() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(
        &broker,
        &receiver,
        "urn:s:1",
        json!({"entities": [{"type": "T", "idPattern": ":[12]$"}, {"type": "U", "id": "urn:u:1"}], "watchedAttributes": ["n"], "q": "n>5"}),
    )
    .await;
    broker.create(&entity(1, 3)).await;
    broker.create(&entity(3, 9)).await;
    broker.create(r#"{"id":"urn:u:2","type":"U","n":9}"#).await;
    broker.create(r#"{"id":"urn:x:2","type":"T","m":9}"#).await;
    // The same value again, another attribute, and one that is gone.
    send(&broker, "PATCH", "/entities/urn:x:1/attrs", Some(r#"{"n":3}"#)).await;
    send(&broker, "PATCH", "/entities/urn:x:1/attrs", Some(r#"{"m":7}"#)).await;
    send(&broker, "DELETE", "/entities/urn:x:3/attrs/n", None).await;
    // Now what concerns.
    send(&broker, "PATCH", "/entities/urn:x:1/attrs", Some(r#"{"n":8}"#)).await;
    broker.create(r#"{"id":"urn:u:1","type":"U","n":9}"#).await;
    let batch = json!([{"id": "urn:x:2", "type": "T", "n": 6}, {"id": "urn:x:4", "type": "T", "n": 6}]);
    send(
        &broker,
        "POST",
        "/entityOperations/upsert?options=update",
        Some(&batch.to_string()),
    )
    .await;
    let mut told: Vec<_> = receiver
        .until(3)
        .await
        .iter()
        .map(|e| e["id"].as_str().unwrap().to_owned())
        .collect();
    told.sort_unstable();
    assert_eq!(told, ["urn:u:1", "urn:x:1", "urn:x:2"]);
    let left = "select (select count(*) from mim.deliveries) + (select count(*) from mim.changes)";
    eventually(10, "nothing is left", async || broker.database.psql(left) == "0").await;
    // What did not concern has made no record either: the three that did were told, and nothing beside them.
    assert_eq!(receiver.all().len(), 3);
}

#[tokio::test]
async fn what_is_gone_is_told_as_null_and_an_entity_by_the_time_of_its_end() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(
        &broker,
        &receiver,
        "urn:s:1",
        json!({"notificationTrigger": ["attributeDeleted", "entityDeleted"]}),
    )
    .await;
    broker
        .create(r#"{"id":"urn:x:1","type":"T","n":1,"r":{"type":"Relationship","object":"urn:y:1"},"l":{"type":"LanguageProperty","languageMap":{"en":"a"}}}"#)
        .await;
    for name in ["n", "r", "l"] {
        send(
            &broker,
            "DELETE",
            &format!("/entities/urn:x:1/attrs/{name}"),
            None,
        )
        .await;
    }
    send(&broker, "DELETE", "/entities/urn:x:1", None).await;
    let told = receiver.until(4).await;
    assert_eq!(
        told[0]["n"],
        json!({"type": "Property", "value": "urn:ngsi-ld:null"})
    );
    assert_eq!(
        told[1]["r"],
        json!({"type": "Relationship", "object": "urn:ngsi-ld:null"})
    );
    assert_eq!(
        told[2]["l"],
        json!({"type": "LanguageProperty", "languageMap": {"@none": "urn:ngsi-ld:null"}})
    );
    let end = told[3].as_object().unwrap();
    assert_eq!(end.keys().collect::<Vec<_>>(), ["deletedAt", "id", "type"]);
}

#[tokio::test]
async fn an_attribute_of_which_nothing_is_left_is_told_once_unless_there_is_more_to_say_of_each_instance() {
    let broker = Broker::ready().await;
    let (once, each) = (Receiver::start().await, Receiver::start().await);
    for (receiver, id, notification) in [
        (&once, "urn:s:1", json!({"endpoint": {"uri": once.url()}})),
        (
            &each,
            "urn:s:2",
            json!({"endpoint": {"uri": each.url()}, "showChanges": true}),
        ),
    ] {
        let members = json!({"notificationTrigger": ["attributeDeleted"], "notification": notification});
        subscribe(&broker, receiver, id, members).await;
    }
    broker
        .create(r#"{"id":"urn:x:1","type":"T","k":1,"n":[{"value":1},{"value":2,"datasetId":"urn:d:1"}],"m":[{"value":3,"datasetId":"urn:d:1"},{"value":4,"datasetId":"urn:d:2"}]}"#)
        .await;
    for path in ["n?datasetId=urn:d:1", "n", "m?deleteAll=true"] {
        send(
            &broker,
            "DELETE",
            &format!("/entities/urn:x:1/attrs/{path}"),
            None,
        )
        .await;
    }
    let attributes = r#"{"n":[{"value":5},{"value":6,"datasetId":"urn:d:1"}]}"#;
    send(&broker, "POST", "/entities/urn:x:1/attrs", Some(attributes)).await;
    send(
        &broker,
        "DELETE",
        "/entities/urn:x:1/attrs/n?deleteAll=true",
        None,
    )
    .await;
    let nothing = |dataset: Option<&str>| {
        let mut null = json!({"type": "Property", "value": "urn:ngsi-ld:null"});
        if let Some(dataset) = dataset {
            null["datasetId"] = dataset.into();
        }
        null
    };
    let told = once.until(4).await;
    let left = json!({"type": "Property", "value": 1});
    assert_eq!(told[0]["n"], json!([left, nothing(Some("urn:d:1"))]));
    assert_eq!(told[1]["n"], nothing(None));
    // None of them speaks for the attribute.
    assert_eq!(
        told[2]["m"],
        json!([nothing(Some("urn:d:1")), nothing(Some("urn:d:2"))])
    );
    assert_eq!(told[3]["n"], nothing(None), "both instances went at once");

    let previous: Vec<_> = each.until(4).await[3]["n"]
        .as_array()
        .unwrap()
        .iter()
        .map(|instance| instance["previousValue"].clone())
        .collect();
    assert_eq!(previous, [json!(5), json!(6)]);
}

#[tokio::test]
async fn attributes_that_go_with_their_entity_are_told_as_null() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(
        &broker,
        &receiver,
        "urn:s:1",
        json!({"notificationTrigger": ["attributeDeleted"], "watchedAttributes": ["n"],
            "notification": {"endpoint": {"uri": receiver.url()}, "sysAttrs": true}}),
    )
    .await;
    broker.create(r#"{"id":"urn:x:1","type":"T","k":1}"#).await;
    broker.create(r#"{"id":"urn:x:2","type":"T","n":1,"k":1}"#).await;
    for id in ["urn:x:1", "urn:x:2"] {
        send(&broker, "DELETE", &format!("/entities/{id}"), None).await;
    }
    let told = receiver.until(1).await;
    assert_eq!(told[0]["id"], "urn:x:2");
    let members: Vec<_> = told[0].as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        ["createdAt", "deletedAt", "id", "modifiedAt", "n", "type"]
    );
    let gone = &told[0]["n"];
    assert_eq!(
        (&gone["value"], &gone["deletedAt"]),
        (&json!("urn:ngsi-ld:null"), &told[0]["deletedAt"])
    );
    assert!(gone["createdAt"].is_string());
}

#[tokio::test]
async fn a_subscription_that_was_answered_counts_for_the_next_write_at_every_replica() {
    let first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    // Both know the tenant's subscriptions from before: there are none.
    first.create(&entity(1000, 0)).await;
    second.create(&entity(1001, 0)).await;
    for n in 0..20 {
        let (here, there) = if n % 2 == 0 {
            (&first, &second)
        } else {
            (&second, &first)
        };
        let id = format!("urn:s:{n}");
        subscribe(
            here,
            &receiver,
            &id,
            json!({"entities": [{"type": "T", "id": format!("urn:x:{n}")}]}),
        )
        .await;
        match n % 3 {
            0 => there.create(&entity(n, 1)).await,
            1 => {
                let batch = format!("[{}]", entity(n, 1));
                send(there, "POST", "/entityOperations/upsert", Some(&batch)).await;
            }
            _ => {
                there
                    .create(&json!({"id": format!("urn:x:{n}"), "type": "Other"}).to_string())
                    .await;
                let patch = json!({"type": "T", "n": 1}).to_string();
                send(there, "POST", &format!("/entities/urn:x:{n}/attrs"), Some(&patch)).await;
            }
        }
        assert_eq!(receiver.until(n as usize + 1).await.len(), n as usize + 1);
    }
    send(
        &first,
        "PATCH",
        "/subscriptions/urn:s:0",
        Some("{\"isActive\":false}"),
    )
    .await;
    send(&second, "PATCH", "/entities/urn:x:0/attrs", Some("{\"n\":2}")).await;
    send(&second, "DELETE", "/subscriptions/urn:s:1", None).await;
    send(&first, "PATCH", "/entities/urn:x:1/attrs", Some("{\"n\":2}")).await;
    send(&first, "PATCH", "/entities/urn:x:2/attrs", Some("{\"n\":2}")).await;
    assert_eq!(receiver.until(21).await[20]["id"], "urn:x:2");
}

#[tokio::test]
async fn changes_of_one_entity_are_told_in_order_whichever_replica_wrote_them() {
    let first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    subscribe(
        &first,
        &receiver,
        "urn:s:1",
        json!({"notification": {"format": "keyValues", "endpoint": {"uri": receiver.url()}}}),
    )
    .await;
    first.create(&entity(1, 0)).await;
    for n in 1..60 {
        let broker = if n % 2 == 0 { &first } else { &second };
        send(
            broker,
            "PATCH",
            "/entities/urn:x:1/attrs",
            Some(&format!("{{\"n\":{n}}}")),
        )
        .await;
    }
    let told: Vec<_> = receiver
        .until(60)
        .await
        .iter()
        .map(|e| e["n"].as_i64().unwrap())
        .collect();
    assert_eq!(told, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_loses_nothing() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(
        &broker,
        &receiver,
        "urn:s:1",
        json!({"notification": {"format": "keyValues", "endpoint": {"uri": receiver.url(), "timeout": 500}}}),
    )
    .await;
    for status in [500, 302, 0] {
        receiver.answers(status);
        let before = receiver.taken().len();
        broker.create(&entity(u32::from(status), 1)).await;
        eventually(10, "it was tried", async || {
            receiver
                .all()
                .iter()
                .any(|r| r.status == status && r.body["data"][0]["id"] == format!("urn:x:{status}"))
        })
        .await;
        eventually(10, "the failure is shown", async || {
            broker.get("/subscriptions/urn:s:1").await.json()["notification"]["status"] == "failed"
        })
        .await;
        receiver.answers(204);
        assert_eq!(receiver.until(before + 1).await.len(), before + 1);
    }
    eventually(10, "success is shown", async || {
        let shown = broker.get("/subscriptions/urn:s:1").await.json();
        shown["notification"]["status"] == "ok" && shown["notification"]["timesFailed"].as_u64().unwrap() >= 3
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_receiver_that_fails_is_sent_at_once_where_the_endpoint_is_corrected() {
    let broker = Broker::ready().await;
    let (wrong, right) = (Receiver::start().await, Receiver::start().await);
    wrong.answers(401);
    subscribe(&broker, &wrong, "urn:s:1", json!({})).await;
    broker.create(&entity(1, 1)).await;
    // As after many failures, one after the other.
    let rests =
        "update mim.lanes set retry_at = now() + interval '5 minutes' where retry_at is not null returning 1";
    eventually(20, "it rests", async || broker.database.psql(rests) == "1").await;
    let change = json!({"description": "another one"}).to_string();
    send(&broker, "PATCH", "/subscriptions/urn:s:1", Some(&change)).await;
    let rest = "select retry_at > now() + interval '4 minutes' from mim.lanes";
    assert_eq!(
        broker.database.psql(rest),
        "t",
        "nothing of the endpoint has changed"
    );
    let change = json!({"notification": {"endpoint": {"uri": right.url()}}}).to_string();
    send(&broker, "PATCH", "/subscriptions/urn:s:1", Some(&change)).await;
    assert_eq!(right.until(1).await[0]["id"], "urn:x:1");
}

#[tokio::test]
async fn throttling_and_cooldown_drop_what_comes_too_soon() {
    let broker = Broker::ready().await;
    let (throttled, cooling) = (Receiver::start().await, Receiver::start().await);
    subscribe(&broker, &throttled, "urn:s:1", json!({"throttling": 600})).await;
    subscribe(
        &broker,
        &cooling,
        "urn:s:2",
        json!({"notification": {"endpoint": {"uri": cooling.url(), "cooldown": 600_000}}}),
    )
    .await;
    cooling.answers(500);
    broker.create(&entity(1, 0)).await;
    throttled.until(1).await;
    eventually(10, "the other one has failed", async || !cooling.all().is_empty()).await;
    eventually(10, "both are done", async || {
        broker.database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
    cooling.answers(204);
    for n in 2..6 {
        broker.create(&entity(n, 0)).await;
    }
    eventually(10, "all are dropped", async || {
        broker.database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
    assert_eq!((throttled.taken().len(), cooling.all().len()), (1, 1));
}

/// Waits until nothing waits to be told.
pub async fn all_is_done(broker: &Broker) {
    eventually(30, "nothing waits", async || {
        broker.database.psql("select count(*) from mim.deliveries") == "0"
    })
    .await;
}

async fn dropped(broker: &Broker, cause: &str) -> u64 {
    let name = format!("mim_broker_notifications_dropped_total{{cause=\"{cause}\"}}");
    broker.metric(&name).await
}

#[tokio::test]
async fn of_what_two_replicas_write_while_throttling_holds_one_of_them_tells_one() {
    const EACH: u32 = 20;
    let first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    subscribe(&first, &receiver, "urn:s:1", json!({"throttling": 600})).await;
    for interval in 0..3_u32 {
        for n in 0..EACH {
            let (here, there) = (1000 * interval + n, 1000 * interval + 500 + n);
            let (here, there) = (entity(here, 0), entity(there, 0));
            futures::join!(first.create(&here), second.create(&there));
        }
        all_is_done(&first).await;
        let sent = interval + 1;
        assert_eq!(receiver.all().len(), sent as usize, "in interval {interval}");
        let dropped = dropped(&first, "throttling").await + dropped(&second, "throttling").await;
        assert_eq!(dropped, u64::from(sent * (2 * EACH - 1)));
        // Ten minutes later, and not a second earlier.
        let held = "select quiet_until > clock_timestamp() + interval '9 minutes' from mim.subscriptions";
        assert_eq!(first.database.psql(held), "t");
        let later = "update mim.subscriptions set quiet_until = quiet_until - interval '10 minutes'";
        first.database.psql(later);
    }
}

#[tokio::test]
async fn a_notification_that_was_not_taken_does_not_throttle_its_own_next_try() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(&broker, &receiver, "urn:s:1", json!({"throttling": 600})).await;
    receiver.answers(500);
    broker.create(&entity(1, 0)).await;
    eventually(10, "it is tried again", async || receiver.all().len() >= 2).await;
    receiver.answers(204);
    assert_eq!(receiver.until(1).await[0]["id"], "urn:x:1");
    // Now it does throttle.
    broker.create(&entity(2, 0)).await;
    all_is_done(&broker).await;
    assert_eq!(receiver.taken().len(), 1);
}

#[tokio::test]
async fn a_cooldown_holds_though_throttling_is_shorter_and_of_notifications_of_an_interval_too() {
    let broker = Broker::ready().await;
    let (throttled, interval) = (Receiver::start().await, Receiver::start().await);
    for (receiver, id, more) in [
        (&throttled, "urn:s:1", json!({"throttling": 0.05})),
        (&interval, "urn:s:2", json!({"timeInterval": 2})),
    ] {
        receiver.answers(500);
        let mut more = more;
        more["notification"] = json!({"endpoint": {"uri": receiver.url(), "cooldown": 600_000}});
        subscribe(&broker, receiver, id, more).await;
    }
    broker.create(&entity(1, 0)).await;
    let quiet =
        "select count(*) from mim.subscriptions where quiet_until > clock_timestamp() + interval '9 minutes'";
    eventually(10, "both are left in peace", async || {
        broker.database.psql(quiet) == "2"
    })
    .await;
    broker.create(&entity(2, 0)).await;
    all_is_done(&broker).await;
    eventually(30, "intervals go by", async || {
        dropped(&broker, "cooldown").await >= 3
    })
    .await;
    assert_eq!((throttled.all().len(), interval.all().len()), (1, 1));
    assert_eq!(dropped(&broker, "throttling").await, 1);
}

#[tokio::test]
async fn tenants_are_told_apart_and_named() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    let body = json!({"id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}], "notification": {"endpoint": {"uri": receiver.url()}}});
    let one = [("NGSILD-Tenant", "one")];
    assert_eq!(
        broker
            .send("POST", "/subscriptions", &one, Some(&body.to_string()))
            .await
            .status,
        201
    );
    broker.create(&entity(1, 0)).await;
    let other = broker.send("POST", "/entities", &one, Some(&entity(2, 0))).await;
    assert_eq!(other.status, 201);
    assert_eq!(receiver.until(1).await[0]["id"], "urn:x:2");
    assert_eq!(receiver.all()[0].headers["ngsild-tenant"], "one");
}

#[tokio::test]
async fn what_waits_for_a_tenant_that_is_taken_off_the_list_still_tells_whose_it_is() {
    let broker = Broker::ready().await;
    let one = [("NGSILD-Tenant", "one")];
    let receivers = [Receiver::start().await, Receiver::start().await];
    for (n, receiver) in receivers.iter().enumerate() {
        receiver.answers(500);
        let body = json!({"id": format!("urn:s:{n}"), "type": "Subscription", "entities": [{"type": "T"}], "notification": {"endpoint": {"uri": receiver.url()}}});
        let made = broker
            .send("POST", "/subscriptions", &one, Some(&body.to_string()))
            .await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let made = broker.send("POST", "/entities", &one, Some(&entity(1, 0))).await;
    assert_eq!(made.status, 201);
    for receiver in &receivers {
        eventually(10, "it was tried", async || !receiver.all().is_empty()).await;
    }
    broker.configure("tenants: [two]\negress: {allowedPrivateCidrs: []}\n");
    eventually(10, "the tenant is not served any more", async || {
        broker.send("GET", "/types", &one, None).await.status == 404
    })
    .await;
    let told = async |receiver: &Receiver| {
        receiver.answers(204);
        receiver.until(1).await;
        let all = receiver.all();
        assert_eq!(all.last().unwrap().headers["ngsild-tenant"], "one");
    };
    told(&receivers[0]).await;
    // And by a replica that has never known the tenant.
    let (database, config) = (Arc::clone(&broker.database), Arc::clone(&broker.config));
    drop(broker);
    let stranger = Broker::start_with(database, config);
    stranger.until_ready().await;
    told(&receivers[1]).await;
}

#[tokio::test]
async fn an_interval_tells_all_that_match_once_however_many_replicas_there_are() {
    let first = Broker::ready().await;
    let second = Broker::start_with(Arc::clone(&first.database), Arc::clone(&first.config));
    second.until_ready().await;
    let receiver = Receiver::start().await;
    first.create(&entity(1, 1)).await;
    first.create(&entity(2, 9)).await;
    first.create(&entity(3, 9)).await;
    let started = std::time::Instant::now();
    subscribe(
        &first,
        &receiver,
        "urn:s:1",
        json!({"timeInterval": 0.5, "q": "n>5"}),
    )
    .await;
    receiver.until(8).await;
    let (sent, elapsed) = (receiver.all(), started.elapsed().as_millis());
    for one in &sent {
        let ids: Vec<_> = one.body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].clone())
            .collect();
        assert_eq!(ids, ["urn:x:2", "urn:x:3"]);
    }
    // One at once, then one each half second.
    assert!(
        sent.len() as u128 <= elapsed / 500 + 2,
        "{} in {elapsed} ms",
        sent.len()
    );
    send(
        &second,
        "PATCH",
        "/subscriptions/urn:s:1",
        Some("{\"isActive\":false}"),
    )
    .await;
    eventually(10, "it is counted", async || {
        let shown = first.get("/subscriptions/urn:s:1").await.json();
        shown["notification"]["timesSent"].as_u64() == Some(receiver.all().len() as u64)
    })
    .await;
    // Nothing matches: nothing is sent.
    let none = Receiver::start().await;
    subscribe(
        &first,
        &none,
        "urn:s:2",
        json!({"timeInterval": 0.2, "q": "n>50"}),
    )
    .await;
    subscribe(
        &first,
        &receiver,
        "urn:s:3",
        json!({"timeInterval": 0.2, "q": "n<5"}),
    )
    .await;
    eventually(10, "others go on", async || {
        receiver
            .all()
            .iter()
            .any(|r| r.body["subscriptionId"] == "urn:s:3")
    })
    .await;
    assert!(none.all().is_empty());
}

#[tokio::test]
async fn who_reads_a_subscription_sees_what_came_of_each_notification_that_was_answered() {
    let broker = Broker::ready().await;
    let receiver = Receiver::start().await;
    subscribe(&broker, &receiver, "urn:s:1", json!({})).await;
    receiver.takes(std::time::Duration::from_millis(200));
    broker.create(&entity(1, 0)).await;
    for value in 1..20 {
        let body = format!("{{\"n\":{value}}}");
        send(&broker, "PATCH", "/entities/urn:x:1/attrs", Some(&body)).await;
    }
    for count in [5, 9, 15] {
        // One after the other: when one comes, the one before it was answered.
        receiver.until(count).await;
        let shown = broker.get("/subscriptions/urn:s:1").await.json();
        let sent = shown["notification"]["timesSent"].as_u64().unwrap_or_default();
        assert!(sent + 1 >= count as u64, "{count}: {shown}");
        assert_eq!(shown["notification"]["status"], "ok");
    }
    assert!(receiver.taken().len() < 20, "nothing was left to wait for");
}
