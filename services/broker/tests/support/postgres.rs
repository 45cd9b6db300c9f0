//! A PostgreSQL server of the tests: TLS and SCRAM as in a city, on a free port, in a temporary folder, which is in memory where there is room.
//!
//! It ends with the test process, however that ends: a shell waits on a pipe that only the test process holds, then
//! kills the server by its pid and removes the folder.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A running server.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    guard: Child,
    disk: OnceLock<SmallDisk>,
}

/// A database of one test, and the folder of files that a Secret would mount.
pub struct Database {
    pub name: String,
    pub secret: tempfile::TempDir,
    pub postgres: &'static Postgres,
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

fn binary(name: &str) -> PathBuf {
    let folder = std::env::var("PG_BIN").unwrap_or_else(|_| "/usr/lib/postgresql/15/bin".to_owned());
    Path::new(&folder).join(name)
}

/// Hundreds of databases are files by the hundred thousand: making and removing them is a sixth of what the server does on a disk. All of them take
/// 4 GiB, of a memory that is twice as large as the file system says.
fn base() -> PathBuf {
    const NEEDED: u64 = 8 << 30;
    let memory = Path::new("/dev/shm");
    let free = Command::new("df")
        .args(["--block-size=1", "--output=avail"])
        .arg(memory)
        .output();
    let text = free.map(|free| String::from_utf8_lossy(&free.stdout).into_owned());
    let bytes = text
        .ok()
        .and_then(|text| text.lines().last()?.trim().parse::<u64>().ok());
    if bytes.is_some_and(|bytes| bytes >= NEEDED) {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Whether they may mount a file system that only they see: root in a container often may not.
pub fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status();
    is_root() && tried.is_ok_and(|status| status.success())
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn asked(config: &tokio_postgres::Config, sql: &str) -> Result<String, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await;
        drop(client);
        // The session has ended: nobody who drops its database meets it.
        connection.await.unwrap()?;
        let rows = messages?.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(line(&row)),
            _ => None,
        });
        Ok(rows.collect::<Vec<_>>().join("\n").trim().to_owned())
    })
}

fn line(row: &tokio_postgres::SimpleQueryRow) -> String {
    let columns = (0..row.len()).map(|index| row.get(index).unwrap_or_default());
    columns.collect::<Vec<_>>().join("|")
}

