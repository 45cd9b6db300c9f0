//! The gateway as a process of its own.

use super::client::{Client, NAME};
use super::eventually;
use super::tls::{Authority, Signed};
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A running gateway. It is killed with the value.
pub struct Gateway {
    pub at: SocketAddr,
    pub health: SocketAddr,
    pub authority: Authority,
    pub folder: tempfile::TempDir,
    /// Lines of the audit trail.
    pub audit: Arc<Mutex<Vec<String>>>,
    log: Arc<Mutex<Vec<String>>>,
    process: Child,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            println!("{}", self.log.lock().unwrap().join("\n"));
        }
    }
}

/// The configuration of one without demands on clients.
pub fn plain(upstream: SocketAddr) -> String {
    format!("upstream: {{address: \"{upstream}\", timeout: 5}}\n")
}

impl Gateway {
    /// One in front of this broker, ready.
    pub async fn before(upstream: SocketAddr) -> Self {
        Self::ready(&plain(upstream)).await
    }

    /// One with this configuration, ready.
    pub async fn ready(config: &str) -> Self {
        let gateway = Self::start(config, |_, _| {}).await;
        gateway.until_ready().await;
        gateway
    }

    /// One with this configuration, and with what else is put into its folder first.
    pub async fn start(config: &str, prepare: impl FnOnce(&std::path::Path, &Authority)) -> Self {
        Self::start_with(&[], config, prepare).await
    }

    /// The same, with further arguments.
    pub async fn start_with(
        arguments: &[&str],
        config: &str,
        prepare: impl FnOnce(&std::path::Path, &Authority),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        authority.sign(&[NAME]).write(&folder.path().join("tls"));
        std::fs::write(folder.path().join("gateway.yaml"), config).unwrap();
        prepare(folder.path(), &authority);
        let path = |name: &str| folder.path().join(name);
        let mut process = Command::new(env!("CARGO_BIN_EXE_mim-gateway"))
            .args([
                "run",
                "--listen",
                "127.0.0.1:0",
                "--health-listen",
                "127.0.0.1:0",
                "--drain-delay",
                "1",
            ])
            .env("MIM_WORKERS", "2")
            .arg("--loopback-for-tests")
            .args(arguments)
            .arg("--config")
            .arg(path("gateway.yaml"))
            .arg("--tls")
            .arg(path("tls"))
            .arg("--upstream-tls")
            .arg(path("upstream"))
            .arg("--identity")
            .arg(path("identity"))
            .arg("--bundle")
            .arg(path("bundle"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let audit = lines(process.stdout.take().unwrap());
        let log = lines(process.stderr.take().unwrap());
        let address = |number: usize| {
            let log = log.lock().unwrap();
            let line = log
                .iter()
                .filter(|line| line.contains("listening at="))
                .nth(number)?;
            line.rsplit_once('=').unwrap().1.parse().ok()
        };
        let at = eventually("the gateway listens", async || address(0)).await;
        let health = eventually("the gateway tells its health", async || address(1)).await;
        Self {
            at,
            health,
            authority,
            folder,
            audit,
            log,
            process,
        }
    }

    pub async fn until_ready(&self) {
        eventually("the gateway is ready", async || {
            (self.health("/readyz").await.0 == 200).then_some(())
        })
        .await;
    }

    /// Asks the health port.
    pub async fn health(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.health).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// A connection of HTTP/1.1.
    pub async fn client(&self) -> Client {
        self.client_with(None).await.unwrap()
    }

    /// A connection that shows a certificate.
    pub async fn client_with(&self, own: Option<&Signed>) -> std::io::Result<Client> {
        Client::connect(self.at, self.authority.client(own, "http/1.1")).await
    }

    /// Writes another configuration.
    pub fn configure(&self, config: &str) {
        let folder = self.folder.path();
        std::fs::write(folder.join("new.yaml"), config).unwrap();
        std::fs::rename(folder.join("new.yaml"), folder.join("gateway.yaml")).unwrap();
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// How it ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        eventually("the gateway ends", async || process.try_wait().unwrap()).await
    }

    /// The lines of the audit trail, as soon as there are so many.
    pub async fn audited(&self, number: usize) -> Vec<serde_json::Value> {
        eventually("lines of the audit trail", async || {
            let lines = self.audit.lock().unwrap();
            (lines.len() >= number).then(|| {
                lines
                    .iter()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect()
            })
        })
        .await
    }

    /// All that was logged.
    pub fn logged(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

fn lines(from: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let all = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&all);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            kept.lock().unwrap().push(line);
        }
    });
    all
}
