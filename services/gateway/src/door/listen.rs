//! Listening. All workers listen on one socket, and whoever has time takes the next connection.

use super::{Peer, http1, http2, proxy_protocol};
use crate::checks::forwarded;
use crate::identity::shown::Certificate;
use crate::settings::Settings;
use crate::worker::Worker;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// How long a client may take until TLS is spoken.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open requests have to end.
const END: Duration = Duration::from_secs(20);

/// Serves until told to stop; then lets open requests end, and returns. `slots` are shared by all workers: when all are taken, others wait in
/// the kernel's queue.
pub async fn serve(listener: TcpListener, worker: Rc<Worker>, slots: Arc<Semaphore>) {
    let mut stop = worker.ending.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        if let Some((stream, address, permit)) = accepted {
            let worker = Rc::clone(&worker);
            connections.spawn_local(async move {
                let counted = worker.metrics.client();
                connection(stream, address, &worker).await;
                drop((permit, counted));
            });
        }
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

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address.ip().to_canonical(), permit)),
        Err(error) => {
            // Out of file descriptors, mostly: others must end first.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, address: IpAddr, worker: &Rc<Worker>) {
    let settings = Arc::clone(&worker.settings.borrow());
    match tokio::time::timeout(HANDSHAKE, greet(stream, address, &settings)).await {
        Ok(Ok((stream, peer))) => {
            // It may live long, and settings with it.
            drop(settings);
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if is_http2 {
                http2::serve(stream, &Rc::new(peer), worker).await;
            } else {
                http1::serve(stream, &peer, worker).await;
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client did not get as far as TLS");
            worker.metrics.handshake_failed();
        }
        Err(_) => worker.metrics.handshake_failed(),
    }
}

/// Hears who comes, and speaks TLS.
async fn greet(
    mut stream: TcpStream,
    address: IpAddr,
    settings: &Settings,
) -> io::Result<(super::Stream, Peer)> {
    stream.set_nodelay(true)?;
    let config = &settings.config;
    let told = if config.proxy_protocol && forwarded::is_trusted(address, &config.trusted_proxies) {
        proxy_protocol::read(&mut stream).await?
    } else {
        None
    };
    let stream = settings.acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = Peer {
        address: told.unwrap_or(address),
        certificate: shown.map(|certificate| Arc::new(Certificate::of(certificate))),
    };
    Ok((stream, peer))
}
