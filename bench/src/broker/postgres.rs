//! A PostgreSQL server of the benchmark: TLS and SCRAM as in a city, everything durable, on a free port, on disk.
//!
//! It ends with the benchmark, however that ends: a shell waits on a pipe that only the benchmark holds, then kills the
//! server by its pid and removes the folder.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::process::cpu_of_family;

/// How long the server may take to start.
const START: Duration = Duration::from_mins(1);
/// What must be on, whatever the server's defaults are.
const DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// A running server.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    guard: Child,
    databases: AtomicUsize,
}

/// A database with PostGIS, and the folder of files that a Secret would mount.
pub struct Database {
    /// Its name, and that of its role.
    pub name: String,
    /// The files.
    pub secret: tempfile::TempDir,
    port: u16,
}

impl Database {
    /// Where the server listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The password of its role.
    #[must_use]
    pub fn password(&self) -> String {
        format!("secret-{}", self.name)
    }

    /// The certificate that the server is known by.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.secret.path().join("ca.crt")
    }
}

/// A program of PostgreSQL 15: Debian's, or that of the folder `PG_BIN`.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var("PG_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
    Path::new(&folder).join(name)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: PathBuf) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

/// Runs a program to its end; what it printed.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |said: String| Error::Program {
        program: program.clone(),
        said,
    };
    let output = command.output().map_err(|problem| failed(problem.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}: {}", output.status, said.trim())))
}

