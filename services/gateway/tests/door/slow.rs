//! A client that is slow holds nothing for ever, and nobody else up.

use crate::support::client::{Client, NAME};
use crate::support::gateway::{Gateway, plain};
use crate::support::upstream::{Asked, Upstream};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How much later than its time an end may come on a slow machine.
const LATE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_head_and_a_body_that_trickle_are_told_and_end() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let trickle = async |first: String| {
        let mut client = gateway.client().await;
        client.send(first).await;
        let start = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(client.stream);
        let sending = tokio::spawn(async move {
            while writer.write_all(b"a").await.is_ok() && writer.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text).await;
        sending.abort();
        assert!(
            start.elapsed() < Duration::from_secs(10) + LATE,
            "{:?}",
            start.elapsed()
        );
        text
    };
    let (head, body) = tokio::join!(
        trickle(format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\nX: ")),
        trickle(format!(
            "POST /a HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000\r\n\r\n"
        )),
    );
    for text in [head, body] {
        assert!(
            text.starts_with("HTTP/1.1 408 ") && text.contains("Connection: close"),
            "{text}"
        );
    }
    assert!(upstream.asked().is_empty());
}

#[tokio::test]
async fn who_never_speaks_tls_is_let_go_and_keeps_nobody_out() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let start = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(gateway.at).await.unwrap());
    }
    assert_eq!(gateway.client().await.get("/a", "").await.status, StatusCode::OK);
    for mut stream in silent {
        let mut block = [0; 16];
        let read = stream.read(&mut block).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(10) + LATE,
        "{:?}",
        start.elapsed()
    );
    // Plain HTTP is no TLS.
    let mut plain = TcpStream::connect(gateway.at).await.unwrap();
    plain
        .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    assert!(
        gateway
            .health("/metrics")
            .await
            .1
            .contains("mim_gateway_handshakes_failed_total 51")
    );
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends() {
    let large = Bytes::from(vec![b'a'; 64 * 1024 * 1024]);
    let answers = move |_: &Asked| Response::new(Full::new(large.clone()));
    let upstream = Upstream::start(Arc::new(answers), None).await;
    let gateway = Gateway::before(upstream.at).await;
    let mut client = gateway.client().await;
    client
        .send(format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    let start = Instant::now();
    crate::support::eventually_within(
        "the connection is given up",
        Duration::from_secs(90),
        async || {
            let metrics = gateway.health("/metrics").await.1;
            metrics.contains("mim_gateway_client_connections 0").then_some(())
        },
    )
    .await;
    assert!(
        start.elapsed() > Duration::from_secs(20),
        "{:?}: a pause is no end",
        start.elapsed()
    );
    assert!(client.read().await.is_none());
}

#[tokio::test]
async fn clients_beyond_those_that_may_be_connected_wait_until_others_leave() {
    let upstream = Upstream::echo().await;
    // Each of the two workers keeps a place for whom it takes next.
    let gateway = Gateway::start_with(&["--connections", "3"], &plain(upstream.at), |_, _| {}).await;
    gateway.until_ready().await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.client().await;
        assert_eq!(client.get("/a", "").await.status, StatusCode::OK);
        all.push(client);
    }
    let late = tokio::spawn({
        let (at, tls) = (gateway.at, gateway.authority.client(None, "http/1.1"));
        async move {
            Client::connect(at, tls)
                .await
                .unwrap()
                .get("/late", "")
                .await
                .status
        }
    });
    // The others are served on meanwhile, and the late one is not.
    for client in &mut all {
        assert_eq!(client.get("/a", "").await.status, StatusCode::OK);
    }
    assert!(upstream.asked().iter().all(|asked| asked.target == "/a") && !late.is_finished());
    all.pop();
    assert_eq!(late.await.unwrap(), StatusCode::OK);
}
