//! What is malformed gets the right answer, in bounded memory.

use crate::support::Broker;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WHOLE: &str = r#"{"id":"urn:x:1","type":"A","p":{"type":"Property","value":VALUE}}"#;

fn whole(value: &str) -> String {
    WHOLE.replace("VALUE", value)
}

/// Sends bytes, and no more, and reads the answer to its end.
pub async fn raw(broker: &Broker, request: &[u8]) -> String {
    let mut stream = tokio::net::TcpStream::connect(broker.api).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(
        std::time::Duration::from_secs(10),
        stream.read_to_end(&mut answer),
    )
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn row_broker_bodies_that_cannot_be_are_refused() {
    let broker = Broker::ready().await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_object = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let cut = "[".repeat(1_000_000);
    for (body, error) in [
        ("", "InvalidRequest"),
        ("{", "InvalidRequest"),
        ("not json", "InvalidRequest"),
        (r#"{"id":"urn:x:1",}"#, "InvalidRequest"),
        ("[]", "InvalidRequest"),
        (cut.as_str(), "BadRequestData"),
        ("{}", "BadRequestData"),
        (&whole(&deep), "BadRequestData"),
        (&whole(&deep_object), "BadRequestData"),
        (&whole("1e100000"), "BadRequestData"),
        (&whole("-1e-100000"), "BadRequestData"),
        (&whole("\"a\\u0000b\""), "BadRequestData"),
        (&whole("\"\\ud800\""), "BadRequestData"),
        (&whole("null"), "BadRequestData"),
        (&whole("\"urn:ngsi-ld:null\""), "BadRequestData"),
        (&whole("{\"a\":1,\"a\":2}"), "BadRequestData"),
        (&whole("1").replace("urn:x:1", "no uri"), "BadRequestData"),
        (
            &whole("1").replace("urn:x:1", &format!("urn:{}", "x".repeat(5000))),
            "BadRequestData",
        ),
        (&whole("1").replace("\"A\"", "\"A B\""), "BadRequestData"),
        (&whole("1").replace("\"A\"", "[]"), "BadRequestData"),
        (&whole("1").replace("\"A\"", "\"type\""), "BadRequestData"),
        (&whole("1").replace("\"p\"", "\"p-q\""), "BadRequestData"),
        (&whole("1").replace("Property", "Unknown"), "BadRequestData"),
        (&whole("1").replace("\"p\"", "\"location\""), "BadRequestData"),
        (
            &whole("1,\"observedAt\":\"2024-01-01T00:00:00+02:00\""),
            "BadRequestData",
        ),
        (&whole("1,\"@context\":{}"), "BadRequestData"),
        (&whole("1,\"object\":\"urn:a:1\""), "BadRequestData"),
        (
            r#"{"id":"urn:x:1","type":"A","@context":{"A":"urn:a:b"}}"#,
            "BadRequestData",
        ),
        (
            r#"{"id":"urn:x:1","type":"A","r":{"type":"Relationship","object":"no uri"}}"#,
            "BadRequestData",
        ),
        (
            r#"{"id":"urn:x:1","type":"A","g":{"type":"GeoProperty","value":{"type":"Point","coordinates":["a"]}}}"#,
            "BadRequestData",
        ),
        (
            r#"{"id":"urn:x:1","type":"A","m":[{"type":"Property","value":1},{"type":"Property","value":2}]}"#,
            "BadRequestData",
        ),
    ] {
        let answer = broker.post("/entities", body).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, error),
            "{body:.100}"
        );
    }
    let utf8 = b"POST /ngsi-ld/v1/entities HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n\"\xff\"";
    assert!(raw(&broker, utf8).await.contains("InvalidRequest"));
    assert_eq!(broker.database.psql("select count(*) from mim.entities"), "0");
    assert_eq!(broker.get("/types").await.status, 200, "and the broker goes on");
}

#[tokio::test]
async fn headers_that_say_two_things_are_refused() {
    let broker = Broker::ready().await;
    let body = whole("1");
    let length = body.len();
    let head = format!(
        "POST /ngsi-ld/v1/entities HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    for (headers, named) in [
        (
            "NGSILD-Tenant: one\r\nNGSILD-Tenant: two\r\nContent-Type: application/json\r\n",
            "ngsild-tenant",
        ),
        (
            "NGSILD-Tenant: one\r\nngsild-tenant: one\r\nContent-Type: application/json\r\n",
            "ngsild-tenant",
        ),
        (
            "Content-Type: application/json\r\nContent-Type: application/ld+json\r\n",
            "content-type",
        ),
    ] {
        let answer = raw(&broker, format!("{head}{headers}\r\n{body}").as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("InvalidRequest") && answer.contains(named),
            "{answer}"
        );
        assert!(!answer.contains("Ngsild-Tenant:"), "no tenant is told: {answer}");
    }
    assert_eq!(broker.database.psql("select count(*) from mim.entities"), "0");
}

