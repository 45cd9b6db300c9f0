//! An end loses no request.

use crate::support::client::NAME;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Asked, Upstream};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use std::sync::Arc;
use tokio::net::TcpStream;

#[tokio::test]
async fn clients_that_ask_on_through_an_end_lose_no_request() {
    let upstream = Upstream::start(
        Arc::new(|_: &Asked| Response::new(Full::new(Bytes::from_static(b"ok")))),
        None,
    )
    .await;
    let mut gateway = Gateway::before(upstream.at).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(gateway.client().await);
    }
    let loads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut number = 0;
                loop {
                    number += 1;
                    client
                        .send(format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
                        .await;
                    let answer = client.read().await.expect("each request is answered");
                    assert_eq!(answer.status, StatusCode::OK);
                    if answer.is_last() {
                        return number;
                    }
                }
            })
        })
        .collect();
    let asked = Arc::clone(&upstream.asked);
    eventually("the load runs", async || {
        (asked.lock().unwrap().len() > 200).then_some(())
    })
    .await;
    gateway.terminate();
    eventually("it is not ready any more", async || {
        (gateway.health("/readyz").await.0 == 503).then_some(())
    })
    .await;
    // Who comes before the endpoints are told is served.
    assert!(gateway.client().await.get("/late", "").await.is_last());
    for load in loads {
        load.await.unwrap();
    }
    assert!(gateway.ended().await.success());
    assert!(TcpStream::connect(gateway.at).await.is_err());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::before(upstream.at).await;
    let mut idle = gateway.client().await;
    idle.get("/a", "").await;
    let start = std::time::Instant::now();
    gateway.terminate();
    assert!(idle.has_ended().await);
    assert!(gateway.ended().await.success());
    assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
}
