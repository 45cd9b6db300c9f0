//! Where everything is. The defaults are the contract; flags and environment exist for tests and for odd clusters.

use std::path::PathBuf;

/// Paths and numbers that all commands share.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Folder of the volume; data is in `<volume>/<major>/data`
    #[arg(
        long,
        global = true,
        env = "MIM_VOLUME",
        default_value = "/var/lib/postgresql"
    )]
    pub volume: PathBuf,
    /// Folder of PostgreSQL's programs
    #[arg(
        long,
        global = true,
        env = "MIM_POSTGRES_BIN",
        default_value = "/usr/lib/postgresql/15/bin"
    )]
    pub programs: PathBuf,
    /// Folder with dbname, username and password of the broker's role
    #[arg(
        long,
        global = true,
        env = "MIM_CREDENTIALS",
        default_value = "/etc/mim/database"
    )]
    pub credentials: PathBuf,
    /// Folder with tls.crt and tls.key of the server
    #[arg(long, global = true, env = "MIM_TLS", default_value = "/etc/mim/database-tls")]
    pub tls: PathBuf,
    /// File with the system identifier that the volume must hold; need not exist
    #[arg(
        long,
        global = true,
        env = "MIM_IDENTITY",
        default_value = "/etc/mim/database-identity/system-identifier"
    )]
    pub identity: PathBuf,
    /// File for the container's termination message
    #[arg(
        long,
        global = true,
        env = "MIM_TERMINATION_LOG",
        default_value = "/dev/termination-log"
    )]
    pub termination_log: PathBuf,
    /// Folder for the socket and generated files
    #[arg(long, global = true, env = "MIM_SOCKETS", default_value = "/run/postgresql")]
    pub sockets: PathBuf,
    /// Port of the server
    #[arg(long, global = true, env = "MIM_PORT", default_value_t = 5432)]
    pub port: u16,
    /// Memory limit of the container in bytes; a quarter becomes shared_buffers
    #[arg(long, global = true, env = "MIM_MEMORY_LIMIT")]
    pub memory_limit: Option<u64>,
    /// The pod only proves that it can start: the identity of the data is not compared
    #[arg(long, global = true, env = "MIM_PREFLIGHT", default_value_t = false, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true")]
    pub preflight: bool,
}

impl Config {
    /// The generated host-based authentication file.
    #[must_use]
    pub fn hba_file(&self) -> PathBuf {
        self.sockets.join("pg_hba.conf")
    }

    /// One of PostgreSQL's programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}
