//! Brokers of older editions: no `orderBy`, no query by `local=true` alone, an order of their own.

use crate::support::client::Client;
use crate::support::{Broker, entity, fill, id, ids, mimctl, url};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::TcpListener;

type Answered = http::Response<Full<bytes::Bytes>>;

/// A door to a broker that refuses what the editions before v1.8.1 do not have, and has an order of its own.
async fn elder(broker: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request| answered(broker, request));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service),
            );
        }
    });
    address
}

async fn answered(broker: SocketAddr, request: http::Request<Incoming>) -> Result<Answered, Infallible> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default().to_owned();
    if query.contains("orderBy") || query.contains("local") {
        let body = json!({"type": "https://uri.etsi.org/ngsi-ld/errors/BadRequestData", "title": "Too wide"});
        return Ok(http::Response::builder()
            .status(400)
            .body(Full::from(body.to_string()))
            .unwrap());
    }
    let headers: Vec<(&str, &str)> = ["accept", "content-type", "ngsild-tenant"]
        .into_iter()
        .filter_map(|name| Some((name, head.headers.get(name)?.to_str().ok()?)))
        .collect();
    let body = body.collect().await.unwrap().to_bytes();
    let body = (!body.is_empty()).then(|| String::from_utf8(body.to_vec()).unwrap());
    let method = head.method.as_str();
    let is_query = head.uri.path().ends_with("/entities");
    let path = if is_query {
        // All of them, to be turned around: the standard says of no order.
        let selection = query.split("&limit").next().unwrap();
        format!("{}?{selection}&limit=1000", head.uri.path())
    } else {
        head.uri.path_and_query().unwrap().to_string()
    };
    let answer = Client::new().send(broker, method, &path, &headers, body).await;
    let mut body = answer.body.clone();
    if is_query && answer.status == 200 {
        let all: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let number = |name: &str| -> usize {
            let of = query.split('&').find_map(|pair| pair.strip_prefix(name));
            of.unwrap().parse().unwrap()
        };
        let page = all
            .into_iter()
            .rev()
            .skip(number("offset="))
            .take(number("limit="));
        body = Value::from(page.collect::<Vec<_>>()).to_string().into();
    }
    Ok(http::Response::builder()
        .status(answer.status)
        .body(Full::from(body))
        .unwrap())
}

#[tokio::test]
async fn a_broker_of_an_older_edition_is_asked_by_its_types_and_remembered_by_ids() {
    let broker = Broker::ready().await;
    let mut entities: Vec<Value> = (0..150).map(entity).collect();
    entities.extend((150..200).map(|n| json!({"id": id(n), "type": ["T", "https://other.example/U"]})));
    entities.extend((200..220).map(|n| json!({"id": id(n), "type": "https://other.example/U"})));
    fill(&broker, "one", &entities).await;
    let elder = elder(broker.api).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("elder.ndjson");
    let (name, elder_url) = (file.to_str().unwrap(), url(elder));
    let said = mimctl(&[
        "export", "--url", &elder_url, "--tenant", "one", "--page", "30", name,
    ])
    .await
    .with(0);
    assert!(said.contains("220 entities"), "{said}");
    let mut found = ids(&file);
    found.sort();
    assert_eq!(found, (0..220).map(id).collect::<Vec<_>>());
    mimctl(&["import", "--url", &elder_url, "--tenant", "two", name])
        .await
        .with(0);
    assert_eq!(
        broker.ids("local=true&limit=1").await.len(),
        0,
        "not into another tenant"
    );
    let two = broker
        .send(
            "GET",
            "/entities?local=true&limit=0&count=true",
            &[("ngsild-tenant", "two")],
            None,
        )
        .await;
    assert_eq!(two.header("ngsild-results-count"), "220");
}
