//! A receiver of notifications that says yes, no, or nothing.

use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

/// Answers every POST with one status, but for what it refuses; 0 is no answer at all.
pub struct Receiver {
    pub address: SocketAddr,
    status: Arc<AtomicU16>,
    refused: Arc<Mutex<Option<String>>>,
    millis: Arc<AtomicU64>,
    received: Arc<Mutex<Vec<Received>>>,
    connected: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    is_tls: bool,
    task: tokio::task::JoinHandle<()>,
}

/// One POST, taken or not.
#[derive(Clone, Debug)]
pub struct Received {
    pub status: u16,
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), None)
    }

    /// One that is down until it comes.
    pub fn absent() -> Absent {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Absent(socket)
    }

    /// By TLS.
    pub async fn start_tls(tls: TlsAcceptor) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), Some(tls))
    }

    fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let address = listener.local_addr().unwrap();
        let (status, received) = (Arc::new(AtomicU16::new(204)), Arc::new(Mutex::new(Vec::new())));
        let (answer, log) = (Arc::clone(&status), Arc::clone(&received));
        let refused = Arc::<Mutex<Option<String>>>::default();
        let unwanted = Arc::clone(&refused);
        let millis = Arc::<AtomicU64>::default();
        let takes = Arc::clone(&millis);
        let (connected, is_tls) = (Arc::<AtomicUsize>::default(), tls.is_some());
        let connections = Arc::clone(&connected);
        let under_way = Arc::<AtomicUsize>::default();
        let calls = Arc::clone(&under_way);
        let elsewhere: Arc<str> = format!("http://{address}/elsewhere").into();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                let (elsewhere, takes) = (Arc::clone(&elsewhere), Arc::clone(&takes));
                let (calls, unwanted) = (Arc::clone(&calls), Arc::clone(&unwanted));
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                    let (elsewhere, takes) = (Arc::clone(&elsewhere), Arc::clone(&takes));
                    let (call, unwanted) = (Call::begin(&calls), Arc::clone(&unwanted));
                    async move {
                        let _call = call;
                        let (head, body) = request.into_parts();
                        let body = body
                            .collect()
                            .await
                            .map(http_body_util::Collected::to_bytes)
                            .unwrap_or_default();
                        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
                        let is_refused = unwanted.lock().unwrap().as_ref().is_some_and(|id| has(&body, id));
                        let status = if is_refused {
                            500
                        } else {
                            answer.load(Ordering::SeqCst)
                        };
                        log.lock().unwrap().push(Received {
                            status,
                            path: head.uri.path().to_owned(),
                            headers: head.headers,
                            body,
                        });
                        tokio::time::sleep(Duration::from_millis(takes.load(Ordering::SeqCst))).await;
                        if status == 0 {
                            std::future::pending::<()>().await;
                        }
                        let mut response = http::Response::new(Full::<bytes::Bytes>::default());
                        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                        if response.status().is_redirection() {
                            response
                                .headers_mut()
                                .insert("location", elsewhere.parse().unwrap());
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                let (tls, connected) = (tls.clone(), Arc::clone(&connections));
                tokio::spawn(async move {
                    connected.fetch_add(1, Ordering::SeqCst);
                    let http = hyper::server::conn::http1::Builder::new();
                    if let Some(tls) = tls {
                        if let Ok(stream) = tls.accept(stream).await {
                            let _ = http.serve_connection(TokioIo::new(stream), service).await;
                        }
                    } else {
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        Self {
            address,
            status,
            refused,
            millis,
            received,
            connected,
            under_way,
            is_tls,
            task,
        }
    }

    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}/notify", self.address)
    }

    /// How many connections were made to it so far.
    pub fn connections(&self) -> usize {
        self.connected.load(Ordering::SeqCst)
    }

    /// How many calls it has not answered whose callers still wait.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// What is answered from now on.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// From now on what tells of this entity is answered 500, whatever else is.
    pub fn refuses(&self, id: &str) {
        *self.refused.lock().unwrap() = Some(id.to_owned());
    }

    /// How long every answer takes from now on.
    pub fn takes(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.millis.store(millis, Ordering::SeqCst);
    }

    /// Everything that came, taken or not.
    pub fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The entities of what was taken, in order.
    pub fn taken(&self) -> Vec<Value> {
        let all = self.all().into_iter().filter(|r| (200..300).contains(&r.status));
        all.flat_map(|r| r.body["data"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// Waits until so many entities were taken, and returns them.
    pub async fn until(&self, count: usize) -> Vec<Value> {
        super::eventually(30, &format!("{count} notifications were taken"), async || {
            self.taken().len() >= count
        })
        .await;
        self.taken()
    }
}

fn has(body: &Value, id: &str) -> bool {
    let entities = body["data"].as_array();
    entities.is_some_and(|entities| entities.iter().any(|entity| entity["id"] == id))
}

/// A call, until it is answered or its caller has left.
struct Call(Arc<AtomicUsize>);

impl Call {
    fn begin(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(calls))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A receiver that is down: connections are refused, and nobody else gets its address meanwhile.
pub struct Absent(TcpSocket);

impl Absent {
    pub fn url(&self) -> String {
        format!("http://{}/notify", self.0.local_addr().unwrap())
    }

    /// It is there from now on.
    pub fn comes(self) -> Receiver {
        Receiver::serve(self.0.listen(1024).unwrap(), None)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}
