//! Calls of the broker: one connection per request, no retry. What fails here has failed for a client.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::door::Door;
use super::error::{Error, Result};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// An answer of the broker.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; null where there is none.
    pub body: Value,
}

/// A client of the NGSI-LD API.
pub struct Broker {
    door: Door,
}

impl Broker {
    /// A client that comes in by this door.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self { door }
    }

    /// Sends one request over a connection of its own.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let failed = |reason: String| Error::NoAnswer {
            request: format!("{method} {path}"),
            reason,
        };
        let address = self.door.address().map_err(failed)?;
        match tokio::time::timeout(LIMIT, exchange(address, &method, path, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => Err(failed(format!("no answer within {} s", LIMIT.as_secs()))),
        }
    }

    /// As [`Self::send`], where only this status is right.
    pub async fn expect(
        &self,
        status: StatusCode,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let answer = self.send(method.clone(), path, body).await?;
        if answer.status == status {
            return Ok(answer);
        }
        Err(Error::NoAnswer {
            request: format!("{method} {path}"),
            reason: answer.to_string(),
        })
    }
}

impl std::fmt::Display for Answer {
    /// Status and the beginning of the body: one that names hundreds of entities is no help on a screen.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.body.to_string().chars().take(300).collect();
        write!(out, "{} {body}", self.status)
    }
}

async fn exchange(
    address: SocketAddr,
    method: &Method,
    path: &str,
    body: Option<&Value>,
) -> std::result::Result<Answer, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|problem| format!("no connection to {address}: {problem}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| why(&error))?;
    // It ends with the sender, at the end of this function.
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONNECTION, "close");
    if body.is_some() {
        request = request.header(http::header::CONTENT_TYPE, "application/json");
    }
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let request = request
        .body(Full::new(bytes))
        .map_err(|problem| problem.to_string())?;
    let answered = async {
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(|error| why(&error))?
            .into_parts();
        let bytes = body.collect().await.map_err(|error| why(&error))?.to_bytes();
        Ok::<_, String>((head, bytes))
    };
    let answered = answered.await;
    connection.abort();
    let (head, bytes) = answered?;
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).map_err(|problem| format!("the answer is not JSON: {problem}"))?
    };
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// An error with what is behind it: hyper's own words are "connection error" only.
fn why(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
