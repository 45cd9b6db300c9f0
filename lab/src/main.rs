//! `mim-lab`: a real single-node Kubernetes from package registries alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mim_lab::{Binary, ControlPlane, Error, Options, images};
use tokio::signal::unix::{SignalKind, signal};

/// A real single-node Kubernetes from package registries alone.
#[derive(Parser)]
#[command(name = "mim-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the lab's programs into the cache, and print where each is.
    Binaries,
    /// Build the images of this repository as OCI archives, with their bills of materials and the release catalogue.
    Images(images::Args),
    /// Hold a control plane until this process ends; its kubeconfig is written to a file when it is ready.
    #[command(hide = true)]
    Hold {
        /// Where to copy the kubeconfig.
        #[arg(long)]
        kubeconfig: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mim-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), Error> {
    match command {
        Command::Binaries => {
            for (binary, path) in mim_lab::binaries(&Binary::ALL)?.iter() {
                println!("{} {}", binary.name(), path.display());
            }
            Ok(())
        }
        Command::Images(args) => Ok(images::run(args).map(drop)?),
        Command::Hold { kubeconfig } => runtime()?.block_on(hold(kubeconfig)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Run {
            program: "the runtime".to_owned(),
            source,
        })
}

async fn hold(kubeconfig: &Path) -> Result<(), Error> {
    let not_watched = |source| Error::Run {
        program: "a signal handler".to_owned(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(not_watched)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(not_watched)?;
    let start = async {
        let options = Options {
            controller_manager: true,
            ..Options::default()
        };
        let control_plane = ControlPlane::start(options).await?;
        // Appears whole: who waits for the file reads it at once.
        let next = kubeconfig.with_extension("next");
        let copied =
            std::fs::copy(control_plane.kubeconfig(), &next).and_then(|_| std::fs::rename(&next, kubeconfig));
        copied.map_err(|source| Error::File {
            action: "write",
            path: kubeconfig.to_owned(),
            source,
        })?;
        Ok::<_, Error>(control_plane)
    };
    let control_plane = tokio::select! {
        started = start => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    tokio::select! {
        _ = terminate.recv() => {},
        _ = interrupt.recv() => {},
    }
    control_plane.stop().await
}