#[tokio::test]
async fn row_broker_extreme_values_that_fit_are_kept() {
    let broker = Broker::ready().await;
    for (n, value) in [
        "1e300",
        "1E-300",
        "123456789012345678901234567890.123456789",
        "-0",
        "0e5",
        "\"\\u0001\\u001f\"",
    ]
    .into_iter()
    .enumerate()
    {
        let body = WHOLE
            .replace("VALUE", value)
            .replace("urn:x:1", &format!("urn:x:{n}"));
        broker.create(&body).await;
        let read: f64 = broker
            .get(&format!("/entities/urn:x:{n}?options=keyValues"))
            .await
            .json()["p"]
            .as_f64()
            .unwrap_or_default();
        let sent: f64 = value.parse().unwrap_or_default();
        assert!((read - sent).abs() <= sent.abs() * 1e-12, "{value}");
    }
    let long = WHOLE
        .replace("VALUE", &format!("\"{}\"", "x".repeat(3_000_000)))
        .replace("urn:x:1", "urn:x:long");
    broker.create(&long).await;
    let many = (0..20_000)
        .map(|n| format!("\"item {n}\""))
        .collect::<Vec<_>>()
        .join(",");
    broker
        .create(
            &WHOLE
                .replace("VALUE", &format!("[{many}]"))
                .replace("urn:x:1", "urn:x:many"),
        )
        .await;
    assert_eq!(
        broker.ids("type=A&q=p%3D%3D%22item%2019999%22").await,
        ["urn:x:many"]
    );
}

