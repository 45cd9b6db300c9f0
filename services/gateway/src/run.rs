//! `mim-gateway run`: from the start to the end.

use crate::audit::Audit;
use crate::door::listen;
use crate::health::{self, Health};
use crate::identity::Memory;
use crate::identity::dpop::Proofs;
use crate::identity::tokens::Tokens;
use crate::limits::Rates;
use crate::metrics::Metrics;
use crate::policy::Kept;
use crate::settings::{LOOK, Loader, Places, Settings};
use crate::upstream::Upstream;
use crate::worker::{Ending, Worker};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::LocalSet;

/// How many connections wait in the kernel's queue.
const BACKLOG: i32 = 1024;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Where health is asked.
    pub health_listen: SocketAddr,
    /// Where the files are.
    pub places: Places,
    /// How many threads answer requests.
    pub workers: NonZeroUsize,
    /// How many clients may be connected.
    pub connections: usize,
    /// How long new connections are still taken after SIGTERM.
    pub drain_delay: Duration,
    /// Whether calls may reach this machine: for tests with servers on it, never in a cluster.
    pub loopback_for_tests: bool,
}

/// What all threads share.
#[derive(Clone)]
struct Shared {
    settings: watch::Receiver<Arc<Settings>>,
    audit: Arc<Audit>,
    metrics: Arc<Metrics>,
    rates: Arc<Rates>,
    proofs: Arc<Proofs>,
    ending: Ending,
    slots: Arc<Semaphore>,
}

/// Runs until SIGTERM or SIGINT. An error means that it could not start.
pub async fn run(options: Options) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut terminate = signal(SignalKind::terminate()).map_err(text)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(text)?;
    let listener = bind(options.listen)?;
    let health_listener = bind(options.health_listen)?;
    let (stop, stopped) = watch::channel(false);
    let ending = Ending {
        leaving: Arc::default(),
        stop: stopped,
    };
    let (metrics, audit, serving) = (
        Arc::<Metrics>::default(),
        Arc::<Audit>::default(),
        Arc::<OnceLock<_>>::default(),
    );
    let (trouble_tx, trouble) = watch::channel(None);
    let writing = audit
        .write_to(std::io::stdout(), Arc::clone(&metrics))
        .map_err(text)?;
    tokio::spawn(tell_health(
        health_listener,
        Health {
            serving: Arc::clone(&serving),
            trouble,
            leaving: Arc::clone(&ending.leaving),
            metrics: Arc::clone(&metrics),
        },
    ));
    let loader = Loader::new(options.places.clone(), options.loopback_for_tests)?;
    let first = tokio::select! {
        first = first(&loader, &trouble_tx) => first,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let (settings_tx, settings) = watch::channel(Arc::new(first));
    let served = settings.clone();
    tokio::spawn(loader.follow(settings_tx, trouble_tx));
    let workers = start(
        &listener,
        options.workers,
        &Shared {
            settings,
            audit: Arc::clone(&audit),
            metrics,
            rates: Arc::default(),
            proofs: Arc::default(),
            ending: ending.clone(),
            slots: Arc::new(Semaphore::new(options.connections)),
        },
    )
    .map_err(text)?;
    // The kernel refuses whoever comes when the workers have closed theirs.
    drop(listener);
    let _ = serving.set(served);

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down: open requests end, new ones go elsewhere");
    ending.leaving.store(true, Ordering::Relaxed);
    tokio::time::sleep(options.drain_delay).await;
    stop.send_replace(true);
    let ended =
        tokio::task::spawn_blocking(move || workers.into_iter().all(|worker| worker.join().is_ok())).await;
    audit.end();
    let _ = tokio::task::spawn_blocking(move || writing.join()).await;
    match ended {
        Ok(true) => Ok(()),
        _ => Err("a worker ended in a panic".to_owned()),
    }
}

/// The first settings that can be used; until then the gateway is not ready.
async fn first(loader: &Loader, trouble: &watch::Sender<Option<String>>) -> Settings {
    loop {
        match loader.load().await {
            Ok(settings) => {
                trouble.send_replace(None);
                return settings;
            }
            Err(why) => {
                if trouble.borrow().as_ref() != Some(&why) {
                    tracing::warn!(%why, "the settings cannot be used, and there are none from before");
                    trouble.send_replace(Some(why));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Starts the workers, each with a runtime of its own.
fn start(
    listener: &TcpListener,
    workers: NonZeroUsize,
    shared: &Shared,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    (0..workers.get())
        .map(|number| {
            let (listener, shared) = (listener.try_clone()?, shared.clone());
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    LocalSet::new().block_on(&runtime, work(listener, shared));
                })
        })
        .collect()
}

async fn work(listener: TcpListener, shared: Shared) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a worker cannot listen");
            return;
        }
    };
    let worker = Rc::new(Worker {
        settings: shared.settings,
        upstream: Rc::<Upstream>::default(),
        known: Memory {
            tokens: Tokens::default(),
            proofs: shared.proofs,
        },
        permissions: Kept::default(),
        audit: shared.audit,
        metrics: shared.metrics,
        rates: shared.rates,
        ending: shared.ending,
    });
    listen::serve(listener, worker, shared.slots).await;
}

/// Health has an end of its own that never comes: it answers as long as the process is there.
async fn tell_health(listener: TcpListener, health: Health) {
    let served = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => axum::serve(listener, health::router(health)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::error!(%error, "the health port is closed");
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = || {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let at = listener.local_addr()?;
        Ok((listener, at))
    };
    let (listener, at) =
        bound().map_err(|error: std::io::Error| format!("cannot listen on {address}: {error}"))?;
    tracing::info!(%at, "listening");
    Ok(listener)
}
