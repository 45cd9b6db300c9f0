//! The broker as a city's cluster runs it: the release binary, a process of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use super::postgres::Database;
use crate::error::Error;
use crate::process::{Measured, Memory, free_address, get, wait_until};

/// How long it may take until it is ready.
const START: Duration = Duration::from_mins(1);

/// How a replica is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its tenants beside the default one.
    pub tenants: Vec<String>,
    /// What they may have, as the configuration has it.
    pub quotas: &'static str,
    /// Whether the past is kept.
    pub keeps_past: bool,
    /// Connections to the database.
    pub connections: usize,
}

impl Setup {
    fn yaml(&self) -> String {
        format!(
            "tenants: [{}]\nquotas: {}\ntemporal: {{mode: {}}}\n",
            self.tenants.join(", "),
            self.quotas,
            if self.keeps_past { "Enabled" } else { "Disabled" }
        )
    }
}

/// A running replica.
pub struct Replica {
    process: Measured,
    api: SocketAddr,
    config: tempfile::TempDir,
    /// Seconds from the start of the process until `/readyz` said so.
    pub ready_after: f64,
}

impl Replica {
    /// Starts the program and waits until it is ready.
    pub async fn start(program: &Path, database: &Database, setup: &Setup) -> Result<Self, Error> {
        let config = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let file = config.path().join("broker.yaml");
        fs::write(&file, setup.yaml()).map_err(Error::file(&file))?;
        let (api, health) = (free_address().await?, free_address().await?);
        let mut command = Command::new(program);
        command
            .arg("run")
            .args([
                "--listen",
                &api.to_string(),
                "--health-listen",
                &health.to_string(),
            ])
            .args(["--drain-delay", "0"])
            .args(["--database-connections", &setup.connections.to_string()])
            // The receiver of notifications is on this machine.
            .arg("--loopback-for-tests")
            .arg("--config")
            .arg(&file)
            .arg("--contexts")
            .arg(config.path())
            .arg("--database")
            .arg(database.secret.path())
            .arg("--database-ca")
            .arg(database.ca())
            .env("NO_COLOR", "1");
        let started = Instant::now();
        let mut process = Measured::start(&mut command, &log(api))?;
        wait_until("a ready broker", START, async || {
            process.check()?;
            Ok(match get(health, "/readyz").await {
                Ok((200, _)) => Ok(()),
                Ok((_, words)) => Err(words),
                Err(problem) => Err(problem.to_string()),
            })
        })
        .await?;
        Ok(Self {
            process,
            api,
            config,
            ready_after: started.elapsed().as_secs_f64(),
        })
    }

    /// Where its API listens.
    #[must_use]
    pub const fn api(&self) -> SocketAddr {
        self.api
    }

    /// Memory now.
    pub fn memory(&self) -> Result<Memory, Error> {
        self.process.memory()
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> Result<f64, Error> {
        self.process.cpu()
    }

    /// Ends it; the most memory that it ever had, in MiB.
    pub async fn stop(self) -> Result<f64, Error> {
        let peak = self.memory()?.peak;
        self.process.stop().await?;
        drop(self.config);
        Ok(peak)
    }
}

fn log(api: SocketAddr) -> PathBuf {
    std::env::temp_dir().join(format!(
        "mim-bench-broker-{}-{}.log",
        std::process::id(),
        api.port()
    ))
}
