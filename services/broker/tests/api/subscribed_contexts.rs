//! In which context a subscriber is told, and what of it the broker keeps.

use crate::support::{Broker, Receiver};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const URL: &str = "https://c.example/a";

/// A broker that has the context without fetching it.
async fn broker() -> Broker {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("a"),
        r#"{"@context":{"T":"urn:c:T","n":"urn:c:n"}}"#,
    )
    .unwrap();
    std::fs::write(
        folder.path().join("broker.yaml"),
        format!("contexts: [{{url: \"{URL}\", file: a}}]\n"),
    )
    .unwrap();
    let database = crate::support::Postgres::shared().database();
    let broker = Broker::start_with(Arc::new(database), Arc::new(folder));
    broker.until_ready().await;
    broker
}

/// Sends a body with an @context, and insists on a status.
async fn ld(broker: &Broker, path: &str, status: u16, body: &Value) -> crate::support::Answer {
    let headers = [("content-type", "application/ld+json")];
    let answer = broker.send("POST", path, &headers, Some(&body.to_string())).await;
    assert_eq!(answer.status, status, "{path}: {}", answer.text());
    answer
}

#[tokio::test]
async fn a_context_that_is_one_url_is_told_by_that_url_also_from_an_array() {
    let broker = broker().await;
    let linked = format!("<{URL}>");
    for (n, context) in [json!(URL), json!([URL])].into_iter().enumerate() {
        let receiver = Receiver::start().await;
        let id = format!("urn:s:{n}");
        let sent = json!({"id": id, "type": "Subscription", "@context": context, "entities": [{"type": "T"}],
            "notification": {"endpoint": {"uri": receiver.url()}}});
        ld(&broker, "/subscriptions", 201, &sent).await;
        let entity = json!({"id": format!("urn:x:{n}"), "type": "T", "n": 1, "@context": context});
        ld(&broker, "/entities", 201, &entity).await;
        assert_eq!(receiver.until(1).await[0]["n"]["value"], 1, "{context}");
        let told = receiver.all()[0].headers["link"].to_str().unwrap().to_owned();
        assert!(told.starts_with(&linked), "{context}: {told}");
        let shown = broker.get(&format!("/subscriptions/{id}")).await.json();
        assert_eq!(shown.get("jsonldContext"), None, "{context}");

        let query = json!({"type": "Query", "entities": [{"type": "T"}], "@context": context});
        let found = ld(&broker, "/entityOperations/query", 200, &query).await;
        assert!(
            found.header("link").starts_with(&linked),
            "{}",
            found.header("link")
        );
        assert_eq!(found.json()[0]["type"], "T", "{context}");
    }
    let kept = broker.get("/jsonldContexts?kind=ImplicitlyCreated").await;
    assert_eq!(kept.json(), json!([]));
}

#[tokio::test]
async fn headers_of_a_notification_are_written_as_most_programs_write_them() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains("notifiedAt") {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(received).unwrap()
    });
    let broker = Broker::configured("").await;
    let sent = json!({"id": "urn:s:1", "type": "Subscription", "entities": [{"type": "T"}],
        "notification": {"endpoint": {"uri": format!("http://{address}/"),
            "receiverInfo": [{"key": "X-City", "value": "Saint-Malo"}]}}});
    let created = broker.post("/subscriptions", &sent.to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    let received = receiving.await.unwrap();
    for header in ["Content-Type: application/json", "Link: <", "X-City: Saint-Malo"] {
        assert!(
            received.contains(&format!("\r\n{header}")),
            "{header}: {received}"
        );
    }
}
