//! Where notifications may go, and what is fetched from where: by TLS to who is trusted, and never into the cluster.

use crate::notifications::subscribe;
use crate::support::broker::folder_of;
use crate::support::gateway::Authority;
use crate::support::{Broker, Postgres, Receiver, eventually};
use serde_json::{Value, json};
use std::sync::Arc;

/// Waits until a notification of the subscription was not taken, and none ever was.
async fn until_failed(broker: &Broker, id: &str) {
    let shown = async || broker.get(&format!("/subscriptions/{id}")).await.json()["notification"].clone();
    eventually(30, &format!("the failure of {id} is shown"), async || {
        let shown = shown().await;
        shown["status"] == "failed" && shown["lastFailure"].is_string()
    })
    .await;
    assert_eq!(shown().await["lastSuccess"], Value::Null, "{id}");
}

/// Waits until a line of the log about a subscription says this.
async fn until_told(broker: &Broker, id: &str, why: &str) {
    let quoted = format!("\"{id}\"");
    eventually(20, &format!("of {id} it is told: {why}"), async || {
        let log = broker.log.lock().unwrap();
        log.lines()
            .any(|line| line.contains(&quoted) && line.contains(why))
    })
    .await;
}

#[tokio::test]
async fn by_https_a_receiver_is_told_whose_authority_and_name_are_right_and_nobody_else() {
    let (ours, others) = (Authority::new(), Authority::new());
    let folder = folder_of("");
    let trusted = folder.path().join("trusted.crt");
    std::fs::write(&trusted, ours.pem()).unwrap();
    let database = Arc::new(Postgres::shared().database());
    let broker = Broker::start_trusting(database, folder, Some(&trusted));
    broker.until_ready().await;
    let known = Receiver::start_tls(ours.server("127.0.0.1")).await;
    let unknown = Receiver::start_tls(others.server("127.0.0.1")).await;
    let misnamed = Receiver::start_tls(ours.server("other.example.org")).await;
    for (id, receiver) in [
        ("urn:s:known", &known),
        ("urn:s:unknown", &unknown),
        ("urn:s:misnamed", &misnamed),
    ] {
        let info = json!([{"key": "Authorization", "value": "Bearer word"}]);
        let notification = json!({"endpoint": {"uri": receiver.url(), "receiverInfo": info}});
        subscribe(&broker, receiver, id, json!({"notification": notification})).await;
    }
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    assert_eq!(known.until(1).await[0]["id"], "urn:x:1");
    assert_eq!(known.all()[0].headers["authorization"], "Bearer word");
    for (id, receiver) in [("urn:s:unknown", &unknown), ("urn:s:misnamed", &misnamed)] {
        until_failed(&broker, id).await;
        until_told(&broker, id, "no TLS with https://127.0.0.1").await;
        assert!(receiver.connections() > 0 && receiver.all().is_empty(), "{id}");
    }
    assert!(!broker.log.lock().unwrap().contains("Bearer"));
    assert!(
        broker
            .metric("mim_broker_notifications_total{outcome=\"not_sent\"}")
            .await
            >= 2
    );
}

/// Places that nobody outside may make the broker speak to, and why; `PORT` is one where somebody would answer.
const WITHIN: [(&str, &str); 21] = [
    ("http://127.0.0.1:PORT/", "a loopback address"),
    ("https://127.0.0.1:PORT/", "a loopback address"),
    ("http://127.1:PORT/", "a loopback address"),
    ("http://2130706433:PORT/", "a loopback address"),
    ("http://0177.0.0.1:PORT/", "a loopback address"),
    ("http://0x7f000001:PORT/", "a loopback address"),
    ("http://localhost:PORT/", "a loopback address"),
    ("http://LOCALHOST.:PORT/", "a loopback address"),
    ("http://[::1]:PORT/", "a loopback address"),
    ("http://[::ffff:127.0.0.1]:PORT/", "a loopback address"),
    ("http://[::ffff:7f00:1]:PORT/", "a loopback address"),
    ("http://[64:ff9b::127.0.0.1]:PORT/", "a loopback address"),
    ("http://0.0.0.0:PORT/", "a reserved address"),
    ("http://[::]:PORT/", "a reserved address"),
    ("http://169.254.169.254/latest/meta-data/", "a link-local address"),
    ("http://[fe80::1]/", "a link-local address"),
    ("http://[fd00:ec2::254]/", "a cloud metadata address"),
    ("http://10.96.0.1/", "in a private range"),
    ("http://172.17.0.1/", "in a private range"),
    ("http://[::ffff:192.168.0.1]/", "in a private range"),
    ("https://kubernetes.default.svc/api", "API server"),
];

#[tokio::test]
async fn row_broker_no_endpoint_and_no_context_makes_the_broker_speak_to_the_inside_of_its_cluster() {
    let broker = Broker::start_guarded(Arc::new(Postgres::shared().database()));
    broker.until_ready().await;
    let inside = Receiver::start().await;
    let at = |url: &str| url.replace("PORT", &inside.address.port().to_string());
    // MQTT goes the same way.
    let mqtt = [
        ("mqtt://127.0.0.1:PORT/topic", "a loopback address"),
        ("mqtts://2130706433:PORT/topic", "a loopback address"),
        ("mqtt://localhost:PORT/topic", "a loopback address"),
        ("mqtt://169.254.169.254/topic", "a link-local address"),
    ];
    let all: Vec<_> = WITHIN.iter().chain(&mqtt).collect();
    for (n, (url, _)) in all.iter().enumerate() {
        let id = format!("urn:s:{n}");
        let endpoint = json!({"notification": {"endpoint": {"uri": at(url)}}});
        subscribe(&broker, &inside, &id, endpoint).await;
    }
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    for (n, (_, why)) in all.iter().enumerate() {
        let id = format!("urn:s:{n}");
        until_failed(&broker, &id).await;
        until_told(&broker, &id, why).await;
    }
    for (url, _) in WITHIN {
        let url = at(url);
        let link =
            format!("<{url}>; rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"");
        let linked = broker
            .send("GET", "/entities?type=T", &[("link", &link)], None)
            .await;
        assert_eq!(linked.error(), "LdContextNotAvailable", "{url}");
        let body = json!({"id": "urn:x:2", "type": "T", "@context": [url]}).to_string();
        let headers = [("content-type", "application/ld+json")];
        let sent = broker.send("POST", "/entities", &headers, Some(&body)).await;
        assert_eq!(sent.error(), "LdContextNotAvailable", "{url}");
        let body = json!({"id": "urn:s:context", "type": "Subscription", "entities": [{"type": "T"}],
            "jsonldContext": url, "notification": {"endpoint": {"uri": "https://receiver.example.org/"}}});
        let sent = broker.post("/subscriptions", &body.to_string()).await;
        assert_eq!(sent.error(), "LdContextNotAvailable", "{url}");
    }
    assert_eq!(inside.connections(), 0);
}
