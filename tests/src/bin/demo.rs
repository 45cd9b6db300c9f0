//! `mim-demo`: one city on a real Kubernetes, from sources to answers. `make demo` runs it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mim_tests::demo::{self, LAB_REGISTRY, Options, install::Images};

/// One city on a real Kubernetes: brings up the lab, installs the operator, applies examples/city.yaml, loads data, asks for it, and takes pods away.
#[derive(Parser)]
#[command(name = "mim-demo")]
struct Arguments {
    /// A context of your kubeconfig to use instead of the lab.
    #[arg(long)]
    context: Option<String>,
    /// Prefix under which the cluster finds the images: a registry to which you pushed what `make images` writes. Absent: lab.local, the one
    /// under which the archives are imported into a node.
    #[arg(long)]
    registry: Option<String>,
    /// Namespace of the city.
    #[arg(long, default_value = "city")]
    namespace: String,
    /// Folder of the images, as `make images` writes it.
    #[arg(long, default_value = "dist/images")]
    images: PathBuf,
    /// Cargo's profile of the programs in the images.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Use the images that are in the folder, whatever the sources are now.
    #[arg(long)]
    as_built: bool,
    /// Seed of the city's entities.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take away what the demo made, instead.
    #[arg(long)]
    down: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let down = arguments.down;
    let options = options(arguments);
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("mim-demo: a second TLS provider is in this process");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) if down => runtime.block_on(demo::remove(&options)),
        Ok(runtime) => runtime.block_on(demo::run(&options)),
        Err(problem) => {
            eprintln!("mim-demo: the runtime does not start: {problem}");
            return ExitCode::FAILURE;
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("mim-demo: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: Arguments) -> Options {
    let folder = std::path::absolute(&arguments.images).unwrap_or(arguments.images);
    Options {
        images: Images {
            folder,
            profile: arguments.profile,
            // A registry has what was pushed, not what could be built now.
            build: !arguments.as_built && arguments.context.is_none(),
            registry: arguments.registry.unwrap_or_else(|| LAB_REGISTRY.to_owned()),
        },
        context: arguments.context,
        namespace: arguments.namespace,
        seed: arguments.seed,
    }
}
