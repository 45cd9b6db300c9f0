//! What two readers would read in two ways never reaches the broker.

use crate::support::client::NAME;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use http::StatusCode;

/// Sends it over a connection of its own; the status of the answer. The connection ends, and the broker hears nothing of it.
async fn refused(gateway: &Gateway, upstream: &Upstream, text: &str) -> StatusCode {
    let before = upstream.asked().len();
    let mut client = gateway.client().await;
    let answer = client.ask(text).await;
    assert_eq!(
        answer.field("content-type"),
        Some("application/problem+json"),
        "{text:?}"
    );
    assert_eq!(answer.json()["status"], answer.status.as_u16());
    assert!(answer.is_last(), "what follows could be the rest of it: {text:?}");
    assert!(client.has_ended().await, "{text:?}");
    assert_eq!(upstream.asked().len(), before, "{text:?}");
    answer.status
}

#[tokio::test]
async fn a_head_that_is_read_in_two_ways_is_refused_and_ends_the_connection() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    for (lines, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length : 5\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            501,
        ),
        ("X: a\r\n Transfer-Encoding: chunked\r\n", 400),
        ("X: a\r\n\tb\r\n", 400),
        ("X: a\nTransfer-Encoding: chunked\r\n", 400),
        ("X: a\rTransfer-Encoding: chunked\r\n", 400),
        ("X: a\0b\r\n", 400),
    ] {
        let text = format!("POST /a HTTP/1.1\r\nHost: {NAME}\r\n{lines}\r\n5\r\nGET /b\r\n0\r\n\r\n");
        assert_eq!(
            refused(&gateway, &upstream, &text).await.as_u16(),
            status,
            "{lines:?}"
        );
    }
    for (line, status) in [
        ("GET /a HTTP/1.0", 505),
        ("GET /a HTTP/3.0", 400),
        ("GET /a", 400),
        ("GET  /a HTTP/1.1", 400),
        ("GE\tT /a HTTP/1.1", 400),
    ] {
        let found = refused(&gateway, &upstream, &format!("{line}\r\nHost: {NAME}\r\n\r\n")).await;
        assert!(
            found.as_u16() == status || found == StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "{line}: {found}"
        );
    }
    let long = format!(
        "GET /a HTTP/1.1\r\nHost: {NAME}\r\nX: {}\r\n\r\n",
        "a".repeat(70_000)
    );
    assert_eq!(refused(&gateway, &upstream, &long).await.as_u16(), 431);
}

#[tokio::test]
async fn bad_chunks_are_refused_before_the_broker_has_a_whole_request() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    for chunks in [
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno field\r\n\r\n",
    ] {
        let mut client = gateway.client().await;
        let text = format!("POST /a HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let answer = client.ask(&text).await;
        assert_eq!(
            (answer.status, answer.is_last()),
            (StatusCode::BAD_REQUEST, true),
            "{chunks:?}"
        );
        assert!(client.has_ended().await);
    }
    // The test's broker remembers a request whose body is cut as one that is empty.
    assert!(upstream.asked().iter().all(|asked| asked.body.is_empty()));
}

#[tokio::test]
async fn what_decides_stands_there_once_and_paths_have_one_form() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let mut client = gateway.client().await;
    for name in [
        "Host",
        "Authorization",
        "Content-Type",
        "NGSILD-Tenant",
        "Link",
        "X-Api-Key",
    ] {
        let lines = if name == "Host" {
            format!("Host: {NAME}\r\n")
        } else {
            format!("{name}: a\r\n{name}: a\r\n")
        };
        assert_eq!(
            client.get("/a", &lines).await.status,
            StatusCode::BAD_REQUEST,
            "{name}"
        );
        let nominated = format!("{name}: a\r\nConnection: {name}\r\n");
        assert_eq!(
            client.get("/a", &nominated).await.status,
            StatusCode::BAD_REQUEST,
            "{name}"
        );
    }
    for path in [
        "//a",
        "/a/../b",
        "/a/%2e%2E/b",
        "/a/..;/b",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/a;b",
        "*",
        "http://b/a",
    ] {
        assert_eq!(
            client.get(path, "").await.status,
            StatusCode::BAD_REQUEST,
            "{path}"
        );
    }
    for method in ["TRACE", "CONNECT", "PURGE", "get"] {
        let answer = client
            .ask(format!("{method} /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn requests_that_come_together_are_answered_one_after_the_other() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let mut client = gateway.client().await;
    let one = |body: &str| {
        format!(
            "POST /a HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    client
        .send([one("GET / HTTP/1.1\r\n\r\n"), one("b"), one("c")].concat())
        .await;
    for expected in ["GET / HTTP/1.1\r\n\r\n", "b", "c"] {
        assert_eq!(client.read().await.unwrap().body, expected.as_bytes());
    }
    assert_eq!(upstream.asked().len(), 3);
}
