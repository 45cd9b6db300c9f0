//! The gateway's command line.

use clap::{Args, Parser, Subcommand};
use mim_gateway::run::{self, Options};
use mim_gateway::settings::Places;
use mim_process::log::{self, LogFormat};
use mim_process::probe;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The gateway in front of the context broker.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Run(Box<RunArguments>),
    /// Ask the gateway on this machine whether it is ready; exit 1 and say why when it is not.
    Probe {
        /// Where its health port listens.
        #[arg(long, env = "MIM_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
        health_listen: SocketAddr,
    },
}

#[derive(Args)]
struct RunArguments {
    /// Where clients come in, by TLS.
    #[arg(long, env = "MIM_LISTEN", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where /livez, /readyz and /metrics listen.
    #[arg(long, env = "MIM_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    health_listen: SocketAddr,
    /// The configuration file; followed as it changes.
    #[arg(long, env = "MIM_CONFIG", default_value = "/etc/mim/gateway/gateway.yaml")]
    config: PathBuf,
    /// Folder with tls.crt and tls.key for clients, and client-ca.crt where clients show certificates; followed as they change.
    #[arg(long, env = "MIM_TLS", default_value = "/etc/mim/tls")]
    tls: PathBuf,
    /// Folder with tls.crt, tls.key and ca.crt for the broker; followed as they change.
    #[arg(long, env = "MIM_UPSTREAM_TLS", default_value = "/etc/mim/upstream-tls")]
    upstream_tls: PathBuf,
    /// Folder with certificates of the authorities of issuers; followed as they change.
    #[arg(long, env = "MIM_IDENTITY", default_value = "/etc/mim/identity")]
    identity: PathBuf,
    /// Folder with the bundle of rules; followed as it changes.
    #[arg(long, env = "MIM_BUNDLE", default_value = "/etc/mim/bundle")]
    bundle: PathBuf,
    /// Threads that answer requests; absent: as many as there are processors.
    #[arg(long, env = "MIM_WORKERS")]
    workers: Option<NonZeroUsize>,
    /// Clients that may be connected at the same time; others wait.
    #[arg(long, env = "MIM_CONNECTIONS", default_value = "4096")]
    connections: u16,
    /// Seconds in which new connections are still served after SIGTERM.
    #[arg(long, env = "MIM_DRAIN_DELAY", default_value = "3")]
    drain_delay: u64,
    /// Calls to URLs of the configuration may reach this machine: for tests with servers on it.
    #[arg(long, hide = true)]
    loopback_for_tests: bool,
    /// How logs are written, to stderr; stdout has the audit trail.
    #[arg(long, env = "MIM_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    mim_process::abort_on_panic();
    match Arguments::parse().command {
        Command::Probe { health_listen } => probe::run(health_listen, "the gateway").await,
        Command::Run(arguments) => {
            log::start(arguments.log_format);
            match run::run(options(*arguments)).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(%error, "the gateway cannot run");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn options(arguments: RunArguments) -> Options {
    let processors = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Options {
        listen: arguments.listen,
        health_listen: arguments.health_listen,
        places: Places {
            config: arguments.config,
            tls: arguments.tls,
            upstream_tls: arguments.upstream_tls,
            identity: arguments.identity,
            bundle: arguments.bundle,
        },
        workers: arguments.workers.unwrap_or_else(processors),
        connections: usize::from(arguments.connections),
        drain_delay: Duration::from_secs(arguments.drain_delay),
        loopback_for_tests: arguments.loopback_for_tests,
    }
}
