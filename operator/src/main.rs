//! Arguments, telemetry, client, operator; nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::FutureExt;
use ipnet::IpNet;
use mim_operator::operator::{Fatal, Handle, Operator, Options};
use mim_operator::reconcile::context::Settings;
use mim_operator::reconcile::lease::{LEASE_NAME, Timing};
use mim_operator::reconcile::watch::Scope;
use mim_operator::release::Releases;
use mim_operator::{health, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

/// Kubernetes operator for urban data platforms.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// `namespaced`: the namespaces of --watch-namespaces; `cluster`: all, writing where a RoleBinding onboards the operator.
    #[arg(long, env = "MIM_MODE", value_enum, default_value_t = Mode::Namespaced)]
    mode: Mode,
    /// Namespaces to watch in namespaced mode; absent: the operator's own.
    #[arg(long, env = "MIM_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// The operator's own namespace: of the lease, and where brokers let it in from. Absent: the lease is in `default`.
    #[arg(long, env = "MIM_NAMESPACE")]
    namespace: Option<String>,
    /// Name of the lease: the same for all replicas of one installation.
    #[arg(long, env = "MIM_LEASE", default_value = LEASE_NAME)]
    lease: String,
    /// Name of this process in the lease and in events; absent: the host name and a random part.
    #[arg(long, env = "MIM_POD_NAME", default_value = "mim-operator")]
    identity: String,
    /// The catalogue of operand images.
    #[arg(long, env = "MIM_RELEASES", default_value = "/etc/mim/releases.yaml")]
    releases: PathBuf,
    /// Prefix of every operand image: a private or air-gapped registry.
    #[arg(long, env = "MIM_IMAGE_REGISTRY")]
    image_registry: Option<String>,
    /// Pull secrets of every operand pod, in its own namespace.
    #[arg(long, env = "MIM_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    image_pull_secrets: Vec<String>,
    /// Private ranges that calls to URLs from specs and clients may reach.
    #[arg(long, env = "MIM_ALLOWED_PRIVATE_CIDRS", value_delimiter = ',')]
    allowed_private_cidrs: Vec<IpNet>,
    /// Lifetime of database certificates in hours; they are renewed at two thirds of it. Absent: 90 days.
    #[arg(long, env = "MIM_CERTIFICATE_HOURS")]
    certificate_hours: Option<u64>,
    /// Whether replicas elect a leader. Off only where somebody else sees to it that there is one process.
    #[arg(long, env = "MIM_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    leader_election: bool,
    /// Passes at the same time, per kind.
    #[arg(long, env = "MIM_CONCURRENCY", default_value_t = 32)]
    concurrency: u16,
    /// Address of `/healthz` and `/readyz`.
    #[arg(long, env = "MIM_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    health_listen: SocketAddr,
    /// Address of `/metrics`.
    #[arg(long, env = "MIM_METRICS_LISTEN", default_value = "0.0.0.0:8080")]
    metrics_listen: SocketAddr,
    /// Form of the logs.
    #[arg(long, env = "MIM_LOG_FORMAT", default_value = "json")]
    log_format: telemetry::Format,
    /// What is logged, as `info` or `mim_operator=debug`.
    #[arg(long, env = "MIM_LOG")]
    log: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Namespaced,
    Cluster,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(problem) = telemetry::init(args.log_format, args.log.as_deref()) {
        eprintln!("mim-operator: {problem}");
        return ExitCode::from(2);
    }
    // One thread is enough: of a thousand new brokers the API server has seven times the operator's work (`make bench ONLY=operator`).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(args));
            // A name that is being looked up holds up nobody.
            runtime.shutdown_background();
            ended
        }
        Err(problem) => Err(format!("the runtime does not start: {problem}")),
    };
    match ended {
        Ok(()) => {
            info!("the operator has ended as it was told");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            error!(problem, "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        return Err("a second TLS provider is in this process".to_owned());
    }
    let releases =
        Releases::load(&args.releases, args.image_registry.as_deref()).map_err(|e| e.to_string())?;
    let config = kube::Config::infer().await.map_err(|problem| {
        format!("no way to an API server: {problem}; run in a pod with a service account, or set KUBECONFIG")
    })?;
    let terminated = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let interrupted = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    let (health, metrics) = (args.health_listen, args.metrics_listen);
    let operator = Operator::new(options(args, releases), config, None).map_err(|e| e.to_string())?;
    let handle = operator.handle();
    let serving = serve(&handle, health, metrics);
    tokio::select! {
        ended = operator.run(stopped(terminated, interrupted)) => ended.map_err(|fatal: Fatal| fatal.to_string()),
        ended = serving => ended,
        () = resync_on(hangup, &handle) => Ok(()),
    }
}

/// Health and metrics, each on its own port: who may scrape need not see the other.
async fn serve(handle: &Handle, health_at: SocketAddr, metrics_at: SocketAddr) -> Result<(), String> {
    let bind = async |at: SocketAddr| {
        TcpListener::bind(at)
            .await
            .map_err(|problem| format!("{at} cannot be listened on: {problem}"))
    };
    let (for_health, for_metrics) = (bind(health_at).await?, bind(metrics_at).await?);
    let health = health::serve(for_health, handle.health.router(), std::future::pending());
    let metrics = health::serve(for_metrics, handle.metrics.router(), std::future::pending());
    futures::future::try_join(health, metrics)
        .await
        .map(|_| ())
        .map_err(|problem| format!("health and metrics cannot be served: {problem}"))
}

fn options(args: Args, releases: Releases) -> Options {
    let own = args.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let scope = match args.mode {
        Mode::Cluster => Scope::Cluster,
        Mode::Namespaced if args.watch_namespaces.is_empty() => Scope::Namespaces(vec![own.clone()]),
        Mode::Namespaced => Scope::Namespaces(args.watch_namespaces),
    };
    // The pod's name alone is the same after a restart of the container.
    let identity = format!("{}-{:08x}", args.identity, rand::random::<u32>());
    let mut options = Options::new(scope, &own, &identity, releases);
    options.lease = args.lease;
    options.election = args.leader_election.then(Timing::default);
    options.concurrency = args.concurrency;
    options.settings = Settings {
        namespace: args.namespace,
        pull_secrets: args.image_pull_secrets,
        allowed_private_cidrs: args.allowed_private_cidrs,
        forbidden_cidrs: mim_egress::api_server_of_this_pod(),
        certificate_lifetime: args
            .certificate_hours
            .map(|hours| Duration::from_secs(hours * 3600)),
    };
    options
}

/// SIGTERM or SIGINT.
async fn stopped(mut terminated: Signal, mut interrupted: Signal) {
    futures::future::select(terminated.recv().boxed(), interrupted.recv().boxed()).await;
    info!("told to stop");
}

/// SIGHUP: every object is looked at again.
async fn resync_on(mut hangup: Signal, handle: &Handle) {
    while hangup.recv().await.is_some() {
        info!("told to look at every object again");
        handle.resync();
    }
    std::future::pending::<()>().await;
}
