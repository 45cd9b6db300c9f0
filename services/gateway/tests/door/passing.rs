//! Requests and answers pass whole, over either protocol.

use crate::support::client::{Client, NAME};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Asked, Upstream};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"0123456789abcdef\r\n"[at % 18]).collect()
}

#[tokio::test]
async fn bodies_of_any_length_and_framing_come_back_as_they_went() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let mut client = gateway.client().await;
    for length in [0, 1, 1000, 65_536, 65_537, 3_000_000] {
        let sent = body(length);
        let head = format!("POST /a HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {length}\r\n\r\n");
        let answer = client.ask([head.as_bytes(), &sent].concat()).await;
        assert_eq!(
            (answer.status, answer.body == sent),
            (StatusCode::OK, true),
            "{length}"
        );
        let mut chunks =
            format!("POST /a HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in sent.chunks(7000) {
            chunks.extend(format!("{:x};ext=1\r\n", chunk.len()).into_bytes());
            chunks.extend(chunk);
            chunks.extend(b"\r\n");
        }
        chunks.extend(b"0\r\nX-Trailer: 1\r\n\r\n");
        let answer = client.ask(chunks).await;
        assert_eq!(
            (answer.status, answer.body == sent),
            (StatusCode::OK, true),
            "{length} in chunks"
        );
    }
    assert_eq!(
        upstream.connections.load(Ordering::SeqCst),
        1,
        "one connection was used again and again"
    );
}

#[tokio::test]
async fn the_broker_is_told_who_the_client_is_and_nothing_that_is_ours_to_say() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let lines = "Mim-Permissions: e30\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Request-Id: mine\r\n\
                 NGSILD-Tenant: t\r\nConnection: x-own\r\nX-Own: 1\r\nAccept: a\r\nAccept: b\r\n";
    let answer = gateway
        .client()
        .await
        .get("/ngsi%2Dld/v1/entities?q=a>1", lines)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let asked = upstream.asked();
    let Asked {
        method,
        target,
        fields,
        ..
    } = &asked[0];
    assert_eq!(method, Method::GET);
    assert_eq!(target, "/ngsi-ld/v1/entities?q=a%3E1");
    assert_eq!(fields["x-forwarded-for"], "127.0.0.1");
    assert_eq!(
        (&fields["x-forwarded-proto"], &fields["host"]),
        (&"https".parse().unwrap(), &NAME.parse().unwrap())
    );
    assert_eq!(fields["ngsild-tenant"], "t");
    assert_eq!(fields.get_all("accept").iter().count(), 2);
    for gone in ["mim-permissions", "forwarded", "connection", "x-own"] {
        assert!(!fields.contains_key(gone), "{gone}");
    }
    let id = answer.field("x-request-id").unwrap();
    assert!(id != "mine" && fields["x-request-id"] == id, "{id}");
}

#[tokio::test]
async fn answers_keep_their_status_and_fields_and_lose_those_of_the_connection() {
    let answers = |asked: &Asked| {
        let status = asked.target[1..].parse::<u16>().unwrap();
        let builder = Response::builder()
            .status(status)
            .header("location", "/x")
            .header("server", "secret 1.0");
        builder
            .body(Full::new(if status == 200 {
                Bytes::from_static(b"abc")
            } else {
                Bytes::new()
            }))
            .unwrap()
    };
    let upstream = Upstream::start(Arc::new(answers), None).await;
    let gateway = Gateway::ready(&format!(
        "upstream: {{address: \"{}\"}}\ntls: {{hsts: 600}}\n",
        upstream.at
    ))
    .await;
    let mut client = gateway.client().await;
    for status in [200, 201, 204, 304, 404, 500] {
        let answer = client.get(&format!("/{status}"), "").await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(
            answer.head.contains("Location: /x\r\n") && answer.field("server").is_none(),
            "{}",
            answer.head
        );
        assert_eq!(answer.field("strict-transport-security"), Some("max-age=600"));
        assert!(!answer.is_last());
    }
    client
        .send(format!("HEAD /200 HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    client
        .send(format!("OPTIONS /204 HTTP/1.1\r\nHost: {NAME}\r\n\r\n"))
        .await;
    // Answers to both, in their order: that to HEAD tells a length and has no body, so it is read by hand.
    let mut text = String::new();
    while text.matches("\r\n\r\n").count() < 2 {
        let mut block = [0; 1024];
        let read = tokio::io::AsyncReadExt::read(&mut client.stream, &mut block)
            .await
            .unwrap();
        text.push_str(std::str::from_utf8(&block[..read]).unwrap());
    }
    let (head, options) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Content-Length: 3") && options.starts_with("HTTP/1.1 204"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_waits_for_an_invitation_gets_one_and_only_when_its_body_is_wanted() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::ready(&format!(
        "upstream: {{address: \"{}\"}}\nlimits: {{everybody: {{body: 10}}}}\n",
        upstream.at
    ))
    .await;
    let head = |length: usize| {
        format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n")
    };
    let mut client = gateway.client().await;
    assert_eq!(client.ask(head(5)).await.status, StatusCode::CONTINUE);
    assert_eq!(client.ask("hello").await.body, b"hello");
    let refused = client.ask(head(11)).await;
    assert!(
        refused.status == StatusCode::PAYLOAD_TOO_LARGE && refused.is_last(),
        "{refused:?}"
    );
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn a_small_body_that_is_refused_does_not_cost_the_connection() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
    let mut client = gateway.client().await;
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 5\r\n\r\nhello");
    let refused = client.ask(post("//")).await;
    assert_eq!(
        (refused.status, refused.is_last()),
        (StatusCode::BAD_REQUEST, false)
    );
    assert_eq!(client.ask(post("/a")).await.body, b"hello");
}