#[tokio::test]
async fn row_broker_a_body_of_100_megabytes_is_refused_in_bounded_memory() {
    let broker = Broker::ready().await;
    broker.create(&WHOLE.replace("VALUE", "1")).await;
    let before = broker.peak();
    let head = "POST /ngsi-ld/v1/entities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for _ in 0..4 {
        let mut stream = tokio::net::TcpStream::connect(broker.api).await.unwrap();
        stream
            .write_all(format!("{head}Content-Length: 104857600\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).starts_with("HTTP/1.1 413"));
        // The client goes on sending; the broker does not go on reading for ever.
        let piece = vec![b' '; 1 << 20];
        for _ in 0..100 {
            if stream.write_all(&piece).await.is_err() {
                break;
            }
        }
    }
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let answer = raw(&broker, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 411"), "{answer}");
    let after = broker.peak();
    assert!(
        after < before + 20 * 1024,
        "{before} KiB before, {after} KiB after"
    );
}

#[tokio::test]
async fn what_is_said_to_other_context_sources_is_an_operation_that_is_not_supported() {
    const ALL: [&str; 4] = [
        "csf=name==1",
        "entityMap=true",
        "entityMapLifetime=PT1H",
        "splitEntities=true",
    ];
    let broker = Broker::ready().await;
    broker.create(r#"{"id":"urn:x:1","type":"T","n":1}"#).await;
    let past = "timerel=after&timeAt=2020-01-01T00:00:00Z";
    let query = r#"{"type":"Query","entities":[{"type":"T"}]}"#;
    let temporal = r#"{"type":"Query","entities":[{"type":"T"}],"temporalQ":{"timerel":"after","timeAt":"2020-01-01T00:00:00Z"}}"#;
    for (method, path, body, said) in [
        ("GET", "/entities?type=T".to_owned(), None, &ALL[..]),
        ("GET", "/entities/urn:x:1?attrs=n".to_owned(), None, &ALL[1..3]),
        ("DELETE", "/entities?type=T".to_owned(), None, &ALL[..1]),
        ("GET", format!("/temporal/entities?type=T&{past}"), None, &ALL[..]),
        (
            "GET",
            format!("/temporal/entities/urn:x:1?{past}"),
            None,
            &ALL[1..3],
        ),
        (
            "POST",
            "/entityOperations/query?limit=1".to_owned(),
            Some(query),
            &ALL[1..],
        ),
        (
            "POST",
            "/temporal/entityOperations/query?limit=1".to_owned(),
            Some(temporal),
            &ALL[1..],
        ),
    ] {
        for said in said {
            let answer = broker.send(method, &format!("{path}&{said}"), &[], body).await;
            let told = (answer.status, answer.error());
            assert_eq!(
                told,
                (422, "OperationNotSupported".to_owned()),
                "{method} {path}&{said}"
            );
        }
    }
    let subscription = json!({"type": "Subscription", "entities": [{"type": "T"}], "notification": {"endpoint": {"uri": "http://r.example/"}}});
    let created = broker.post("/subscriptions", &subscription.to_string()).await;
    let id = created
        .header("location")
        .trim_start_matches("/ngsi-ld/v1")
        .to_owned();
    for (name, value) in [
        ("csf", json!("name==1")),
        ("entityMap", json!(true)),
        ("entityMapLifetime", json!("PT1H")),
        ("splitEntities", json!(true)),
    ] {
        let mut bodies = vec![
            ("/entityOperations/query", query),
            ("/temporal/entityOperations/query", temporal),
        ];
        let subscription = subscription.to_string();
        if ["csf", "splitEntities"].contains(&name) {
            bodies.push(("/subscriptions", &subscription));
            let change = json!({name: value}).to_string();
            let answer = broker.send("PATCH", &id, &[], Some(&change)).await;
            assert_eq!(answer.error(), "OperationNotSupported", "{name} of {id}");
        }
        for (path, body) in bodies {
            let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
            body[name] = value.clone();
            let answer = broker.post(path, &body.to_string()).await;
            let told = (answer.status, answer.error());
            assert_eq!(
                told,
                (422, "OperationNotSupported".to_owned()),
                "{name} of {path}"
            );
        }
    }
    assert_eq!(broker.ids("type=T").await, ["urn:x:1"]);
}

#[tokio::test]
async fn paths_methods_and_types_that_are_not_served_say_so() {
    let broker = Broker::ready().await;
    for (method, path, status, error) in [
        ("GET", "/nothing", 404, "ResourceNotFound"),
        ("GET", "/ngsi-ld/v2/entities", 404, "ResourceNotFound"),
        ("PUT", "/entities", 405, "InvalidRequest"),
        ("DELETE", "/types", 405, "InvalidRequest"),
        ("PUT", "/entities/", 400, "BadRequestData"),
        ("PATCH", "/entities/", 400, "BadRequestData"),
        ("DELETE", "/entities//attrs/x", 400, "BadRequestData"),
        ("DELETE", "/entities/urn:x:1/attrs/", 405, "InvalidRequest"),
        ("GET", "/entities/nouri", 400, "BadRequestData"),
        ("DELETE", "/entities/nouri", 400, "BadRequestData"),
        ("GET", "/entities/%ff", 400, "BadRequestData"),
        ("GET", "/entities/urn:x:%00", 400, "BadRequestData"),
        ("GET", "/csourceRegistrations", 422, "OperationNotSupported"),
        ("POST", "/csourceSubscriptions/", 422, "OperationNotSupported"),
        (
            "GET",
            "/temporal/entityMaps/urn:x:1",
            422,
            "OperationNotSupported",
        ),
    ] {
        let body = matches!(method, "POST" | "PUT" | "PATCH").then_some("{}");
        let answer = broker.send(method, path, &[], body).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (status, error),
            "{method} {path}"
        );
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{method} {path}");
        }
    }
    assert_eq!(
        broker.get("/entities/?type=A").await.status,
        200,
        "a slash at the end of a collection is taken"
    );
    for (name, status) in [
        ("text/plain", 415),
        ("application/merge-patch+json", 415),
        ("application/geo+json", 415),
    ] {
        let answer = broker
            .send("POST", "/entities", &[("content-type", name)], Some("{}"))
            .await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (status, "InvalidRequest")
        );
    }
    for encoding in ["gzip", "br", "deflate"] {
        let headers = [
            ("content-type", "application/json"),
            ("content-encoding", encoding),
        ];
        let answer = broker.send("POST", "/entities", &headers, Some("{}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (415, "InvalidRequest"));
        assert!(answer.text().contains("Content-Encoding"), "{}", answer.text());
    }
    let charset = broker
        .send(
            "POST",
            "/entities",
            &[("content-type", "application/json; charset=utf-8")],
            Some(&WHOLE.replace("VALUE", "1")),
        )
        .await;
    assert_eq!(charset.status, 201);
}

#[tokio::test]
async fn metrics_tell_routes_not_ids() {
    let broker = Broker::ready().await;
    broker.create(&WHOLE.replace("VALUE", "1")).await;
    broker.get("/entities/urn:x:1").await;
    broker.get("/nothing/urn:secret:1").await;
    let text = broker
        .client
        .send(broker.health, "GET", "/metrics", &[], None)
        .await
        .text();
    assert!(
        text.contains(
            "mim_broker_requests_total{route=\"/ngsi-ld/v1/entities/{id}\",method=\"GET\",status=\"200\"} 1"
        ),
        "{text}"
    );
    assert!(
        text.contains("mim_broker_database_up 1")
            && text.contains("mim_broker_request_duration_seconds_bucket")
    );
    assert!(text.contains("mim_broker_database_connections{state=\"open\"}"));
    assert!(!text.contains("urn:"), "{text}");
}
