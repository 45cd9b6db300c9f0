//! A broker of the test's own: it remembers what it was asked, as a reader that is not ours read it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub target: String,
    pub fields: HeaderMap,
    pub body: Bytes,
}

/// How it answers.
pub type Answers = Arc<dyn Fn(&Asked) -> Response<Full<Bytes>> + Send + Sync>;

/// The broker. It ends with the value.
pub struct Upstream {
    pub at: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    pub connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// One that answers all with 200 and what it was sent.
    pub async fn echo() -> Self {
        Self::start(
            Arc::new(|asked: &Asked| Response::new(Full::new(asked.body.clone()))),
            None,
        )
        .await
    }

    pub async fn start(answers: Answers, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicUsize>::default());
        let (remembered, counted) = (Arc::clone(&asked), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let (asked, answers, tls) = (Arc::clone(&remembered), Arc::clone(&answers), tls.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                    async move {
                        let (head, body) = request.into_parts();
                        let one = Asked {
                            method: head.method,
                            target: head.uri.to_string(),
                            fields: head.headers,
                            body: body
                                .collect()
                                .await
                                .map(http_body_util::Collected::to_bytes)
                                .unwrap_or_default(),
                        };
                        let answer = answers(&one);
                        asked.lock().unwrap().push(one);
                        Ok::<_, Infallible>(answer)
                    }
                });
                all.spawn(async move {
                    match tls {
                        None => drop(
                            http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        ),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(
                                    http1::Builder::new()
                                        .serve_connection(TokioIo::new(stream), service)
                                        .await,
                                );
                            }
                        }
                    }
                });
            }
        })
        .abort_handle();
        Self {
            at,
            asked,
            connections,
            task,
        }
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}
