//! Notifications by MQTT, to a real Mosquitto.

use crate::support::mosquitto::{Published, WRITER};
use crate::support::{Broker, Mosquitto, Postgres, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A subscription to all entities of the type `T`, told in short.
fn subscription(id: &str, uri: &str, version: &str, qos: u8) -> Value {
    json!({
        "id": id, "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"format": "keyValues", "endpoint": {"uri": uri, "notifierInfo": [
            {"key": "MQTT-Version", "value": version}, {"key": "MQTT-QoS", "value": qos.to_string()}
        ]}}
    })
}

async fn subscribe(broker: &Broker, body: &Value) {
    let answer = broker.post("/subscriptions", &body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn patch(broker: &Broker, path: &str, body: &Value) {
    let answer = broker.send("PATCH", path, &[], Some(&body.to_string())).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Waits until a notification of the subscription was not taken; what is shown of it.
async fn until_failed(broker: &Broker, id: &str) -> Value {
    let shown = async || {
        let answer = broker.get(&format!("/subscriptions/{id}")).await;
        answer.json()["notification"].clone()
    };
    eventually(20, "the failure is shown", async || {
        shown().await["status"] == "failed"
    })
    .await;
    shown().await
}

const VERSIONS: [&str; 2] = ["mqtt3.1.1", "mqtt5.0"];

#[tokio::test]
async fn a_notification_is_published_in_each_version_and_quality_of_service() {
    let broker = Broker::ready().await;
    let server = Mosquitto::start().await;
    for version in VERSIONS {
        for qos in 0..3 {
            let uri = server.url(WRITER, &format!("city/{version}/{qos}"));
            subscribe(
                &broker,
                &subscription(&format!("urn:s:{version}:{qos}"), &uri, version, qos),
            )
            .await;
        }
    }
    // And as the standard has it where a subscription does not say.
    let mut silent = subscription("urn:s:silent", &server.url(WRITER, "city/silent"), "mqtt5.0", 0);
    silent["notification"]["endpoint"]
        .as_object_mut()
        .unwrap()
        .remove("notifierInfo");
    subscribe(&broker, &silent).await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":5}"#).await;
    let published = server.until(7).await;
    let found: BTreeMap<_, _> = published.iter().map(|m| (m.topic.as_str(), m.qos)).collect();
    let expected: BTreeMap<_, _> = [
        ("city/mqtt3.1.1/0", 0),
        ("city/mqtt3.1.1/1", 1),
        ("city/mqtt3.1.1/2", 2),
        ("city/mqtt5.0/0", 0),
        ("city/mqtt5.0/1", 1),
        ("city/mqtt5.0/2", 2),
        ("city/silent", 0),
    ]
    .into();
    assert_eq!(found, expected);
    for Published { topic, body, .. } in &published {
        assert_eq!(
            body["body"]["data"],
            json!([{"id": "urn:x:1", "type": "T", "n": 5}]),
            "{topic}"
        );
    }
    // The server's words for the versions: 2 is 3.1.1.
    let log = server.log();
    let with = |version: &str| log.matches(&format!("({version}, c1, k300, u'writer')")).count();
    assert_eq!((with("p2"), with("p5")), (3, 4), "{log}");
    eventually(10, "all are counted", async || {
        let all = broker.get("/subscriptions").await.json();
        let sent = |s: &Value| s["notification"]["timesSent"] == 1 && s["notification"]["status"] == "ok";
        all.as_array().unwrap().iter().all(sent)
    })
    .await;
}

#[tokio::test]
async fn a_message_has_what_http_has_in_headers_as_metadata_and_the_notification_as_body() {
    let broker = Broker::ready().await;
    let server = Mosquitto::start().await;
    let tenant = [("NGSILD-Tenant", "one")];
    let mut plain = subscription("urn:s:1", &server.url(WRITER, "city/plain"), "mqtt5.0", 1);
    plain["notification"]["endpoint"]["receiverInfo"] = json!([{"key": "X-City", "value": "a\"b"}]);
    let mut linked = subscription("urn:s:2", &server.url(WRITER, "city/linked"), "mqtt5.0", 1);
    linked["notification"]["endpoint"]["accept"] = json!("application/ld+json");
    linked["notification"]["format"] = json!("normalized");
    for body in [&plain, &linked] {
        let answer = broker
            .send("POST", "/subscriptions", &tenant, Some(&body.to_string()))
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let entity = r#"{"id":"urn:x:1","type":"T","n":5}"#;
    assert_eq!(
        broker
            .send("POST", "/entities", &tenant, Some(entity))
            .await
            .status,
        201
    );
    let published = server.until(2).await;
    let of = |topic: &str| {
        let found = published.iter().find(|m| m.topic == topic).unwrap();
        found.body.as_object().unwrap().clone()
    };
    let (plain, linked) = (of("city/plain"), of("city/linked"));
    assert_eq!(plain.keys().collect::<Vec<_>>(), ["body", "metadata"]);
    let mut metadata = plain["metadata"].clone();
    let link = metadata.as_object_mut().unwrap().remove("Link").unwrap();
    assert!(link.as_str().unwrap().contains("ngsi-ld-core-context"), "{link}");
    assert_eq!(
        metadata,
        json!({"Content-Type": "application/json", "X-City": "a\"b", "NGSILD-Tenant": "one"})
    );
    let body = &plain["body"];
    assert_eq!(
        (&body["type"], &body["subscriptionId"]),
        (&json!("Notification"), &json!("urn:s:1"))
    );
    assert!(body["id"].is_string() && body["notifiedAt"].is_string(), "{body}");
    assert_eq!(
        linked["metadata"],
        json!({"Content-Type": "application/ld+json", "NGSILD-Tenant": "one"})
    );
    let told = &linked["body"]["data"][0];
    assert_eq!(told["n"], json!({"type": "Property", "value": 5}));
    assert!(told["@context"].is_string(), "{told}");
}

#[tokio::test]
async fn wrong_credentials_are_a_failure_that_is_shown_and_never_told() {
    let broker = Broker::ready().await;
    let server = Mosquitto::start().await;
    for (n, version) in VERSIONS.into_iter().enumerate() {
        let uri = server.url("wrong-word", &format!("city/{n}"));
        subscribe(&broker, &subscription(&format!("urn:s:{n}"), &uri, version, 1)).await;
    }
    broker.create(r#"{"id":"urn:x:1","type":"T","n":5}"#).await;
    for (n, version) in VERSIONS.into_iter().enumerate() {
        let shown = until_failed(&broker, &format!("urn:s:{n}")).await;
        assert!(
            shown["lastFailure"].is_string() && shown["lastSuccess"].is_null(),
            "{version}: {shown}"
        );
        let uri = shown["endpoint"]["uri"].as_str().unwrap();
        assert!(uri.starts_with("mqtt://writer:***@127.0.0.1:"), "{uri}");
    }
    broker.until_logged(2, "check user and password").await;
    let log = broker.log.lock().unwrap().clone();
    assert!(!log.contains("wrong-word"), "{log}");
    assert!(server.all().is_empty());
    // The right ones, and what waited is told.
    for n in 0..2 {
        let endpoint =
            json!({"notification": {"endpoint": {"uri": server.url(WRITER, &format!("city/{n}"))}}});
        patch(&broker, &format!("/subscriptions/urn:s:{n}"), &endpoint).await;
    }
    server.until(2).await;
}

#[tokio::test]
async fn a_topic_on_which_the_user_may_not_publish_is_a_failure() {
    let broker = Broker::ready().await;
    let server = Mosquitto::start().await;
    for qos in [1, 2] {
        let uri = server.url(WRITER, &format!("elsewhere/{qos}"));
        subscribe(
            &broker,
            &subscription(&format!("urn:s:{qos}"), &uri, "mqtt5.0", qos),
        )
        .await;
    }
    broker.create(r#"{"id":"urn:x:1","type":"T","n":5}"#).await;
    for qos in [1, 2] {
        until_failed(&broker, &format!("urn:s:{qos}")).await;
    }
    broker.until_logged(1, "does not take the message").await;
    assert!(server.all().is_empty());
}

#[tokio::test]
async fn by_tls_nothing_is_told_to_a_server_that_is_not_trusted() {
    let database = Arc::new(Postgres::shared().database());
    let server = Mosquitto::start().await;
    let stranger = Broker::start(Arc::clone(&database));
    stranger.until_ready().await;
    for (n, version) in VERSIONS.into_iter().enumerate() {
        let uri = server.tls_url(WRITER, &format!("city/{n}"));
        subscribe(&stranger, &subscription(&format!("urn:s:{n}"), &uri, version, 2)).await;
    }
    stranger.create(r#"{"id":"urn:x:1","type":"T","n":5}"#).await;
    for n in 0..2 {
        until_failed(&stranger, &format!("urn:s:{n}")).await;
    }
    stranger.until_logged(1, "no TLS with mqtts://127.0.0.1").await;
    assert!(!server.log().contains("u'writer'"), "{}", server.log());
    let config = Arc::clone(&stranger.config);
    drop(stranger);
    let friend = Broker::start_trusting(database, config, Some(&server.certificate()));
    friend.until_ready().await;
    let mut topics: Vec<_> = server.until(2).await.into_iter().map(|m| m.topic).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["city/0", "city/1"]);
}

/// A server that takes connections and what comes over them, and never says anything; how many there were.
async fn silent_server() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn row_broker_an_mqtt_server_that_never_answers_fails_within_its_time_and_keeps_no_other_waiting() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let broker = Broker::ready().await;
    let server = Mosquitto::start().await;
    let (silent, connections) = silent_server().await;
    // Of the least quality of service, too, the server says that it is one.
    for (n, (version, qos)) in [("mqtt5.0", 0), ("mqtt3.1.1", 2)].into_iter().enumerate() {
        let mut body = subscription(&format!("urn:s:{n}"), &format!("mqtt://{silent}/t"), version, qos);
        body["notification"]["endpoint"]["timeout"] = json!(TIMEOUT.as_millis());
        subscribe(&broker, &body).await;
    }
    let uri = server.url(WRITER, "city/good");
    subscribe(&broker, &subscription("urn:s:good", &uri, "mqtt5.0", 1)).await;
    let began = Instant::now();
    broker.create(r#"{"id":"urn:x:1","type":"T","n":5}"#).await;
    server.until(1).await;
    let told = began.elapsed();
    assert!(told < TIMEOUT, "the other one is told after {told:?}");
    for n in 0..2 {
        let shown = until_failed(&broker, &format!("urn:s:{n}")).await;
        assert!(shown["lastSuccess"].is_null(), "{shown}");
    }
    let failed = began.elapsed();
    println!("the other one was told after {told:?}, both had failed after {failed:?}");
    assert!(
        failed >= TIMEOUT,
        "a server has the time that it was given: {failed:?}"
    );
    assert!(failed < TIMEOUT * 4, "{failed:?}");
    // And is tried again.
    eventually(20, "both are tried again", async || {
        connections.load(Ordering::SeqCst) >= 4
    })
    .await;
    patch(&broker, "/entities/urn:x:1/attrs", &json!({"n": 6})).await;
    server.until(2).await;
}

#[tokio::test]
async fn row_broker_an_mqtt_server_that_was_away_is_told_everything_in_order_when_it_is_back() {
    let broker = Broker::ready().await;
    let mut server = Mosquitto::start().await;
    for (version, qos) in [("mqtt5.0", 1), ("mqtt3.1.1", 2)] {
        let uri = server.url(WRITER, &format!("city/{qos}"));
        subscribe(
            &broker,
            &subscription(&format!("urn:s:{qos}"), &uri, version, qos),
        )
        .await;
    }
    for entity in 1..=3 {
        let body = json!({"id": format!("urn:x:{entity}"), "type": "T", "n": 0});
        broker.create(&body.to_string()).await;
    }
    server.until(6).await;
    server.stop();
    for n in 1..=10 {
        for entity in 1..=3 {
            patch(
                &broker,
                &format!("/entities/urn:x:{entity}/attrs"),
                &json!({"n": n}),
            )
            .await;
        }
    }
    for qos in [1, 2] {
        until_failed(&broker, &format!("urn:s:{qos}")).await;
    }
    server.launch().await;
    let mut told: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    for message in server.until(66).await {
        let entity = &message.body["body"]["data"][0];
        let key = (message.topic, entity["id"].as_str().unwrap().to_owned());
        told.entry(key).or_default().push(entity["n"].as_i64().unwrap());
    }
    assert_eq!(told.len(), 6);
    for (of, mut values) in told {
        // At least once: the same again, but never an older one.
        assert!(values.is_sorted(), "{of:?}: {values:?}");
        values.dedup();
        assert_eq!(values, (0..=10).collect::<Vec<_>>(), "{of:?}");
    }
}