impl Postgres {
    /// The server that the tests of one binary share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of its own, for tests that kill it; it lives as long as the process.
    pub fn own() -> &'static Self {
        Box::leak(Box::new(Self::start()))
    }

    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mim-broker-test-")
            .tempdir_in(base())
            .unwrap()
            .keep();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(
            folder.join("hba"),
            "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
        )
        .unwrap();
        run(Command::new("chmod").arg("600").arg(folder.join("tls.key")));
        if is_root() {
            run(Command::new("chown").args(["-R", "postgres"]).arg(&folder));
        }
        run(as_postgres(binary("initdb"))
            .args([
                "--no-sync",
                "-A",
                "scram-sha-256",
                "-U",
                "postgres",
                "--locale=C.UTF-8",
                "-E",
                "UTF8",
                "--pwfile=/dev/stdin",
                "-D",
            ])
            .arg(folder.join("data"))
            .stdin(pipe("superuser\n")));
        let guard = Self::guard(&folder);
        let disk = OnceLock::new();
        let server = Self {
            folder,
            port,
            guard,
            disk,
        };
        server.launch();
        server.psql("postgres", "create database postgis_template is_template true");
        server.psql("postgis_template", "create extension postgis");
        // Of the thousands of reference systems WGS 84 alone: the others are a large part of what each of hundreds of databases would copy.
        server.psql(
            "postgis_template",
            "delete from spatial_ref_sys where srid <> 4326",
        );
        server.psql("postgis_template", "vacuum full spatial_ref_sys");
        server
    }

    /// Kills and cleans when the pipe closes.
    fn guard(folder: &Path) -> Child {
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
            .unwrap()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server has logged since it was last started.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// The end of what it has logged for no session: that it was killed, or by what.
    pub fn of_itself(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("] : ")).collect();
        let last: Vec<&str> = lines
            .iter()
            .copied()
            .skip(lines.len().saturating_sub(20))
            .collect();
        last.join("\n")
    }

    /// Starts the server process and waits until it answers.
    pub fn launch(&self) {
        self.launch_with(&[]);
    }

    /// As [`Self::launch`], with settings that are others than those of all tests.
    pub fn launch_with(&self, settings: &[&str]) {
        let f = self.folder.display();
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        self.in_sight_of_disk(binary("postgres"))
            .args([
                "-D",
                &format!("{f}/data"),
                "-p",
                &self.port.to_string(),
                "-k",
                &format!("{f}"),
                "-h",
                "127.0.0.1",
            ])
            .args([
                "-c",
                "ssl=on",
                "-c",
                &format!("ssl_cert_file={f}/tls.crt"),
                "-c",
                &format!("ssl_key_file={f}/tls.key"),
            ])
            .args([
                "-c",
                &format!("hba_file={f}/hba"),
                "-c",
                "log_line_prefix=%m [%p] %d: ",
                "-c",
                "max_connections=200",
                "-c",
                "shared_buffers=64MB",
                // What a killed process wrote, the kernel still has.
                "-c",
                "fsync=off",
                "-c",
                "max_wal_size=256MB",
                // In the folder that goes with the server: what one that is killed has in /dev/shm stays there.
                "-c",
                "dynamic_shared_memory_type=mmap",
                // Else each of thousands of sessions loads PostGIS and a hundred libraries below it.
                "-c",
                "shared_preload_libraries=postgis-3",
            ])
            // The last one holds.
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.try_psql("postgres", "select 1").is_err() {
            assert!(
                Instant::now() < deadline,
                "PostgreSQL starts; its log: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// As [`Self::launch`], as one that follows another server: it only reads until it is promoted.
    pub fn launch_as_standby(&self) {
        run(as_postgres("touch").arg(self.folder.join("data/standby.signal")));
        self.launch();
    }

    /// A program that sees the small disk, where there is one.
    fn in_sight_of_disk(&self, program: PathBuf) -> Command {
        let Some(disk) = self.disk.get() else {
            return as_postgres(program);
        };
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", disk.holder.id()));
        command.args(["runuser", "-u", "postgres", "--"]).arg(program);
        command
    }

    /// Gives a server of its own a disk of so many MiB, as the tablespace `small`. As root only.
    pub fn with_small_disk(&self, mebibytes: u32) -> &SmallDisk {
        let at = self.folder.join("small");
        run(as_postgres("mkdir").arg(&at));
        self.kill();
        let disk = self.disk.get_or_init(|| SmallDisk::mounted(&at, mebibytes));
        self.launch();
        self.psql(
            "postgres",
            &format!("create tablespace small location '{}'", at.display()),
        );
        disk
    }

    /// Kills the server as a power cut would.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        // The children hold shared memory and sockets; a crashed postmaster's children end by themselves.
        run(Command::new("kill").args(["-9", pid]));
        std::thread::sleep(Duration::from_millis(200));
    }

    /// Stops every process of the server where it is, as a hung disk would, until the value is dropped.
    pub fn freeze(&self) -> Frozen {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        let postmaster = pid.lines().next().unwrap().to_owned();
        // First the one that would start new ones.
        run(Command::new("kill").args(["-STOP", &postmaster]));
        let children =
            std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let children = children.split_whitespace().map(str::to_owned);
        let pids: Vec<String> = std::iter::once(postmaster.clone()).chain(children).collect();
        run(Command::new("kill").arg("-STOP").args(&pids));
        // runuser stops itself when its program is stopped, and would be left behind.
        let status = std::fs::read_to_string(format!("/proc/{postmaster}/status")).unwrap();
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .unwrap();
        Frozen(std::iter::once(parent.trim().to_owned()).chain(pids).collect())
    }

    fn session(&self, database: &str) -> Command {
        let mut command = Command::new(binary("psql"));
        command
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(&self.folder);
        command.args(["-p", &self.port.to_string(), "-d", database]);
        command
    }

    /// Runs SQL as superuser; its rows a line each, columns parted by `|`, as `psql -A -t` prints them.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let answer = self.try_psql(database, sql);
        assert!(answer.is_ok(), "{sql}: {answer:?}");
        answer.unwrap()
    }

    /// Runs SQL as another role, over TLS with a password as from outside; what it printed, or what the server said.
    pub fn psql_as(&self, role: &str, password: &str, database: &str, sql: &str) -> Command {
        let mut command = Command::new(binary("psql"));
        let port = self.port;
        command
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(format!(
                "host=127.0.0.1 port={port} sslmode=require user='{role}' dbname='{database}'"
            ))
            .env("PGPASSWORD", password);
        for statement in sql.split(";;") {
            command.args(["-c", statement]);
        }
        command
    }

    /// Without psql, whose start costs ten times what the server does: conditions are waited for with this.
    fn try_psql(&self, database: &str, sql: &str) -> Result<String, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(&self.folder)
            .port(self.port)
            .user("postgres")
            .dbname(database);
        // On a thread of its own, as most callers are in a runtime.
        let asked = move || asked(&config, sql);
        std::thread::scope(|scope| scope.spawn(asked).join().unwrap())
    }

    /// A new database with PostGIS, of a role without privileges.
    pub fn database(&'static self) -> Database {
        self.database_from("postgis_template")
    }

    /// The same on the small disk.
    pub fn database_on_small_disk(&'static self) -> Database {
        self.database_from("postgis_template tablespace small")
    }

    /// A new database made from a template.
    pub fn database_from(&'static self, template: &str) -> Database {
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql(
            "postgres",
            &format!("create role {name} login password 'secret-{name}'"),
        );
        self.psql(
            "postgres",
            &format!("create database {name} owner {name} template {template}"),
        );
        let secret = tempfile::tempdir().unwrap();
        let password = format!("secret-{name}\n");
        let port = self.port.to_string();
        for (file, text) in [
            ("host", "localhost"),
            ("port", &port),
            ("dbname", &name),
            ("username", &name),
            ("password", &password),
            ("uri", "ignored"),
        ] {
            std::fs::write(secret.path().join(file), text).unwrap();
        }
        std::fs::copy(self.folder.join("tls.crt"), secret.path().join("ca.crt")).unwrap();
        Database {
            name,
            secret,
            postgres: self,
        }
    }
}

