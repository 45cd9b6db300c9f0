//! The broker's command line.

use clap::{Args, Parser, Subcommand};
use mim_broker::server::run::{self, Settings};
use mim_broker::store::settings::Places;
use mim_process::log::{self, LogFormat};
use mim_process::probe;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The native NGSI-LD context broker.
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
    /// Ask the broker on this machine whether it is ready; exit 1 and say why when it is not.
    Probe {
        /// Where its health port listens.
        #[arg(long, env = "MIM_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
        health_listen: SocketAddr,
    },
}

#[derive(Args)]
struct RunArguments {
    /// Where the NGSI-LD API listens.
    #[arg(long, env = "MIM_LISTEN", default_value = "0.0.0.0:1026")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics listen.
    #[arg(long, env = "MIM_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    health_listen: SocketAddr,
    /// The configuration file; followed as it changes.
    #[arg(long, env = "MIM_CONFIG", default_value = "/etc/mim/broker/broker.yaml")]
    config: PathBuf,
    /// Folder of the files that the configuration names as preloaded contexts; followed as they change.
    #[arg(long, env = "MIM_CONTEXTS", default_value = "/etc/mim/contexts")]
    contexts: PathBuf,
    /// Folder with tls.crt, tls.key and ca.crt for the door of the gateway, where the configuration opens it; followed as they
    /// change.
    #[arg(long, env = "MIM_GATEWAY_TLS", default_value = "/etc/mim/gateway-tls")]
    gateway_tls: PathBuf,
    /// Folder with tls.crt, tls.key and ca.crt for the door of administrators, where the configuration opens it; followed as they
    /// change.
    #[arg(long, env = "MIM_ADMIN_TLS", default_value = "/etc/mim/admin-tls")]
    admin_tls: PathBuf,
    /// Folder with a file <schema>.password for each tenant whose data others may read, where the configuration has a contract;
    /// followed as they change.
    #[arg(long, env = "MIM_CONTRACT", default_value = "/etc/mim/contract")]
    contract: PathBuf,
    /// Folder with host, port, dbname, username and password of the database; followed as it changes.
    #[arg(long, env = "MIM_DATABASE", default_value = "/etc/mim/database")]
    database: PathBuf,
    /// CA certificate of the database; the system's trust store where the file is missing.
    #[arg(long, env = "MIM_DATABASE_CA", default_value = "/etc/mim/database-ca/ca.crt")]
    database_ca: PathBuf,
    /// Connections to the database, at most; the configuration file may say another number.
    #[arg(long, env = "MIM_DATABASE_CONNECTIONS", default_value = "10")]
    database_connections: std::num::NonZeroU16,
    /// Seconds in which new connections are still served after SIGTERM.
    #[arg(long, env = "MIM_DRAIN_DELAY", default_value = "3")]
    drain_delay: u64,
    /// Calls to URLs of clients may reach this machine: for tests with servers on it.
    #[arg(long, hide = true)]
    loopback_for_tests: bool,
    /// How logs are written.
    #[arg(long, env = "MIM_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[tokio::main]
async fn main() -> ExitCode {
    mim_process::abort_on_panic();
    match Arguments::parse().command {
        Command::Probe { health_listen } => probe::run(health_listen, "the broker").await,
        Command::Run(arguments) => {
            log::start(arguments.log_format);
            match run::run(settings(*arguments)).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(%error, "the broker cannot run");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn settings(arguments: RunArguments) -> Settings {
    Settings {
        listen: arguments.listen,
        health_listen: arguments.health_listen,
        config: arguments.config,
        contexts: arguments.contexts,
        gateway_tls: arguments.gateway_tls,
        admin_tls: arguments.admin_tls,
        contract: arguments.contract,
        places: Places {
            database: arguments.database,
            ca: arguments.database_ca,
        },
        connections: usize::from(arguments.database_connections.get()),
        drain_delay: Duration::from_secs(arguments.drain_delay),
        loopback_for_tests: arguments.loopback_for_tests,
    }
}
