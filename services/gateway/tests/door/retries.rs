//! What is tried again, and what never is.

use crate::support::client::NAME;
use crate::support::eventually;
use crate::support::gateway::{Gateway, plain};
use http::StatusCode;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the n-th request over the n-th connection.
#[derive(Clone, Copy)]
enum Act {
    /// It is answered.
    Answer,
    /// The connection ends without an answer.
    HangUp,
    /// The connection ends in the middle of the answer.
    Cut,
    /// It is answered before its body has come, and the connection ends.
    Refuse,
    /// The same, and the connection stays.
    RefuseAndStay,
}

/// A broker that does as it is told for each connection; and the heads of all requests that it read.
async fn broker(script: Vec<Vec<Act>>) -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let all = Arc::clone(&heads);
    tokio::spawn(async move {
        for acts in script {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(stream, acts, Arc::clone(&all)));
        }
    });
    (at, heads)
}

async fn play(mut stream: TcpStream, acts: Vec<Act>, heads: Arc<Mutex<Vec<String>>>) {
    for act in acts {
        let mut text = Vec::new();
        while !text.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read_exact(&mut byte).await.is_err() {
                return;
            }
            text.push(byte[0]);
        }
        heads.lock().unwrap().push(String::from_utf8(text).unwrap());
        let answer: &[u8] = match act {
            Act::Answer => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Act::Cut => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
            Act::Refuse | Act::RefuseAndStay => b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno",
            Act::HangUp => b"",
        };
        stream.write_all(answer).await.unwrap();
        if !matches!(act, Act::Answer | Act::RefuseAndStay) {
            return;
        }
    }
    // Held open: only what the script says ends a connection.
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_read_over_a_connection_that_ends_is_sent_again_and_a_write_never_is() {
    use Act::{Answer, HangUp};
    let (at, heads) = broker(vec![vec![Answer, HangUp], vec![Answer, HangUp], vec![Answer]]).await;
    let gateway = Gateway::before(at).await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/a", "").await.status, StatusCode::OK);
    }
    assert_eq!(heads.lock().unwrap().len(), 3);
    let answer = client
        .ask(format!(
            "POST /a HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(heads.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_new_connection_that_ends_is_an_error_and_no_reason_to_try_for_ever() {
    let (at, heads) = broker(vec![vec![Act::HangUp], vec![Act::HangUp]]).await;
    let gateway = Gateway::before(at).await;
    assert_eq!(
        gateway.client().await.get("/a", "").await.status,
        StatusCode::BAD_GATEWAY
    );
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_cut_for_the_client_too() {
    let (at, _) = broker(vec![vec![Act::Cut]]).await;
    let gateway = Gateway::before(at).await;
    let mut client = gateway.client().await;
    client
        .send(format!("GET /a HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    assert!(client.read().await.is_none());
}

#[tokio::test]
async fn an_answer_before_the_end_of_a_body_reaches_the_client() {
    let (at, _) = broker(vec![vec![Act::Refuse]]).await;
    let gateway = Gateway::before(at).await;
    let mut client = gateway.client().await;
    client
        .send(format!(
            "POST /a HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000000\r\n\r\n"
        ))
        .await;
    client.send("a".repeat(100_000)).await;
    let answer = client.read().await.unwrap();
    assert_eq!(
        (answer.status, answer.is_last()),
        (StatusCode::PAYLOAD_TOO_LARGE, true)
    );
}

#[tokio::test]
async fn the_rest_of_a_body_that_was_refused_is_never_the_start_of_another_request() {
    let (at, heads) = broker(vec![vec![Act::RefuseAndStay, Act::Cut], vec![Act::Answer]]).await;
    // One worker, so that there is one set of connections.
    let gateway = Gateway::start_with(&["--workers", "1"], &plain(at), |_, _| {}).await;
    gateway.until_ready().await;
    let mut client = gateway.client().await;
    client
        .send(format!(
            "POST /a HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 1000000\r\n\r\n"
        ))
        .await;
    assert_eq!(client.read().await.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(gateway.client().await.get("/b", "").await.status, StatusCode::OK);
    let heads = heads.lock().unwrap();
    assert!(
        heads.len() == 2 && heads[1].starts_with("GET /b HTTP/1.1\r\n"),
        "{heads:?}"
    );
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_503_and_one_that_comes_back_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let gateway = Gateway::before(at).await;
    let mut client = gateway.client().await;
    let answer = client.get("/a", "").await;
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("2"))
    );
    assert!(
        !String::from_utf8_lossy(&answer.body).contains(&at.port().to_string()),
        "an address is nobody's business"
    );
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        play(stream, vec![Act::Answer], Arc::default()).await;
    });
    eventually("the broker is found", async || {
        (client.get("/a", "").await.status == StatusCode::OK).then_some(())
    })
    .await;
}
