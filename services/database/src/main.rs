//! Entry point: arguments, log, exit code and termination message.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mim_database::{Config, Error, initialise, probe, run};
use tokio::signal::unix::{SignalKind, signal};

/// Looks after the PostgreSQL server of one context broker.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the data folder on an empty volume, or check what is there
    Initialise,
    /// Start PostgreSQL and look after it until it ends
    Run,
    /// Ask the database one question; exit 1 and one sentence when it has no answer
    Probe,
}

fn main() -> ExitCode {
    // A panic ends the program, and the pod starts it again: a task that had died alone would be missed by nobody.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start: {error}")),
    };
    let config = &arguments.config;
    match arguments.command {
        Command::Initialise => {
            let code = runtime.block_on(initialise_unless_asked_to_end(config));
            // Not waited for: an initdb that was given up.
            runtime.shutdown_background();
            code
        }
        Command::Run => match runtime.block_on(run::run(config)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => leave_message(config, &error),
        },
        Command::Probe => match runtime.block_on(probe::probe(config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error.to_string()),
        },
    }
}

/// The first process of a container has no default reaction to SIGTERM: without this one a pod that is deleted while
/// it initialises would stay for its whole grace period.
async fn initialise_unless_asked_to_end(config: &Config) -> ExitCode {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(source) => {
            return leave_message(
                config,
                &Error::System {
                    action: "register for signals",
                    source,
                },
            );
        }
    };
    tokio::select! {
        code = initialise_with_message(config) => code,
        _ = terminate.recv() => {
            tracing::info!("asked to end: the volume is left for the next start");
            ExitCode::from(143)
        }
    }
}

async fn initialise_with_message(config: &Config) -> ExitCode {
    let done = match initialise::initialise(config).await {
        Ok(identifier) => {
            tracing::info!(identifier, "the volume holds the database");
            std::fs::write(&config.termination_log, initialise::message(&identifier)).map_err(Error::file(
                "write the termination message to",
                &config.termination_log,
            ))
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => leave_message(config, &error),
    }
}

/// The sentence goes to the termination message, where the operator reads it, and to stderr.
fn leave_message(config: &Config, error: &Error) -> ExitCode {
    let sentence = error.to_string();
    if let Err(error) = std::fs::write(&config.termination_log, &sentence) {
        tracing::warn!(
            "cannot write the termination message to {}: {error}",
            config.termination_log.display()
        );
    }
    refuse(&sentence)
}

#[expect(
    clippy::print_stderr,
    reason = "the kubelet shows what a probe prints; a log line would add time and level"
)]
fn refuse(sentence: &str) -> ExitCode {
    eprintln!("{sentence}");
    ExitCode::FAILURE
}
