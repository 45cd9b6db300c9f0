//! The real broker as a process of its own.

use super::client::{Answer, Client};
use super::postgres::{Database, Postgres};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A running broker.
pub struct Broker {
    pub database: Arc<Database>,
    pub api: SocketAddr,
    pub health: SocketAddr,
    pub log: Arc<Mutex<String>>,
    pub config: Arc<tempfile::TempDir>,
    pub process: Child,
    pub client: Client,
}

/// What not every broker is started with.
#[derive(Default)]
struct Start<'a> {
    /// Whether it reaches receivers and contexts on this machine.
    loopback: bool,
    /// Certificates in place of those that the system trusts.
    trusted: Option<&'a Path>,
}

/// The program: cargo names it to tests of its own crate, and puts it beside those of others.
fn program() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_mim-broker") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let mut beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("mim-broker"));
    beside.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "mim-broker is not beside {}: build it with `cargo build -p mim-broker`",
            own.display()
        )
    })
}

/// A folder with this configuration.
pub fn folder_of(config: &str) -> Arc<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broker.yaml"), config).unwrap();
    Arc::new(folder)
}

impl Broker {
    /// A broker on a new database of the shared server, ready, with the tenants `one` and `two`.
    pub async fn ready() -> Self {
        let broker = Self::start(Arc::new(Postgres::shared().database()));
        broker.until_ready().await;
        broker
    }

    /// A broker with this configuration on a new database, ready.
    pub async fn configured(config: &str) -> Self {
        Self::configured_on(Arc::new(Postgres::shared().database()), config).await
    }

    /// The same on a database that others may share.
    pub async fn configured_on(database: Arc<Database>, config: &str) -> Self {
        let broker = Self::start_with(database, folder_of(config));
        broker.until_ready().await;
        broker
    }

    /// A broker on a database; it may not be ready.
    pub fn start(database: Arc<Database>) -> Self {
        let config = folder_of("tenants: [one, two]\negress: {allowedPrivateCidrs: []}\n");
        Self::start_with(database, config)
    }

    /// Gives it another configuration, at once as the kubelet does: half a file is another one. It reads it within seconds.
    pub fn configure(&self, config: &str) {
        let folder = self.config.path();
        std::fs::write(folder.join("broker.yaml.new"), config).unwrap();
        std::fs::rename(folder.join("broker.yaml.new"), folder.join("broker.yaml")).unwrap();
    }

    /// A broker with a configuration folder that others may share.
    pub fn start_with(database: Arc<Database>, config: Arc<tempfile::TempDir>) -> Self {
        Self::start_trusting(database, config, None)
    }

    /// As [`Self::start_with`], with these certificates in place of those that the system trusts.
    pub fn start_trusting(
        database: Arc<Database>,
        config: Arc<tempfile::TempDir>,
        trusted: Option<&Path>,
    ) -> Self {
        let more = Start {
            loopback: true,
            trusted,
        };
        Self::start_program(&program(), database, config, &more)
    }

    /// As [`Self::start_with`], of another version.
    pub fn start_other(program: &Path, database: Arc<Database>, config: Arc<tempfile::TempDir>) -> Self {
        let more = Start {
            loopback: true,
            trusted: None,
        };
        Self::start_program(program, database, config, &more)
    }

    /// As [`Self::start`], guarded as in a city: this machine is out of its reach, but for the database.
    pub fn start_guarded(database: Arc<Database>) -> Self {
        let config = folder_of("tenants: [one, two]\negress: {allowedPrivateCidrs: []}\n");
        Self::start_program(&program(), database, config, &Start::default())
    }

