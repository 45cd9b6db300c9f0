//! `mimctl`.

use clap::Parser as _;
use mim_cli::arguments::{Arguments, BrokerCommand, Command};
use mim_cli::broker::{export, import};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Command::Broker(command) = Arguments::parse().command;
    let ended = match command {
        BrokerCommand::Export(wanted) => export::run(&wanted).await,
        BrokerCommand::Import(wanted) => import::run(&wanted).await,
    };
    match ended {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(failure) => {
            eprintln!("mimctl: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
