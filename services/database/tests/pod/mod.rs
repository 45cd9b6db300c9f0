//! A pod without a cluster: the folders that the operator mounts, laid out as the kubelet does, and the program run in
//! them by the user `postgres`. Everything ends with the value.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub mod client;

/// Folder of PostgreSQL's programs.
pub const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Folders, credentials and certificate of one database pod.
pub struct Pod {
    folder: tempfile::TempDir,
    pub port: u16,
    versions: AtomicU16,
    user: User,
}

#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Pod {
    /// An empty volume, the credentials app/app/`password`, a certificate for `database`.
    pub fn new(password: &str) -> Self {
        let user = postgres();
        // Short and readable for the user postgres, as a socket's path is at most 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("mim-db-")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let pod = Self {
            folder,
            port: free_port(),
            versions: AtomicU16::new(0),
            user,
        };
        for name in ["volume", "sockets", "credentials", "tls", "identity"] {
            fs::create_dir(pod.path(name)).unwrap();
        }
        for name in ["volume", "sockets"] {
            chown(pod.path(name), Some(user.uid), Some(user.gid)).unwrap();
        }
        fs::write(pod.path("termination"), "").unwrap();
        chown(pod.path("termination"), Some(user.uid), Some(user.gid)).unwrap();
        // The build folder may be closed to the user postgres.
        // Another process copies: a file that this one has open for writing is inherited by whatever another test
        // forks in that moment, and until that child has exec'd nobody can run the copy (ETXTBSY).
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_mim-database"))
            .arg(pod.path("mim-database"))
            .status()
            .unwrap();
        assert!(copied.success());
        pod.set_credentials("app", "app", password);
        pod.set_certificate(&client::Certificate::for_name("database"));
        pod
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("volume/15/data")
    }

    pub fn set_credentials(&self, database: &str, username: &str, password: &str) {
        let files = [
            ("dbname", database),
            ("username", username),
            ("password", password),
            ("host", "ignored"),
        ];
        self.mount(
            "credentials",
            &files.map(|(name, value)| (name, value.as_bytes())),
        );
    }

    pub fn set_certificate(&self, certificate: &client::Certificate) {
        let files = [
            ("tls.crt", &certificate.chain),
            ("tls.key", &certificate.key),
            ("ca.crt", &certificate.authority),
        ];
        self.mount("tls", &files.map(|(name, value)| (name, value.as_bytes())));
    }

    pub fn set_identity(&self, identifier: &str) {
        self.mount("identity", &[("system-identifier", identifier.as_bytes())]);
    }

    /// Replaces a mounted folder's content as the kubelet does: a new folder, then one move of the link `..data`.
    /// Files are root's, readable by the group, as with `defaultMode: 0440` and `fsGroup`.
    fn mount(&self, name: &str, files: &[(&str, &[u8])]) {
        let folder = self.path(name);
        let version = format!("..version-{}", self.versions.fetch_add(1, Ordering::SeqCst));
        fs::create_dir(folder.join(&version)).unwrap();
        for (file, value) in files {
            let path = folder.join(&version).join(file);
            fs::write(&path, value).unwrap();
            chown(&path, None, Some(self.user.gid)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
            if fs::symlink_metadata(folder.join(file)).is_err() {
                symlink(format!("..data/{file}"), folder.join(file)).unwrap();
            }
        }
        let before = fs::read_link(folder.join("..data"));
        symlink(&version, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        if let Ok(before) = before {
            fs::remove_dir_all(folder.join(before)).unwrap();
        }
    }

    /// `mim-database <command>` with this pod's paths, as the user postgres.
    pub fn command(&self, command: &str) -> Command {
        let mut built = self.as_postgres(&self.path("mim-database"));
        built.arg(command).args(self.flags());
        built
    }

    /// The flags that put this pod's folders in place of the contract's.
    pub fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        [
            ("--volume", path("volume")),
            ("--programs", PROGRAMS.to_owned()),
            ("--credentials", path("credentials")),
            ("--tls", path("tls")),
            ("--identity", path("identity/system-identifier")),
            ("--termination-log", path("termination")),
            ("--sockets", path("sockets")),
            ("--port", self.port.to_string()),
            ("--memory-limit", (256 * 1024 * 1024).to_string()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// Uid and gid that the program runs with.
    pub fn user_and_group(&self) -> [String; 2] {
        [self.user.uid.to_string(), self.user.gid.to_string()]
    }

    /// A new folder that the user postgres may write to.
    pub fn folder_of_postgres(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
        chown(self.path(name), Some(self.user.uid), Some(self.user.gid)).unwrap();
    }

    /// A program, run by the user postgres.
    pub fn as_postgres(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .uid(self.user.uid)
            .gid(self.user.gid)
            .current_dir("/")
            .env_remove("RUST_LOG");
        command
    }

    pub fn initialise(&self) -> Output {
        self.command("initialise").output().unwrap()
    }

    /// An initialised pod whose server answers its probe.
    pub fn running(password: &str) -> (Self, Server) {
        let pod = Self::new(password);
        let output = pod.initialise();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let server = pod.start();
        pod.wait_ready(&server);
        (pod, server)
    }

    /// Starts `run`; its log goes to a file.
    pub fn start(&self) -> Server {
        self.start_with(self.command("run"))
    }

    pub fn start_with(&self, mut command: Command) -> Server {
        let log = self.path(&format!("log-{}", self.versions.fetch_add(1, Ordering::SeqCst)));
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Server {
            child,
            log,
            data: self.data(),
        }
    }

    pub fn probe(&self) -> Result<(), String> {
        let output = self.command("probe").output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8(output.stderr).unwrap().trim().to_owned())
        }
    }

    pub fn wait_ready(&self, server: &Server) {
        wait_for(
            || self.probe().is_ok(),
            || format!("not ready: {:?}\n{}", self.probe(), server.log()),
        );
    }

    pub fn termination_message(&self) -> String {
        fs::read_to_string(self.path("termination")).unwrap()
    }

    /// One statement by the superuser on the local socket.
    pub fn admin(&self, database: &str, statement: &str) -> String {
        let output = self
            .as_postgres(&Path::new(PROGRAMS).join("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                statement,
            ])
            .arg("-h")
            .arg(self.path("sockets"))
            .args(["-p", &self.port.to_string()])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{statement}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Process id of the running server, as its own file tells it.
    pub fn postmaster(&self) -> Option<Pid> {
        postmaster(&self.data())
    }

    /// A process of the user postgres that does nothing; for the tests of stale process ids.
    pub fn bystander(&self) -> Child {
        self.as_postgres(Path::new("/bin/sleep"))
            .arg("600")
            .spawn()
            .unwrap()
    }
}

/// A `mim-database run`; it and its server are killed with this value.
pub struct Server {
    pub child: Child,
    log: PathBuf,
    data: PathBuf,
}

impl Server {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        let log = self.log.clone();
        wait_for(
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
            || format!("did not end: {}", fs::read_to_string(&log).unwrap_or_default()),
        );
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let server = postmaster(&self.data);
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            if let Some(server) = server {
                let _ = kill_process(server, Signal::KILL);
            }
        }
    }
}

fn postmaster(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// Waits until a condition holds; `what` says what was waited for.
pub fn wait_for(mut holds: impl FnMut() -> bool, what: impl FnOnce() -> String) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody listens on, outside of the range that the kernel gives to clients.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 2000).unwrap() * 8;
    (0..200)
        .map(|_| 12_000 + (start + NEXT.fetch_add(1, Ordering::SeqCst)) % 18_000)
        .find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .unwrap()
}

fn postgres() -> User {
    let ask = |flag: &str| {
        let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse::<u32>().unwrap_or_else(|_| {
            panic!("there is no user postgres: install Debian's postgresql-15 and postgresql-15-postgis-3")
        })
    };
    let user = User {
        uid: ask("-u"),
        gid: ask("-g"),
    };
    let mine = rustix::process::geteuid().as_raw();
    assert!(
        mine == 0 || mine == user.uid,
        "run these tests as root or as the user postgres"
    );
    user
}
