//! The broker of one group, on a database of its own.

use crate::error::{Error, Result};
use crate::postgres::{Database, Postgres};
use crate::{contexts, network};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the broker may take until it is ready; the database is new, and the machine may be busy.
const READY: Duration = Duration::from_mins(1);

/// A running broker. It is killed when this value is dropped.
pub struct Broker {
    process: Child,
    api: SocketAddr,
    health: SocketAddr,
    program: PathBuf,
    log: PathBuf,
    _database: Database,
    _config: tempfile::TempDir,
}

/// The broker's program: the one that was said, or the one that cargo puts beside this one.
pub fn find(said: Option<&Path>) -> Result<PathBuf> {
    let program = match said {
        Some(program) => program.to_owned(),
        None => std::env::current_exe()
            .map_err(|source| missing(Path::new("mim-broker"), source))?
            .with_file_name("mim-broker"),
    };
    match std::fs::metadata(&program) {
        Ok(_) => Ok(program),
        Err(source) => Err(missing(&program, source)),
    }
}

fn missing(program: &Path, source: std::io::Error) -> Error {
    Error::Start {
        program: program.to_owned(),
        source,
        advice: "build it with `cargo build -p mim-broker`",
    }
}

impl Broker {
    /// Starts it and waits until it is ready.
    pub fn start(program: &Path, suite: &Path, log: &Path) -> Result<Self> {
        let config = configuration(suite)?;
        let database = Postgres::shared().database();
        let mut process = Command::new(program)
            .args([
                "run",
                "--listen",
                "127.0.0.1:0",
                "--health-listen",
                "127.0.0.1:0",
                "--drain-delay",
                "0",
            ])
            .arg("--config")
            .arg(config.path().join("broker.yaml"))
            .arg("--database")
            .arg(database.secret.path())
            .arg("--database-ca")
            .arg(database.secret.path().join("ca.crt"))
            .env("MIM_CONTEXTS", contexts::folder(config.path()))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| missing(program, source))?;
        let addresses = follow(&mut process, log)?;
        let [api, health] = addresses.map_err(|what| Error::Broker {
            what,
            log: log.to_owned(),
        })?;
        let broker = Self {
            process,
            api,
            health,
            program: program.to_owned(),
            log: log.to_owned(),
            _database: database,
            _config: config,
        };
        broker.until_ready()?;
        Ok(broker)
    }

    /// Where its API listens.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    fn until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            let probe = Command::new(&self.program)
                .args(["probe", "--health-listen", &self.health.to_string()])
                .output()
                .map_err(|source| missing(&self.program, source))?;
            if probe.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let said = String::from_utf8_lossy(&probe.stdout);
                return Err(Error::Broker {
                    what: format!("is not ready within {} s: {}", READY.as_secs(), said.trim()),
                    log: self.log.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What no suite asks for, but no broker may do: it has ended by itself, or answered with 500.
    pub fn misdeeds(&mut self) -> Vec<String> {
        match self.process.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return vec![format!("the broker ended by itself: {status}")],
            Err(error) => return vec![format!("nobody knows whether the broker runs: {error}")],
        }
        match self.metrics() {
            Ok(text) => text
                .lines()
                .filter(|line| is_fault(line))
                .map(str::to_owned)
                .collect(),
            Err(error) => vec![format!("the broker's metrics cannot be read: {error}")],
        }
    }

    fn metrics(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.health)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Whether this line of the metrics counts answers with 500.
fn is_fault(line: &str) -> bool {
    line.starts_with("mim_broker_requests_total{") && line.contains("status=\"500\"")
}

/// A configuration that lets the suite's receivers be reached, and has the contexts that its fixtures name.
fn configuration(suite: &Path) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().map_err(|source| Error::Write {
        path: std::env::temp_dir(),
        source,
    })?;
    let file = folder.path().join("broker.yaml");
    // The suite is written for v1.8.1 where editions disagree, and for a broker that shows thirty instances at once.
    let text = format!(
        "egress: {{allowedPrivateCidrs: [{}/32]}}\ntemporal: {{mode: Enabled}}\n\
         compatibility: {{contextNotAvailableStatus: 503, temporalCreate: PastAndEntity, temporalPageSize: 30}}\n{}",
        network::ADDRESS,
        contexts::preload(suite, folder.path())?
    );
    std::fs::write(&file, text).map_err(|source| Error::Write { path: file, source })?;
    Ok(folder)
}

/// Copies what the broker says into a file, and returns where it listens, or what became of it instead.
fn follow(process: &mut Child, log: &Path) -> Result<std::result::Result<[SocketAddr; 2], String>> {
    let write = |source| Error::Write {
        path: log.to_owned(),
        source,
    };
    let mut file = std::fs::File::create(log).map_err(write)?;
    let Some(said) = process.stderr.take() else {
        return Ok(Err("cannot be heard".to_owned()));
    };
    let mut lines = BufReader::new(said).lines().map_while(std::io::Result::ok);
    let mut found = Vec::new();
    while found.len() < 2 {
        let Some(line) = lines.next() else {
            return Ok(Err("ended before it listened".to_owned()));
        };
        writeln!(file, "{line}").map_err(write)?;
        let at = line
            .split_once("listening at=")
            .map(|(_, at)| at.trim().parse::<SocketAddr>());
        found.extend(at.and_then(std::result::Result::ok));
    }
    std::thread::spawn(move || {
        for line in lines {
            // A full disk is no reason to stop reading: the broker would wait for us.
            let _ = writeln!(file, "{line}");
        }
    });
    let addresses: std::result::Result<[SocketAddr; 2], _> = found.try_into();
    Ok(addresses.map_err(|_| "did not say where it listens".to_owned()))
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_500_is_a_fault_and_no_other_line_is() {
        assert!(is_fault(
            r#"mim_broker_requests_total{route="/x",method="GET",status="500"} 2"#
        ));
        assert!(!is_fault(
            r#"mim_broker_requests_total{route="/x",method="GET",status="503"} 2"#
        ));
        assert!(!is_fault(
            "mim_broker_request_duration_seconds_bucket{le=\"0.5\"} 500"
        ));
    }
}
