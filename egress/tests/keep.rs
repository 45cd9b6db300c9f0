//! Calls over connections that stay open: the same rules, fewer connections.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(
    dead_code,
    reason = "the servers of the tests are more than each of them needs"
)]

mod server;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderValue, Method, header};
use mim_egress::{Allow, Client, Error, KeepAlive, Policy, Request};
use server::Server;
use url::Url;

fn calls(policy: Policy) -> KeepAlive {
    let everywhere = |_: &str| Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    KeepAlive::new(Client::with_resolver(policy, everywhere), Allow::PolicyOnly)
}

fn local() -> KeepAlive {
    calls(Policy::default().with_loopback_for_tests())
}

fn post(url: &str) -> Request {
    Request {
        method: Method::POST,
        body: "hello".into(),
        ..Request::new(Url::parse(url).unwrap())
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_second_call_goes_over_the_first_ones_connection_with_the_same_host_header() {
    let server = Server::answering(OK).await;
    let calls = local();
    for _ in 0..5 {
        assert_eq!(calls.send(post(&server.http())).await.unwrap().status, 200);
    }
    assert_eq!(server.calls(), 1);
    let seen = server.seen();
    assert_eq!(seen.matches("POST / HTTP/1.1\r\n").count(), 5, "{seen}");
    let host = format!("Host: broker.example.org:{}\r\n", server.port);
    assert_eq!(seen.matches(&host).count(), 5, "{seen}");
}

#[tokio::test]
async fn a_server_that_has_closed_its_connection_is_connected_to_again() {
    let calls = local();
    let server = Server::answering("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    for _ in 0..3 {
        assert_eq!(calls.send(post(&server.http())).await.unwrap().status, 200);
    }
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn the_rules_of_the_guard_hold() {
    let server = Server::answering(OK).await;
    let refused = calls(Policy::default()).send(post(&server.http())).await;
    assert!(
        matches!(refused, Err(Error::AddressRefused { .. })),
        "{refused:?}"
    );
    assert_eq!(server.calls(), 0);
    let mut with_token = post(&server.http());
    with_token
        .headers
        .insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    let refused = local().send(with_token).await;
    assert!(
        matches!(refused, Err(Error::TokenOverPlainHttp { .. })),
        "{refused:?}"
    );
    let redirecting =
        Server::answering("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n")
            .await;
    let refused = local().send(post(&redirecting.http())).await;
    assert!(
        matches!(refused, Err(Error::Redirect { status: 302, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_after_the_timeout() {
    let server = Server::slow("", "", Duration::ZERO).await;
    let mut request = post(&server.http());
    request.timeout = Duration::from_millis(300);
    let left = local().send(request).await;
    assert!(matches!(left, Err(Error::Timeout { .. })), "{left:?}");
}
