//! The command line.

use clap::{Args, Parser, Subcommand};
use std::num::NonZeroU16;
use std::path::PathBuf;
use url::Url;

/// The command line of a city's platform.
#[derive(Debug, Parser)]
#[command(name = "mimctl", version)]
pub struct Arguments {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Entities of an NGSI-LD broker, as a file.
    #[command(subcommand)]
    Broker(BrokerCommand),
}

/// The commands for brokers.
#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// Write all entities of a tenant to a file, one a line. Run again after an interruption, it goes on.
    Export(ExportArguments),
    /// Write the entities of a file, one a line, into a tenant. Run again after an interruption, it goes on.
    Import(ImportArguments),
}

/// Which broker, and how it is reached.
#[derive(Args, Clone, Debug)]
pub struct BrokerArguments {
    /// The broker, as https://broker.example; /ngsi-ld/v1 is added where it is missing.
    #[arg(long, env = "MIMCTL_URL")]
    pub url: Url,
    /// The tenant; the default one where absent.
    #[arg(long, env = "MIMCTL_TENANT")]
    pub tenant: Option<String>,
    /// PEM certificates of the authorities to trust instead of the system's.
    #[arg(long, env = "MIMCTL_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// A file with the bearer token, read anew for every request. Without it, the variable MIMCTL_TOKEN.
    #[arg(long, env = "MIMCTL_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// How many seconds to wait for a broker that is away or busy, before giving up.
    #[arg(long, default_value = "300")]
    pub patience: u64,
    /// How many seconds one answer may take.
    #[arg(long, default_value = "60")]
    pub timeout: u64,
}

/// Arguments of `mimctl broker export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArguments {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerArguments,
    /// How many entities are asked for at once; fewer where the broker or their size asks for it.
    #[arg(long, default_value = "500")]
    pub page: NonZeroU16,
    /// Names as in this @context; each line then carries it. Without it names are written in full, and lines need none.
    #[arg(long)]
    pub context: Option<Url>,
    /// Write createdAt and modifiedAt too. Brokers ignore them when the file is imported.
    #[arg(long)]
    pub sys_attrs: bool,
    /// Forget an export that was interrupted, and begin anew.
    #[arg(long)]
    pub restart: bool,
    /// The file to write. It is there once it is whole; until then there is the same with .part and .state.
    pub file: PathBuf,
}

/// Arguments of `mimctl broker import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArguments {
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerArguments,
    /// How many entities are sent at once; fewer where their size asks for it.
    #[arg(long, default_value = "100")]
    pub batch: NonZeroU16,
    /// Keep attributes of entities that the file does not have, instead of replacing entities whole.
    #[arg(long)]
    pub update: bool,
    /// Where rejected entities go; by default the file with .rejects.
    #[arg(long)]
    pub rejects: Option<PathBuf>,
    /// Where it is kept how far the import is; by default the file with .import.
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// Forget an import that was interrupted, and begin anew.
    #[arg(long)]
    pub restart: bool,
    /// The file to read.
    pub file: PathBuf,
}
