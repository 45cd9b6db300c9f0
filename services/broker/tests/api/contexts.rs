use crate::support::Broker;
use serde_json::json;

const RELATION: &str = "rel=\"http://www.w3.org/ns/json-ld#context\"; type=\"application/ld+json\"";
const LD: (&str, &str) = ("content-type", "application/ld+json");

#[tokio::test]
async fn a_context_in_the_body_gives_names_their_meaning() {
    let broker = Broker::ready().await;
    let body = json!({
        "id": "urn:x:1", "type": "Device", "name": {"type": "Property", "value": {"street": "a", "almostFull": 1}},
        "@context": [{"schema": "https://schema.org/", "Device": "schema:Device", "name": "schema:name", "location": "https://evil.example/"}, "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.6.jsonld"]
    }).to_string();
    assert_eq!(
        broker.send("POST", "/entities", &[LD], Some(&body)).await.status,
        201
    );
    let read = broker.get("/entities/urn:x:1?options=keyValues").await.json();
    assert_eq!(
        read,
        json!({"id": "urn:x:1", "type": "https://schema.org/Device", "https://schema.org/name": {"street": "a", "almostFull": 1}})
    );
    assert_eq!(broker.ids("type=https://schema.org/Device").await, ["urn:x:1"]);
}

#[tokio::test]
async fn a_core_context_in_a_link_is_echoed() {
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"A"}"#).await;
    let core = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.3.jsonld";
    let link = format!("<{core}>; {RELATION}");
    let read = broker
        .send("GET", "/entities/urn:x:1", &[("link", &link)], None)
        .await;
    assert_eq!(read.header("link"), link);
    let other = broker
        .send(
            "GET",
            "/entities/urn:x:1",
            &[("link", "<https://x.example/>; rel=\"next\"")],
            None,
        )
        .await;
    assert!(
        other.header("link").contains("v1.8"),
        "links of another relation are not contexts"
    );
}

#[tokio::test]
async fn row_broker_contexts_that_cannot_be_had_or_used_say_which() {
    let broker = Broker::ready().await;
    let read = async |url: &str| {
        broker
            .send(
                "GET",
                "/types",
                &[("link", &format!("<{url}>; {RELATION}"))],
                None,
            )
            .await
    };
    for url in [
        "http://127.0.0.1:1/context.jsonld",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "https://does-not-exist.invalid/context.jsonld",
        "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8-non-existing.jsonld",
    ] {
        let answer = read(url).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (504, "LdContextNotAvailable"),
            "{url}"
        );
    }
    assert_eq!(read("ftp://x.example/").await.error(), "BadRequestData");
    assert_eq!(read("no url").await.error(), "BadRequestData");
    for (context, error) in [
        ("{\"a\":{\"@id\":\"urn:a:b\",\"@context\":{}}}", "BadRequestData"),
        ("5", "BadRequestData"),
        ("\"http://127.0.0.1:1/\"", "LdContextNotAvailable"),
        ("[{\"a\":\"b:1\",\"b\":\"a:1\"}]", "BadRequestData"),
    ] {
        let body = format!(r#"{{"id":"urn:x:1","type":"A","@context":{context}}}"#);
        assert_eq!(
            broker.send("POST", "/entities", &[LD], Some(&body)).await.error(),
            error,
            "{context}"
        );
    }
    let without = broker
        .send("POST", "/entities", &[LD], Some(r#"{"id":"urn:x:1","type":"A"}"#))
        .await;
    assert_eq!(without.error(), "BadRequestData");
    let link = format!("<https://x.example/>; {RELATION}");
    let both = broker
        .send(
            "POST",
            "/entities",
            &[LD, ("link", &link)],
            Some(r#"{"id":"urn:x:1","type":"A","@context":{}}"#),
        )
        .await;
    assert_eq!(both.error(), "BadRequestData");
}
