//! Listening: bounded connections, bounded time for heads, and an end that loses no request.

use crate::api::admin::Administrator;
use crate::api::identity::Gateway;
use crate::server::gateway::{self, Guest, Keys};
use crate::server::metrics::Metrics;
use crate::server::stall::Stalling;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, HeaderValue};
use http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How many clients may be connected; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 2048;
/// How long a connection may be idle, or take to send a head.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// How long whoever came to a guarded door and is not whom it is for may take to send the head of the one request that is answered.
const STRANGERS_TIME: Duration = Duration::from_secs(5);
/// The longest head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// How long a client may take over an answer, and how many bytes of it must be taken each second beyond that: 32 MiB, the largest that
/// is in memory as a whole, within 158 s. Large answers take memory from others. One that is sent in parts has about as long, however
/// large it is ([`crate::api::parts`]).
const STALL: Duration = Duration::from_secs(30);
const SLOWEST: usize = 256 * 1024;
/// How long open requests have to end.
const END: Duration = Duration::from_secs(20);

/// Answers requests.
pub trait Serve: Clone + Send + Sync + 'static {
    /// One request, one answer.
    fn serve(&self, request: Request<Body>) -> impl Future<Output = Response> + Send;
}

impl Serve for crate::api::front::Front {
    async fn serve(&self, request: Request<Body>) -> Response {
        self.answer(request).await
    }
}

impl Serve for crate::api::admin::Admin {
    async fn serve(&self, request: Request<Body>) -> Response {
        self.answer(request).await
    }
}

impl Serve for axum::Router {
    async fn serve(&self, request: Request<Body>) -> Response {
        let answered: Result<Response, Infallible> = tower::ServiceExt::oneshot(self.clone(), request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

/// Whether a request came from the machine it arrived at, which in a pod is a container of the same pod. An extension of
/// every request.
#[derive(Clone, Copy, Debug)]
pub struct FromHere(pub bool);

impl FromHere {
    /// A connection from another machine, and one from the node itself, has another address at its other end.
    fn of(stream: &TcpStream) -> Self {
        match (stream.peer_addr(), stream.local_addr()) {
            (Ok(peer), Ok(local)) => Self(peer.ip() == local.ip()),
            _ => Self(false),
        }
    }
}

/// Where a listener is on its way out.
#[derive(Clone)]
pub struct Ending {
    /// Answers ask clients to close their connections, so that their next request goes elsewhere.
    pub leaving: Arc<AtomicBool>,
    /// No new connection is taken, and open requests end.
    pub stop: watch::Receiver<bool>,
}

/// Who may come in.
#[derive(Clone)]
pub enum Door {
    /// Whoever reaches the port.
    Open,
    /// Whoever speaks TLS; requests are marked by whether the certificate of this guest was shown, as the keys say at this moment.
    Guarded(Guest, watch::Receiver<Option<Arc<Keys>>>),
}

/// Serves until told to stop; then lets open requests end, and returns.
pub async fn serve(
    listener: TcpListener,
    door: Door,
    service: impl Serve,
    metrics: Arc<Metrics>,
    mut ending: Ending,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping(&mut ending.stop) => break,
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        let (service, ending, counted) = (service.clone(), ending.clone(), metrics.client());
        let (door, metrics) = (door.clone(), Arc::clone(&metrics));
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let from_here = FromHere::of(&stream);
            match door {
                Door::Open => {
                    let mark = move |extensions: &mut Extensions| {
                        extensions.insert(from_here);
                    };
                    connection(stream, true, mark, service, ending).await;
                }
                Door::Guarded(guest, keys) => {
                    if let Some((stream, who)) = gateway::met(guest, stream, &keys, &metrics).await {
                        let mark = move |extensions: &mut Extensions| {
                            extensions.insert(from_here);
                            match guest {
                                Guest::Gateway => drop(extensions.insert(Gateway(who))),
                                Guest::Administrators => drop(extensions.insert(Administrator(who))),
                            }
                        };
                        connection(stream, who.is_ok(), mark, service, ending).await;
                    }
                }
            }
            drop((permit, counted));
        });
    }
    drop(listener);
    let ended = tokio::time::timeout(END, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(
            open = connections.len(),
            "requests that did not end in time are cut off"
        );
    }
}

async fn stopping(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to stop it.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of file descriptors, mostly: others must end first.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Answers what comes over one connection. Each request is marked by whom it comes from.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_welcome: bool,
    mark: impl Fn(&mut Extensions) + Clone + Send + 'static,
    service: impl Serve,
    mut ending: Ending,
) {
    let leaving = Arc::clone(&ending.leaving);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        mark(request.extensions_mut());
        let (service, leaving) = (service.clone(), Arc::clone(&leaving));
        async move {
            let mut response = service.serve(request.map(Body::new)).await;
            if leaving.load(Ordering::Relaxed) {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .keep_alive(is_welcome)
        .header_read_timeout(if is_welcome { HEAD_TIME } else { STRANGERS_TIME })
        .max_buf_size(MAX_HEAD)
        .title_case_headers(true);
    let serving = builder.serve_connection(TokioIo::new(Stalling::new(stream, STALL, SLOWEST)), answer);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = stopping(&mut ending.stop) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        serving.as_mut().graceful_shutdown();
        serving.await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}
