//! How much may be asked, and what is told of it.

use crate::support::client::NAME;
use crate::support::gateway::Gateway;
use crate::support::issuer::sha256;
use crate::support::upstream::Upstream;
use http::StatusCode;

fn key(name: &str) -> String {
    format!("{{name: {name}, sha256: {}, roles: [of-{name}]}}", sha256(name))
}

#[tokio::test]
async fn each_subject_has_its_own_rate_and_body_over_all_connections() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::ready(&format!(
        "upstream: {{address: \"{}\"}}\nidentity: {{apiKeys: [{}, {}]}}\n\
         limits: {{everybody: {{requestsPerSecond: 1, burst: 5, body: 100}}, roles: [{{role: of-b, may: {{body: 10}}}}]}}\n",
        upstream.at,
        key("a"),
        key("b"),
    ))
    .await;
    let start = std::time::Instant::now();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        // Each over a connection of its own, and so over either worker.
        let answer = gateway.client().await.get("/a", "X-Api-Key: a\r\n").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        }
        statuses.push(answer.status);
    }
    let passed = statuses
        .iter()
        .filter(|status| **status == StatusCode::OK)
        .count();
    let most = 5 + usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!((5..=most).contains(&passed), "{passed} of at most {most}");
    let mut client = gateway.client().await;
    for _ in 0..12 {
        assert_eq!(client.get("/a", "X-Api-Key: b\r\n").await.status, StatusCode::OK);
    }
    let body = format!("POST /a HTTP/1.1\r\nHost: {NAME}\r\nX-Api-Key: b\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.ask(body).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn each_request_is_one_line_without_what_it_carried() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let mut client = gateway.client().await;
    let head = format!(
        "PATCH /ngsi-ld/v1/entities/urn:a%3Ab/attrs?q=x%3D%22secret%22 HTTP/1.1\r\nHost: {NAME}\r\nNGSILD-Tenant: t\r\n"
    );
    let answer = client.ask(format!("{head}Content-Length: 6\r\n\r\nsecret")).await;
    client
        .get("/ngsi-ld/v1/entities?id=urn:c%2Curn:d&type=A", "")
        .await;
    client.get("//", "").await;
    client.ask("GET / HTTP/1.1\r\nbad\r\n\r\n").await;
    let lines = gateway.audited(4).await;
    let first = &lines[0];
    assert_eq!(first["requestId"].as_str(), answer.field("x-request-id"));
    assert_eq!(
        (&first["tenant"], &first["operation"], &first["ids"][0]),
        (&"t".into(), &"Update".into(), &"urn:a:b".into())
    );
    assert_eq!(
        (&first["status"], &first["decision"], &first["address"]),
        (&200.into(), &"allowed".into(), &"127.0.0.1".into())
    );
    assert!(first["time"].as_str().unwrap().ends_with('Z') && first["latencyUs"].as_u64().unwrap() > 0);
    assert!(!first.to_string().contains("secret"));
    assert_eq!(lines[1]["ids"], serde_json::json!(["urn:c", "urn:d"]));
    for line in &lines[2..] {
        assert_eq!(
            (&line["decision"], &line["cause"], &line["status"]),
            (&"refused".into(), &"malformed".into(), &400.into())
        );
    }
    let metrics = gateway.health("/metrics").await.1;
    for line in [
        "mim_gateway_requests_total{method=\"PATCH\",status=\"200\"} 1",
        "mim_gateway_refused_total{cause=\"malformed\"} 2",
        "mim_gateway_audit_lines_lost_total 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn pages_of_named_origins_may_call_and_no_others() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::ready(&format!(
        "upstream: {{address: \"{}\"}}\nidentity: {{apiKeys: [{}]}}\ncors: {{origins: [\"https://map.example\"]}}\n",
        upstream.at,
        key("a"),
    ))
    .await;
    let mut client = gateway.client().await;
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /a HTTP/1.1\r\nHost: {NAME}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\r\n"
        )
    };
    let answer = client.ask(preflight("https://map.example")).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(
        answer.field("access-control-allow-origin"),
        Some("https://map.example")
    );
    assert!(
        answer
            .field("access-control-allow-headers")
            .unwrap()
            .contains("Authorization")
    );
    let refused = client.ask(preflight("https://map.example.evil")).await;
    assert_eq!(
        (refused.status, refused.field("access-control-allow-origin")),
        (StatusCode::UNAUTHORIZED, None)
    );
    // A page may read why it was refused.
    let unknown = client.get("/a", "Origin: https://map.example\r\n").await;
    assert_eq!(
        (unknown.status, unknown.field("access-control-allow-origin")),
        (StatusCode::UNAUTHORIZED, Some("https://map.example"))
    );
    let known = client
        .get("/a", "Origin: https://map.example\r\nX-Api-Key: a\r\n")
        .await;
    assert_eq!(
        (known.status, known.field("vary")),
        (StatusCode::OK, Some("Origin"))
    );
    assert_eq!(upstream.asked().len(), 1);
}
