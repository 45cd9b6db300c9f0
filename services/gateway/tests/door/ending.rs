//! An end loses no request.

use crate::support::client::NAME;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{Asked, Upstream};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

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

/// A broker that answers when it is told to, and says when it was asked.
async fn patient() -> (SocketAddr, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (asked, was_asked) = mpsc::channel(10);
    let (answer, mut may_answer) = mpsc::channel::<()>(10);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                text.push(stream.read_u8().await.unwrap());
            }
            asked.send(()).await.unwrap();
            may_answer.recv().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                .await
                .unwrap();
        }
    });
    (at, was_asked, answer)
}

#[tokio::test]
async fn a_request_that_is_under_way_when_the_end_comes_is_answered() {
    let (at, mut asked, answer) = patient().await;
    let mut gateway = Gateway::before(at).await;
    let mut client = gateway.client().await;
    client
        .send(format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    asked.recv().await.unwrap();
    gateway.terminate();
    eventually("no new client is let in", async || {
        TcpStream::connect(gateway.at).await.err()
    })
    .await;
    answer.send(()).await.unwrap();
    let answered = client.read().await.unwrap();
    assert_eq!(
        (answered.body, answered.head.contains("Connection: close")),
        (b"ok".to_vec(), true)
    );
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn a_request_of_http_2_that_is_under_way_is_answered_too() {
    let (at, mut asked, answer) = patient().await;
    let mut gateway = Gateway::before(at).await;
    let tls = TlsConnector::from(Arc::new(gateway.authority.client(None, "h2")));
    let stream = TcpStream::connect(gateway.at).await.unwrap();
    let stream = tls
        .connect(ServerName::try_from(NAME).unwrap(), stream)
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("https://{NAME}/a"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let answered = tokio::spawn(sender.send_request(request));
    asked.recv().await.unwrap();
    gateway.terminate();
    eventually("no new client is let in", async || {
        TcpStream::connect(gateway.at).await.err()
    })
    .await;
    answer.send(()).await.unwrap();
    let answered = answered.await.unwrap().unwrap();
    assert_eq!(answered.into_body().collect().await.unwrap().to_bytes(), "ok");
    drop(sender);
    assert!(gateway.ended().await.success());
}