#[tokio::test]
async fn a_body_is_bounded_also_where_it_does_not_say_how_long_it_is() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::ready(&format!(
        "upstream: {{address: \"{}\"}}\nlimits: {{everybody: {{body: 100000}}}}\n",
        upstream.at
    ))
    .await;
    let mut client = gateway.client().await;
    let mut text =
        format!("POST / HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..20 {
        text.extend(format!("2710\r\n{}\r\n", "a".repeat(10_000)).into_bytes());
    }
    let answer = client.ask(text).await;
    assert_eq!(
        (answer.status, answer.is_last()),
        (StatusCode::PAYLOAD_TOO_LARGE, true)
    );
}

#[tokio::test]
async fn http_2_takes_the_same_way() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::before(upstream.at).await;
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
    let mut ask = async |method: Method, target: &str, host: Option<&str>, sent: Vec<u8>| {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{NAME}{target}"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = sender
            .send_request(request.body(Full::new(Bytes::from(sent))).unwrap())
            .await
            .unwrap();
        let (head, body) = answer.into_parts();
        (head.status, body.collect().await.unwrap().to_bytes())
    };
    for length in [0, 5, 70_000, 2_000_000] {
        let (status, back) = ask(Method::POST, "/a", None, body(length)).await;
        assert_eq!((status, back == body(length)), (StatusCode::OK, true), "{length}");
    }
    assert_eq!(ask(Method::GET, "/b?c", None, Vec::new()).await.0, StatusCode::OK);
    assert_eq!(upstream.asked().last().unwrap().fields["host"], NAME);
    let before = upstream.asked().len();
    for (method, target, host) in [
        (Method::GET, "/a/../b", None),
        (Method::GET, "/a%2fb", None),
        (Method::GET, "/a", Some("other.example")),
    ] {
        assert_eq!(
            ask(method, target, host, Vec::new()).await.0,
            StatusCode::BAD_REQUEST,
            "{target}"
        );
    }
    assert_eq!(
        ask(Method::TRACE, "/a", None, Vec::new()).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(upstream.asked().len(), before);
}

#[tokio::test]
async fn a_balancer_that_is_trusted_says_whose_connection_it_is_and_nobody_else_does() {
    let upstream = Upstream::echo().await;
    let config = |range: &str| {
        format!(
            "upstream: {{address: \"{}\"}}\nproxyProtocol: true\ntrustedProxies: [{range}]\n",
            upstream.at
        )
    };
    let connect = async |gateway: &Gateway, header: &[u8]| {
        let mut stream = TcpStream::connect(gateway.at).await.unwrap();
        stream.write_all(header).await.unwrap();
        Client::over(stream, gateway.authority.client(None, "http/1.1")).await
    };
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n";
    let trusting = Gateway::ready(&config("127.0.0.0/8")).await;
    connect(&trusting, header)
        .await
        .unwrap()
        .get("/", "X-Forwarded-For: 192.0.2.9\r\n")
        .await;
    assert_eq!(
        upstream.asked().last().unwrap().fields["x-forwarded-for"],
        "192.0.2.7"
    );
    let wary = Gateway::ready(&config("10.0.0.0/8")).await;
    assert!(connect(&wary, header).await.is_err());
    let mut direct = wary.client().await;
    direct.get("/", "").await;
    assert_eq!(
        upstream.asked().last().unwrap().fields["x-forwarded-for"],
        "127.0.0.1"
    );
}
