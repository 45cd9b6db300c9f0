//! `mim-lab`: a real single-node Kubernetes from package registries alone.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mim_lab::{Background, Binary, ControlPlane, Error, Node, Options, images, netpol};
use tokio::signal::unix::{SignalKind, signal};

/// A real single-node Kubernetes from package registries alone.
#[derive(Parser)]
#[command(name = "mim-lab", version)]
struct Arguments {
    /// Only etcd, kube-apiserver and kube-controller-manager: no node, no root.
    #[arg(long, global = true)]
    control_plane: bool,
    /// Which control plane, where several run side by side.
    #[arg(long, global = true, default_value = "default", requires = "control_plane")]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the lab and wait until it is ready. Harmless where it is up already.
    Up,
    /// End the lab and leave nothing of it.
    Down,
    /// Show what runs.
    Status,
    /// Load OCI archives into the node; prints the names by digest that pods can use.
    Load {
        /// Archives, as `mim-lab images` writes them.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Print how to set KUBECONFIG: `eval "$(mim-lab env)"`.
    Env,
    /// Run kubectl on the lab.
    Kubectl(Passed),
    /// Run helm on the lab.
    Helm(Passed),
    /// Run kubeconform.
    Kubeconform(Passed),
    /// Build the lab's programs into the cache, and print where each is.
    Binaries {
        /// Only these; all when none is named.
        names: Vec<String>,
    },
    /// Build the images of this repository as OCI archives, with their bills of materials and the release catalogue.
    Images(images::Args),
    /// Hold a control plane until this process ends; its kubeconfig is written to a file when it is ready.
    #[command(hide = true)]
    Hold {
        /// Where to copy the kubeconfig.
        #[arg(long)]
        kubeconfig: PathBuf,
    },
    /// Enforce NetworkPolicies; `up` starts this.
    #[command(hide = true)]
    Netpol {
        /// Who to be.
        #[arg(long)]
        kubeconfig: PathBuf,
    },
    /// Make volumes for claims; `up` starts this.
    #[command(hide = true)]
    Volumes {
        /// Who to be.
        #[arg(long)]
        kubeconfig: PathBuf,
        /// Where volumes are folders.
        #[arg(long)]
        folder: PathBuf,
    },
}

/// Arguments of another program.
#[derive(clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mim-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let background = || Background::new(&arguments.name);
    let kubeconfig = || {
        if arguments.control_plane {
            background()?.kubeconfig()
        } else {
            Node::new().kubeconfig()
        }
    };
    match &arguments.command {
        Command::Up if arguments.control_plane => background()?.up(),
        Command::Up => runtime()?.block_on(Node::new().up()),
        Command::Down if arguments.control_plane => background()?.down(),
        Command::Down => Node::new().down(),
        Command::Status if arguments.control_plane => {
            print(&format!("kubeconfig  {}", kubeconfig()?.display()))
        }
        Command::Status => status(),
        Command::Load { .. } if arguments.control_plane => Err(Error::Refused(
            "a control plane alone has no node that images could be loaded into: leave --control-plane out"
                .to_owned(),
        )),
        Command::Load { archives } => Node::new()
            .load(archives)?
            .iter()
            .try_for_each(|name| print(name)),
        Command::Env => print(&format!("export KUBECONFIG={}", kubeconfig()?.display())),
        Command::Kubectl(passed) => become_program(Binary::Kubectl, Some(kubeconfig()?), passed),
        Command::Helm(passed) => become_program(Binary::Helm, kubeconfig().ok(), passed),
        Command::Kubeconform(passed) => become_program(Binary::Kubeconform, None, passed),
        Command::Binaries { names } => mim_lab::binaries(&chosen(names)?)?
            .iter()
            .try_for_each(|(binary, path)| print(&format!("{} {}", binary.name(), path.display()))),
        Command::Images(args) => Ok(images::run(args).map(drop)?),
        Command::Hold { kubeconfig } => runtime()?.block_on(hold(kubeconfig)),
        Command::Netpol { kubeconfig } => runtime()?.block_on(async {
            let options = netpol::Options::new(mim_lab::BRIDGE);
            Ok(netpol::run(client(kubeconfig).await?, options).await?)
        }),
        Command::Volumes { kubeconfig, folder } => runtime()?.block_on(async {
            mim_lab::volumes::run(client(kubeconfig).await?, folder, mim_lab::NODE_NAME).await
        }),
    }
}

/// The programs of these names; all when there is none.
fn chosen(names: &[String]) -> Result<Vec<Binary>, Error> {
    let find = |name: &String| {
        let known = Binary::ALL.into_iter().find(|binary| binary.name() == name);
        let names = || Binary::ALL.map(Binary::name).join(", ");
        known.ok_or_else(|| Error::Refused(format!("there is no program {name:?}; there are {}", names())))
    };
    if names.is_empty() {
        Ok(Binary::ALL.to_vec())
    } else {
        names.iter().map(find).collect()
    }
}

/// Results go to standard output, one a line. A reader that has gone away is no failure of the command.
fn print(line: &str) -> Result<(), Error> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::File {
            action: "write",
            path: "standard output".into(),
            source: error,
        }),
        _ => Ok(()),
    }
}

fn status() -> Result<(), Error> {
    let status = runtime()?.block_on(Node::new().status())?;
    print(&status.to_string())?;
    if status.ready() {
        Ok(())
    } else {
        Err(Error::Refused("the lab is not ready".to_owned()))
    }
}

/// Runs another program in the place of this one: its exit code, its signals, its terminal.
fn become_program(binary: Binary, kubeconfig: Option<PathBuf>, passed: &Passed) -> Result<(), Error> {
    let binaries = mim_lab::binaries(&[binary])?;
    let program = binaries.path(binary)?;
    let mut command = std::process::Command::new(program);
    command.args(&passed.arguments);
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    Err(Error::Run {
        program: program.display().to_string(),
        source: command.exec(),
    })
}

async fn client(kubeconfig: &Path) -> Result<kube::Client, Error> {
    let read = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let config =
        kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
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