impl Postgres {
    /// Makes and starts a server below this folder.
    pub fn start(below: &Path, shared_buffers: &str) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("mim-bench-broker-")
            .tempdir_in(below)
            .map_err(Error::file(below))?
            .keep();
        certificate(&folder)?;
        write(
            &folder.join("hba"),
            "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
        )?;
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(&folder))?;
        }
        run(as_postgres(binary("initdb"))
            .args([
                "--no-sync",
                "--data-checksums",
                "-A",
                "scram-sha-256",
                "-U",
                "postgres",
            ])
            .args(["--locale=C.UTF-8", "-E", "UTF8", "--pwfile=/dev/stdin", "-D"])
            .arg(folder.join("data"))
            .stdin(input("superuser\n")?))?;
        let server = Self {
            port: free_port()?,
            guard: guard(&folder)?,
            folder,
            databases: AtomicUsize::new(0),
        };
        server.launch(shared_buffers)?;
        for setting in DURABLE {
            let value = server.psql("postgres", &format!("show {setting}"))?;
            if value != "on" {
                return Err(Error::Unexpected(format!(
                    "{setting} is {value}: such a database loses data, and numbers of it say nothing"
                )));
            }
        }
        server.psql("postgres", "create database postgis_template is_template true")?;
        server.psql("postgis_template", "create extension postgis")?;
        Ok(server)
    }

    fn launch(&self, shared_buffers: &str) -> Result<(), Error> {
        let f = self.folder.display();
        let log = self.folder.join("log");
        let log = File::create(&log).map_err(Error::file(&log))?;
        let settings = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={f}/tls.crt"),
            format!("ssl_key_file={f}/tls.key"),
            format!("hba_file={f}/hba"),
            "max_connections=200".to_owned(),
            format!("shared_buffers={shared_buffers}"),
        ];
        let mut command = as_postgres(binary("postgres"));
        command
            .args(["-D", &format!("{f}/data"), "-p", &self.port.to_string()])
            .args(["-k", &f.to_string(), "-h", "127.0.0.1"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.spawn().map_err(Error::file(&binary("postgres")))?;
        let started = Instant::now();
        while let Err(problem) = self.psql("postgres", "select 1") {
            if started.elapsed() > START {
                return Err(problem);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Runs SQL as superuser; what it printed.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, Error> {
        self.session(database, [sql])
    }

    /// Runs SQL as superuser in one session, each piece in a transaction of its own; what all of them printed.
    pub fn session<'a>(
        &self,
        database: &str,
        sql: impl IntoIterator<Item = &'a str>,
    ) -> Result<String, Error> {
        run(as_postgres(binary("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
            .arg("-h")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-d", database])
            .args(sql.into_iter().flat_map(|sql| ["-c", sql])))
    }

    /// A new database of a role without privileges.
    pub fn database(&self) -> Result<Database, Error> {
        let name = format!("b{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let secret = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
        let database = Database {
            name,
            secret,
            port: self.port,
        };
        let (name, password) = (&database.name, database.password());
        self.psql(
            "postgres",
            &format!("create role {name} login password '{password}'"),
        )?;
        self.psql(
            "postgres",
            &format!("create database {name} owner {name} template postgis_template"),
        )?;
        let port = self.port.to_string();
        for (file, text) in [
            ("host", "localhost"),
            ("port", &port),
            ("dbname", name),
            ("username", name),
            ("password", &password),
        ] {
            write(&database.secret.path().join(file), text)?;
        }
        let certificate = self.folder.join("tls.crt");
        fs::copy(&certificate, database.ca()).map_err(Error::file(&certificate))?;
        Ok(database)
    }

    /// Takes a database away, so that the disk is not full of those that are measured no more.
    pub fn drop(&self, database: &Database) -> Result<(), Error> {
        let name = &database.name;
        self.psql("postgres", &format!("drop database {name} with (force)"))
            .map(drop)
    }

    /// Brings statistics and visibility up to date, and what is dirty to disk: the next run does not pay for the last one.
    pub fn settle(&self, database: &Database) -> Result<(), Error> {
        self.psql(&database.name, "vacuum analyze")?;
        self.psql(&database.name, "checkpoint").map(drop)
    }

    /// CPU seconds of the whole server so far.
    pub fn cpu(&self) -> Result<f64, Error> {
        let path = self.folder.join("data/postmaster.pid");
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let pid = text.lines().next().and_then(|pid| pid.trim().parse().ok());
        let pid = pid.ok_or_else(|| Error::Unexpected(format!("{} names no process", path.display())))?;
        cpu_of_family(pid)
    }

    /// The processes that serve a database's sessions of the broker.
    pub fn backends(&self, database: &Database) -> Result<Vec<u32>, Error> {
        let pids = self.psql(
            "postgres",
            &format!(
                "select pid from pg_stat_activity where datname = '{}' and application_name = 'mim-broker'",
                database.name
            ),
        )?;
        Ok(pids.lines().filter_map(|pid| pid.trim().parse().ok()).collect())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file(path))
}

fn certificate(folder: &Path) -> Result<(), Error> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::KeyPair::generate().and_then(|key| {
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    });
    let (certificate, key) =
        made.map_err(|problem| Error::Unexpected(format!("no certificate can be made: {problem}")))?;
    write(&folder.join("tls.crt"), &certificate)?;
    write(&folder.join("tls.key"), &key)?;
    run(Command::new("chmod").arg("600").arg(folder.join("tls.key"))).map(drop)
}

/// Kills and cleans when the pipe closes.
fn guard(folder: &Path) -> Result<Child, Error> {
    let script = format!(
        "read _; test -f {0}/data/postmaster.pid && kill -9 $(head -1 {0}/data/postmaster.pid); sleep 0.2; rm -rf {0}",
        folder.display()
    );
    Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::file(Path::new("setsid")))
}

fn free_port() -> Result<u16, Error> {
    let place = Path::new("127.0.0.1:0");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(Error::file(place))?;
    Ok(listener.local_addr().map_err(Error::file(place))?.port())
}

/// A text to be read as standard input.
fn input(text: &str) -> Result<Stdio, Error> {
    let place = Path::new("a temporary file");
    let mut file = tempfile::tempfile().map_err(Error::file(place))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.rewind())
        .map_err(Error::file(place))?;
    Ok(file.into())
}
