//! Calls of the broker, each sent once. What fails here has failed for a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, LINK};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

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

/// The way to the NGSI-LD API.
pub struct Broker {
    door: Door,
    tenant: Option<String>,
    context: Option<String>,
}

impl Broker {
    /// The broker behind this door.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self {
            door,
            tenant: None,
            context: None,
        }
    }

    /// The broker behind this door, as it is for one tenant.
    #[must_use]
    pub fn of_tenant(door: Door, tenant: &str) -> Self {
        Self {
            door,
            tenant: Some(tenant.to_owned()),
            context: None,
        }
    }

    /// The same, for clients that name things in the JSON-LD context of this URL.
    #[must_use]
    pub fn in_context(self, url: &str) -> Self {
        Self {
            context: Some(url.to_owned()),
            ..self
        }
    }

    /// Sends one request over a connection of its own.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.send_over(&mut None, false, &method, path, body).await
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
        answer.with(status, &method, path)
    }

    fn request(
        &self,
        address: SocketAddr,
        keep: bool,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> std::result::Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address.to_string());
        if !keep {
            request = request.header(CONNECTION, "close");
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("NGSILD-Tenant", tenant);
        }
        if let Some(url) = &self.context {
            let relation = r#"rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json""#;
            request = request.header(LINK, format!("<{url}>; {relation}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        request
            .body(Full::new(bytes))
            .map_err(|problem| problem.to_string())
    }

    /// Sends one request, once: over the connection that is held if it is still open, else over a new one. With `keep` that one is held
    /// afterwards, unless the server asked to close it.
    async fn send_over(
        &self,
        held: &mut Option<Connection>,
        keep: bool,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let failed = |reason: String| Error::NoAnswer {
            request: format!("{method} {path}"),
            reason,
        };
        let exchange = async {
            let mut connection = match Connection::still_open(held.take()).await {
                Some(open) => open,
                None => Connection::open(self.door.address()?).await?,
            };
            let request = self.request(connection.address, keep, method, path, body)?;
            let answer = connection.exchange(request).await?;
            let close = answer
                .headers
                .get(CONNECTION)
                .is_some_and(|value| value == "close");
            if keep && !close {
                *held = Some(connection);
            }
            Ok::<_, String>(answer)
        };
        match tokio::time::timeout(LIMIT, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => Err(failed(format!("no answer within {} s", LIMIT.as_secs()))),
        }
    }
}

/// Somebody who calls the broker again and again, and never sends a request twice.
pub struct Client {
    broker: Arc<Broker>,
    keep: bool,
    held: Option<Connection>,
}

impl Client {
    /// A client that keeps its connection for as long as the server lets it, or makes one per request.
    #[must_use]
    pub fn new(broker: &Arc<Broker>, keep: bool) -> Self {
        Self {
            broker: Arc::clone(broker),
            keep,
            held: None,
        }
    }

    /// Sends one request, to which only this status is right.
    pub async fn expect(
        &mut self,
        status: StatusCode,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let (held, keep) = (&mut self.held, self.keep);
        let answer = self.broker.send_over(held, keep, &method, path, body).await?;
        answer.with(status, &method, path)
    }
}

/// One connection; it ends with the value.
struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(address: SocketAddr) -> std::result::Result<Self, String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|problem| format!("no connection to {address}: {problem}"))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| why(&error))?;
        Ok(Self {
            address,
            sender,
            driver: tokio::spawn(connection),
        })
    }

    /// The connection, unless the server has closed it meanwhile.
    async fn still_open(held: Option<Self>) -> Option<Self> {
        let mut held = held?;
        held.sender.ready().await.ok()?;
        Some(held)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> std::result::Result<Answer, String> {
        let answer = self.sender.send_request(request).await;
        let (head, body) = answer.map_err(|error| why(&error))?.into_parts();
        let bytes = body.collect().await.map_err(|error| why(&error))?.to_bytes();
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
}

impl Answer {
    fn with(self, status: StatusCode, method: &Method, path: &str) -> Result<Self> {
        if self.status == status {
            return Ok(self);
        }
        Err(Error::NoAnswer {
            request: format!("{method} {path}"),
            reason: self.to_string(),
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