    fn start_program(
        program: &Path,
        database: Arc<Database>,
        config: Arc<tempfile::TempDir>,
        more: &Start<'_>,
    ) -> Self {
        let mut process = Command::new(program)
            .args([
                "run",
                "--listen",
                "127.0.0.1:0",
                "--health-listen",
                "127.0.0.1:0",
                "--drain-delay",
                "1",
            ])
            .args(more.loopback.then_some("--loopback-for-tests"))
            .arg("--config")
            .arg(config.path().join("broker.yaml"))
            .arg("--contexts")
            .arg(config.path())
            .arg("--gateway-tls")
            .arg(config.path().join("gateway-tls"))
            .arg("--database")
            .arg(database.secret.path())
            .arg("--database-ca")
            .arg(database.secret.path().join("ca.crt"))
            // What an older broker does not know it does not read there.
            .env("MIM_ADMIN_TLS", config.path().join("admin-tls"))
            .env("MIM_CONTRACT", config.path().join("contract"))
            .env("NO_COLOR", "1")
            .envs(more.trusted.map(|file| ("SSL_CERT_FILE", file)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut address = || -> SocketAddr {
            loop {
                let line = lines.next().unwrap().unwrap();
                if let Some((_, at)) = line.split_once("listening at=") {
                    return at.trim().parse().unwrap();
                }
            }
        };
        let (api, health) = (address(), address());
        let log = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self {
            database,
            api,
            health,
            log,
            config,
            process,
            client: Client::new(),
        }
    }

    /// Waits until `/readyz` says so.
    pub async fn until_ready(&self) {
        super::eventually(30, "the broker is ready", async || self.readyz().await.0 == 200).await;
    }

    /// Status and words of `/readyz`.
    pub async fn readyz(&self) -> (u16, String) {
        let answer = self.client.send(self.health, "GET", "/readyz", &[], None).await;
        (answer.status, answer.text().trim().to_owned())
    }

    /// One request to the API, with `application/json` where there is a body.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let path = if path.starts_with("/ngsi-ld") {
            path.to_owned()
        } else {
            format!("/ngsi-ld/v1{path}")
        };
        self.client
            .send(self.api, method, &path, headers, body.map(str::to_owned))
            .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[], Some(body)).await
    }

    /// Creates an entity and insists on 201.
    pub async fn create(&self, body: &str) {
        let answer = self.post("/entities", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    /// Ids of a query, in order.
    pub async fn ids(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("/entities?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// A metric by its name with all labels, as `name{label="value"}`; 0 where there is none.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self
            .client
            .send(self.health, "GET", "/metrics", &[], None)
            .await
            .text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// The most memory that it had so far, in KiB.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM")
    }

    /// A line about memory of proc_pid_status(5), in KiB.
    pub fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let found = status
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        found.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until the log has a text so many times; what it says is read a moment after it was written.
    pub async fn until_logged(&self, times: usize, text: &str) {
        let what = format!("the log has {times} times: {text}");
        super::eventually(20, &what, async || {
            self.log.lock().unwrap().matches(text).count() >= times
        })
        .await;
    }

    /// Waits until the log says where a door is open, after these words.
    pub async fn door(&self, words: &str) -> SocketAddr {
        let found = || {
            let log = self.log.lock().unwrap();
            let mut said = log.lines().filter_map(|line| line.split_once(words));
            said.find_map(|(_, at)| at.trim().parse().ok())
        };
        super::eventually(30, &format!("the log says: {words}"), async || found().is_some()).await;
        found().unwrap()
    }

    /// Keeps all who read or write this table waiting, until the standard input of what is returned closes.
    pub async fn locked(&self, table: &str) -> Child {
        let held = self.database.transaction(&format!("lock table {table}"));
        let locks = format!(
            "select count(*) from pg_locks where relation = '{table}'::regclass and mode = 'AccessExclusiveLock' and granted"
        );
        super::eventually(20, "the table is locked", async || {
            self.database.psql(&locks) == "1"
        })
        .await;
        held
    }

    /// Says that what failed so far was to fail: this test made the database do so.
    pub fn was_to_fail(&self) {
        self.log.lock().unwrap().clear();
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.process.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the broker\n{}", self.log.lock().unwrap());
            eprintln!(
                "--- what its PostgreSQL says of itself\n{}",
                self.database.postgres.of_itself()
            );
            return;
        }
        // What nobody waits for fails unseen: it is tried again, or done otherwise.
        let log = self.log.lock().unwrap();
        let failed: Vec<_> = log
            .lines()
            .filter(|line| line.contains("the store failed"))
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}
