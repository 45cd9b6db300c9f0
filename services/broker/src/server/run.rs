//! `mim-broker run`: a replica from its start to its end.

use crate::api::App;
use crate::api::admin::Admin;
use crate::api::front::Front;
use crate::server::assemble::{assemble, part_of};
use crate::server::config::{self, Config};
use crate::server::gateway::{self, Guest};
use crate::server::health::{self, Health};
use crate::server::listen::{self, Door, Ending};
use crate::store::settings::Places;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where health listens.
    pub health_listen: SocketAddr,
    /// `broker.yaml`.
    pub config: PathBuf,
    /// The folder of preloaded contexts.
    pub contexts: PathBuf,
    /// The folder of certificates for the door of the gateway.
    pub gateway_tls: PathBuf,
    /// The folder of certificates for the door of administrators.
    pub admin_tls: PathBuf,
    /// The folder of passwords of the read-only contract.
    pub contract: PathBuf,
    /// Where the database's settings are.
    pub places: Places,
    /// How many connections to the database.
    pub connections: usize,
    /// How long new connections are still taken after SIGTERM.
    pub drain_delay: Duration,
    /// Whether calls may reach this machine: for tests with receivers on it, never in a cluster.
    pub loopback_for_tests: bool,
}

/// Runs until SIGTERM or SIGINT. An error means that it could not start.
pub async fn run(settings: Settings) -> Result<(), String> {
    let listener = bind(settings.listen).await?;
    let health_listener = bind(settings.health_listen).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;

    let first = config::read(&settings.config).await.map_err(|e| e.to_string())?;
    let (config_tx, config) = watch::channel(first);
    tokio::spawn(config::follow(settings.config.clone(), config_tx));
    let (app, dispatch) = assemble(&settings, &config).await;
    let draining = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = watch::channel(false);
    let ending = Ending {
        leaving: Arc::clone(&draining),
        stop: stopped,
    };
    tokio::spawn(tell_health(health_listener, app.clone(), Arc::clone(&draining)));
    let doors = open_doors(listener, &settings, &config, &app, &ending);

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down: open requests end, new ones go elsewhere");
    draining.store(true, Ordering::Relaxed);
    tokio::time::sleep(settings.drain_delay).await;
    stop.send_replace(true);
    let mut served = Ok(());
    for door in doors {
        served = served.and(door.await.map_err(|e| e.to_string()));
    }
    // What was written until now is told by this replica or the next one, which need not wait for this one's lanes.
    dispatch.leave().await;
    // What is counted and cannot be written now is lost.
    let _ = app.contexts.write_uses().await;
    served
}

/// Health has an end of its own that never comes: it answers as long as the process is there.
async fn tell_health(listener: TcpListener, app: App, draining: Arc<AtomicBool>) {
    let (_never, forever) = watch::channel(false);
    let unending = Ending {
        leaving: Arc::default(),
        stop: forever,
    };
    let health = health::router(Health { app, draining });
    listen::serve(listener, Door::Open, health, Arc::default(), unending).await;
}

/// The ways in: for everybody, for the gateway, for administrators. Each ends when it is told to and has answered what it was asked.
fn open_doors(
    listener: TcpListener,
    settings: &Settings,
    config: &watch::Receiver<Config>,
    app: &App,
    ending: &Ending,
) -> [JoinHandle<()>; 3] {
    let metrics = || Arc::clone(&app.metrics);
    let front = Front::new(app.clone());
    let gateway = gateway::run(
        Guest::Gateway,
        part_of(config.clone(), |config| config.gateway.clone()),
        settings.gateway_tls.clone(),
        front.clone(),
        metrics(),
        ending.clone(),
    );
    let administrators = gateway::run(
        Guest::Administrators,
        part_of(config.clone(), |config| {
            config.admin.clone().map(config::Admin::door)
        }),
        settings.admin_tls.clone(),
        Admin::new(app.clone()),
        metrics(),
        ending.clone(),
    );
    let everybody = listen::serve(listener, Door::Open, front, metrics(), ending.clone());
    [
        tokio::spawn(everybody),
        tokio::spawn(gateway),
        tokio::spawn(administrators),
    ]
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("cannot listen on {address}: {e}"))?;
    let at = listener.local_addr().map_err(|e| e.to_string())?;
    tracing::info!(%at, "listening");
    Ok(listener)
}