impl Database {
    /// Changes a file of the Secret.
    pub fn set(&self, file: &str, text: &str) {
        std::fs::write(self.secret.path().join(file), text).unwrap();
    }

    /// Runs SQL in this database as superuser.
    pub fn psql(&self, sql: &str) -> String {
        self.postgres.psql(&self.name, sql)
    }

    /// A transaction of the superuser with this SQL in it, open until its standard input closes.
    pub fn transaction(&self, sql: &str) -> Child {
        let mut session = self.postgres.session(&self.name);
        let mut child = session
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.as_mut().unwrap();
        input.write_all(format!("begin; {sql};\n").as_bytes()).unwrap();
        child
    }

    /// What the server has logged for the sessions of this database since it was last started.
    pub fn log(&self) -> String {
        let ours = format!("] {}: ", self.name);
        let mut is_ours = false;
        let log = self.postgres.log();
        let lines = log.split_inclusive('\n').filter(|line| {
            // Lines that go on an entry begin with a tab and have no prefix.
            is_ours = if line.starts_with('\t') {
                is_ours
            } else {
                line.contains(&ours)
            };
            is_ours
        });
        lines.collect()
    }
}

/// A file system in memory, mounted where only the server sees it, so it goes with the server, however that ends.
pub struct SmallDisk {
    /// Keeps the sight of it until its standard input closes.
    holder: Child,
    filler: PathBuf,
}

impl SmallDisk {
    fn mounted(at: &Path, mebibytes: u32) -> Self {
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m tmpfs {0} && chown postgres {0} && echo mounted && read _",
            at.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(holder.stdout.as_mut().unwrap()),
            &mut said,
        )
        .unwrap();
        assert_eq!(said, "mounted\n", "root may mount a file system");
        let root = format!("/proc/{}/root{}", holder.id(), at.display());
        let filler = Path::new(&root).join("filler");
        Self { holder, filler }
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        std::fs::File::create(&self.filler).unwrap();
        self.top_up();
    }

    /// Leaves none again where something that was on it has gone.
    pub fn top_up(&self) {
        let mut file = std::fs::File::options().append(true).open(&self.filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes room again.
    pub fn make_room(&self) {
        std::fs::remove_file(&self.filler).unwrap();
    }
}

/// See [`Postgres::freeze`].
pub struct Frozen(Vec<String>);

impl Drop for Frozen {
    fn drop(&mut self) {
        // One that has ended meanwhile is no reason to leave the others stopped.
        let _ = Command::new("kill").arg("-CONT").args(&self.0).output();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
    }
}

/// A file that holds a text, to be read as standard input.
fn pipe(text: &str) -> Stdio {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file.into()
}
