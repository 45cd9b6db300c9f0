//! Real calls to real servers on loopback: what the guard lets through, what it refuses, what it never says.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod server;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use mim_egress::{Allow, Client, Error, Policy, Refused, Request, Response, Token};
use server::{Server, issue};
use url::Url;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A client for which every name is this machine.
fn client() -> Client {
    Client::with_resolver(Policy::default().with_loopback_for_tests(), |_: &str| {
        Ok(vec![LOCAL])
    })
}

fn request(text: &str) -> Request {
    Request::new(Url::parse(text).unwrap())
}

async fn get(text: &str) -> Result<Response, Error> {
    client().get(request(text)).await
}

#[tokio::test]
async fn a_name_is_called_at_the_resolved_address_with_its_own_host_header() {
    let server =
        Server::answering("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .await;
    let url = format!("http://broker.example.org:{}/types?limit=1#x", server.port);
    let response = get(&url).await.unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.content_type.as_deref(), Some("application/json"));
    assert_eq!(&response.body[..], b"{}");
    assert_eq!(response.url.as_str(), url);
    let seen = server.seen();
    assert!(seen.starts_with("GET /types?limit=1 HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains(&format!("Host: broker.example.org:{}\r\n", server.port)),
        "{seen}"
    );
    assert!(!seen.contains("Authorization"), "{seen}");
}

#[tokio::test]
async fn a_body_is_sent_with_its_method_and_length_and_is_told_to_nobody() {
    let server = Server::answering("HTTP/1.1 201 Created\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
    let mut request = Request {
        method: Method::POST,
        body: "secret-body".into(),
        ..request(&server.http())
    };
    let json = "application/json".parse().unwrap();
    request.headers.insert("content-type", json);
    assert!(!format!("{request:?}").contains("secret-body"), "{request:?}");
    let response = client().send(request.clone()).await.unwrap();
    assert_eq!(
        (response.status.as_u16(), &response.headers["location"]),
        (201, &"/x".parse().unwrap())
    );
    let seen = server.seen();
    assert!(seen.starts_with("POST / HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("Content-Type: application/json\r\n"), "{seen}");
    assert!(seen.contains("Content-Length: 11\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nsecret-body"), "{seen}");
    // `get` asks, whatever the request says.
    let other = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let url = Url::parse(&other.http()).unwrap();
    client().get(Request { url, ..request }).await.unwrap();
    let seen = other.seen();
    assert!(
        seen.starts_with("GET / HTTP/1.1\r\n") && seen.ends_with("\r\n\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_delete_without_a_body_has_none() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let request = Request {
        method: Method::DELETE,
        ..request(&server.http())
    };
    assert_eq!(client().send(request).await.unwrap().status, 204);
    let seen = server.seen();
    assert!(
        seen.starts_with("DELETE / HTTP/1.1\r\n") && seen.ends_with("\r\n\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn an_error_status_is_an_answer() {
    let server = Server::answering("HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(get(&server.http()).await.unwrap().status, 503);
}

#[tokio::test]
async fn a_name_is_resolved_once_and_rebinding_has_no_second_chance() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    // The first answer is harmless, every later one is the metadata service.
    let resolver = move |_: &str| -> io::Result<Vec<IpAddr>> {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(vec![if first {
            LOCAL
        } else {
            "169.254.169.254".parse().unwrap()
        }])
    };
    let client = Client::with_resolver(Policy::default().with_loopback_for_tests(), resolver);
    client.get(request(&server.http())).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let refused = client.get(request(&server.http())).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::AddressRefused {
                reason: Refused::LinkLocal,
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn one_refused_address_among_good_ones_refuses_the_name() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let resolver = |_: &str| Ok(vec![LOCAL, "10.0.0.7".parse().unwrap()]);
    let client = Client::with_resolver(Policy::default().with_loopback_for_tests(), resolver);
    let refused = client.get(request(&server.http())).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::AddressRefused {
                reason: Refused::Private,
                ..
            }
        ),
        "{refused}"
    );
    assert!(refused.by_guard());
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn without_the_test_allowance_loopback_is_never_reached() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let wide = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let client = Client::with_resolver(Policy::new(wide, vec![]), |_: &str| Ok(vec![LOCAL]));
    for host in [
        "svc.city.svc",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
    ] {
        let request = Request {
            allow: Allow::ServicesOf("city".into()),
            ..request(&format!("http://{host}:{}/", server.port))
        };
        let refused = client.get(request).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::AddressRefused {
                    reason: Refused::Loopback,
                    ..
                }
            ),
            "{host}: {refused}"
        );
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn redirects_are_reported_and_not_followed() {
    let goal = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let from = Server::answering(&format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            goal.http()
        ))
        .await;
        let error = get(&from.http()).await.unwrap_err();
        assert!(
            matches!(error, Error::Redirect { status: told, .. } if told == status),
            "{error}"
        );
        assert!(error.to_string().contains("write the final URL"), "{error}");
    }
    assert_eq!(goal.calls(), 0);
}

#[tokio::test]
async fn a_body_is_cut_at_its_cap_with_and_without_a_length() {
    let body = "secret-body ".repeat(100);
    let with_length = Server::answering(&format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let endless = Server::endless("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", "secret-body ").await;
    for server in [&with_length, &endless] {
        let error = client()
            .get(Request {
                max_body: 600,
                ..request(&server.http())
            })
            .await
            .unwrap_err();
        assert!(matches!(error, Error::BodyTooLarge { limit: 600, .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret-body"));
    }
    let exact = client()
        .get(Request {
            max_body: body.len(),
            ..request(&with_length.http())
        })
        .await
        .unwrap();
    assert_eq!(exact.body.len(), body.len());
}

#[tokio::test]
async fn one_deadline_covers_head_body_and_look_up() {
    let silent = Server::answering("").await;
    let drip = Server::slow(
        "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
        "x",
        Duration::from_millis(20),
    )
    .await;
    for server in [&silent, &drip] {
        let begin = Instant::now();
        let timeout = Duration::from_millis(300);
        let error = client()
            .get(Request {
                timeout,
                ..request(&server.http())
            })
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_dead_address_does_not_hide_a_living_one() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let resolver = |_: &str| Ok(vec!["127.99.99.99".parse().unwrap(), LOCAL]);
    let client = Client::with_resolver(Policy::default().with_loopback_for_tests(), resolver);
    assert_eq!(client.get(request(&server.http())).await.unwrap().status, 200);
}

#[tokio::test]
async fn tokens_and_credential_headers_never_travel_over_plain_http() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let with_token = Request {
        token: Some(Token::new("tok-4711")),
        ..request(&server.http())
    };
    let mut with_header = request(&server.http());
    with_header
        .headers
        .insert("cookie", "session=tok-4711".parse().unwrap());
    for request in [with_token, with_header] {
        let error = client().get(request.clone()).await.unwrap_err();
        assert!(matches!(error, Error::TokenOverPlainHttp { .. }), "{error}");
        assert!(!format!("{error} {error:?} {:?}", request.token).contains("tok-4711"));
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn tls_is_verified_against_the_given_ca_and_the_token_arrives() {
    let issued = issue("broker.example.org");
    let server = Server::tls(&issued, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let url = format!("https://broker.example.org:{}/", server.port);
    let good = Request {
        ca_pem: Some(issued.ca_pem.clone().into_bytes()),
        token: Some(Token::new("  tok-4711\n")),
        ..request(&url)
    };
    assert_eq!(client().get(good.clone()).await.unwrap().status, 200);
    assert!(server.seen().contains("Authorization: Bearer tok-4711\r\n"));

    let stranger = issue("broker.example.org");
    let wrong_ca = Request {
        ca_pem: Some(stranger.ca_pem.into_bytes()),
        ..good.clone()
    };
    let error = client().get(wrong_ca).await.unwrap_err();
    assert!(
        error.to_string().contains("certificate is not valid here"),
        "{error}"
    );

    let url = Url::parse(&format!("https://other.example.org:{}/", server.port)).unwrap();
    let wrong_name = client().get(Request { url, ..good.clone() }).await.unwrap_err();
    assert!(matches!(wrong_name, Error::Tls { .. }), "{wrong_name}");

    let unreadable = client()
        .get(Request {
            ca_pem: Some(b"no pem".to_vec()),
            ..good
        })
        .await
        .unwrap_err();
    assert!(matches!(unreadable, Error::CaNotReadable { .. }), "{unreadable}");
}

#[tokio::test]
async fn every_failure_is_one_plain_sentence() {
    let unresolved = Client::with_resolver(Policy::default(), |_: &str| {
        Err(io::Error::from(io::ErrorKind::NotFound))
    });
    let error = unresolved
        .get(request("https://nowhere.example.org/secret-path?key=secret"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the host name of https://nowhere.example.org does not resolve; check its spelling and the cluster's DNS"
    );

    let plain = Server::answering("220 mail.example.org secret-banner\r\n").await;
    let error = get(&plain.http()).await.unwrap_err();
    assert!(matches!(error, Error::Http { .. }), "{error}");
    assert!(!format!("{error:?}").contains("secret-banner"));

    let closed = {
        let listener = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = get(&format!("http://broker.example.org:{closed}/secret-path"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("connection refused") && !error.to_string().contains("secret"),
        "{error}"
    );
    assert!(!error.by_guard());
}

#[tokio::test]
async fn a_caller_cannot_set_the_headers_of_the_connection() {
    for name in ["host", "transfer-encoding", "accept-encoding", "connection"] {
        let mut request = request("http://broker.example.org/");
        request.headers.insert(name, "x".parse().unwrap());
        let error = client().get(request).await.unwrap_err();
        assert!(matches!(error, Error::HeaderNotAllowed { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_refused() {
    let server = Server::endless(
        "HTTP/1.1 200 OK\r\n",
        "x-long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    )
    .await;
    let error = get(&server.http()).await.unwrap_err();
    assert!(matches!(error, Error::Http { .. }), "{error}");
}
