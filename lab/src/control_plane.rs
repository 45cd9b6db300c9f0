//! A control plane that lives as long as a value: etcd, kube-apiserver and, if asked, kube-controller-manager.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::binaries::{self, Binaries, Binary};
use crate::components::Site;
use crate::error::Error;
use crate::files;
use crate::kubeconfig;
use crate::pki::Authority;
use crate::process::Tied;

/// How long an API server may take to answer. It takes 3 s on an idle machine; a busy one gets time.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// Free bytes that a tmpfs must have for a control plane to go there.
const NEEDED_ROOM: u64 = 1 << 30;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What a control plane is made of besides etcd and the API server. Requests are always authorised by RBAC.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Runs kube-controller-manager: garbage collection, namespaces, Deployments, service accounts.
    pub controller_manager: bool,
    /// Writes requests to [`ControlPlane::audit_log`].
    pub audit: Option<Audit>,
    /// Further arguments of kube-apiserver, such as `--watch-cache=false`.
    pub api_server_args: Vec<String>,
}

/// How much of each request the audit log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// Who, what, when, and the answer's code.
    Metadata,
    /// The request's body as well.
    Request,
}

/// A running control plane. When the value is dropped, or this process ends in any way, its processes end and its
/// folder (on tmpfs where the machine has one) is removed.
pub struct ControlPlane {
    // Declared in the order in which they must go: clients before the server, the server before its store, the folder last.
    controller_manager: Option<Tied>,
    api_server: Option<Tied>,
    etcd: Option<Tied>,
    binaries: Binaries,
    authority: Authority,
    site: Site,
    folder: Folder,
}

impl ControlPlane {
    /// The programs that a control plane needs. Build them ahead with [`crate::binaries`] to keep a build's minutes
    /// out of a test's time.
    pub const BINARIES: [Binary; 3] = [Binary::Etcd, Binary::KubeApiserver, Binary::KubeControllerManager];

    /// Starts a control plane and waits until its API server (and controller manager) is ready.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let binaries = tokio::task::spawn_blocking(|| binaries::binaries(&Self::BINARIES))
            .await
            .map_err(|error| {
                Error::Refused(format!("the build of the lab's programs was broken off: {error}"))
            })??;
        let folder = Folder::new()?;
        // Every control plane has a loopback address of its own, so ports never collide: 127.0.0.0/8 is all this host's.
        let loopback = format!(
            "127.{}.{}.{}",
            rand::random_range(64..=254_u8),
            rand::random_range(0..=254_u8),
            rand::random_range(1..=254_u8)
        );
        let site = Site {
            folder: folder.path.clone(),
            api_address: loopback.clone(),
            loopback,
            advertised: None,
            api_server_args: options.api_server_args,
            audit_policy: options.audit.map(Audit::policy),
        };
        let authority = site.prepare()?;
        let etcd_program = site.etcd(&binaries)?;
        let etcd = Tied::start(&etcd_program, site.log(etcd_program.name))?;
        let mut control_plane = Self {
            controller_manager: None,
            api_server: None,
            etcd: Some(etcd),
            binaries,
            authority,
            site,
            folder,
        };
        control_plane.start_api_server().await?;
        if options.controller_manager {
            control_plane.start_controller_manager().await?;
        }
        Ok(control_plane)
    }

    /// The administrator's kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.site.admin()
    }

    /// The administrator's kubeconfig as text.
    pub fn kubeconfig_text(&self) -> Result<String, Error> {
        files::read(&self.site.admin())
    }

    /// A client configuration of the administrator.
    pub async fn client_config(&self) -> Result<kube::Config, Error> {
        kubeconfig::client_config(&self.kubeconfig_text()?).await
    }

    /// A client of the administrator.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        Ok(kube::Client::try_from(self.client_config().await?)?)
    }

    /// The text of a kubeconfig for a user of any name, who may do what RBAC allows that user and that group.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<String, Error> {
        kubeconfig::text(
            &self.site.url(),
            &self.authority.certificate(),
            &self.authority.client(user, group)?,
        )
    }

    /// A client configuration for a user of any name; see [`ControlPlane::kubeconfig_for`].
    pub async fn client_config_for(&self, user: &str, group: Option<&str>) -> Result<kube::Config, Error> {
        kubeconfig::client_config(&self.kubeconfig_for(user, group)?).await
    }

    /// Where the API server listens: `https://<loopback address>:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        self.site.url()
    }

    /// The folder of this control plane. A test may put files there; they go with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// The API server's audit log, one JSON object a line, where [`Options::audit`] asked for it.
    #[must_use]
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.site.audit_policy.as_ref().map(|_| self.site.audit_log())
    }

    /// The API server's metrics in the Prometheus text format.
    pub async fn metrics(&self) -> Result<String, Error> {
        get(&self.client().await?, "/metrics").await
    }

    /// Process id of the API server, for who measures it.
    #[must_use]
    pub fn api_server_pid(&self) -> Option<u32> {
        self.api_server.as_ref().map(Tied::pid)
    }

    /// Freezes the API server (SIGSTOP): connections stay open, nothing is answered.
    pub fn pause_api_server(&self) -> Result<(), Error> {
        self.api_server.as_ref().map_or(Ok(()), Tied::freeze)
    }

    /// Ends [`ControlPlane::pause_api_server`].
    pub fn resume_api_server(&self) -> Result<(), Error> {
        self.api_server
            .as_ref()
            .map_or(Ok(()), |server| server.signal(Signal::CONT))
    }

    /// Kills the API server: connections break, new ones are refused, until [`ControlPlane::start_api_server`].
    pub fn stop_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server, at the same address, and waits until it is ready. Does nothing where it runs.
    pub async fn start_api_server(&mut self) -> Result<(), Error> {
        if self.api_server.is_none() {
            let program = self.site.api_server(&self.binaries)?;
            self.api_server = Some(Tied::start(&program, self.site.log(program.name))?);
        }
        let client = self.client().await?;
        self.wait("the API server to be ready", async || {
            get(&client, "/readyz").await.map(|_| ())
        })
        .await
    }

    /// Starts kube-controller-manager, and waits until it works. Does nothing where it runs.
    ///
    /// It looks for kinds when it starts and then every 30 s, and collects no garbage of owners of a kind that it does not know. Whoever installs definitions
    /// starts it after that, and not by [`Options::controller_manager`].
    pub async fn start_controller_manager(&mut self) -> Result<(), Error> {
        if self.controller_manager.is_none() {
            let program = self.site.controller_manager(&self.binaries)?;
            self.controller_manager = Some(Tied::start(&program, self.site.log(program.name))?);
        }
        self.await_service_accounts().await
    }

    /// Ends the processes and removes the folder. Dropping the value does the same; this reports what failed.
    pub async fn stop(self) -> Result<(), Error> {
        let path = self.folder.path.clone();
        tokio::task::spawn_blocking(move || drop(self))
            .await
            .map_err(|error| Error::Refused(format!("the control plane could not be stopped: {error}")))?;
        if path.exists() {
            return Err(Error::file("remove", &path)(
                std::io::ErrorKind::DirectoryNotEmpty.into(),
            ));
        }
        Ok(())
    }

    /// The controller manager works when it has made the first service account: it shakes hands with the API server first.
    async fn await_service_accounts(&mut self) -> Result<(), Error> {
        let client = self.client().await?;
        let path = "/api/v1/namespaces/default/serviceaccounts/default";
        self.wait("the controller manager to work", async || {
            get(&client, path).await.map(|_| ())
        })
        .await
    }

    /// Waits until `check` succeeds; fails at once when a process has ended.
    async fn wait(&mut self, what: &str, check: impl AsyncFn() -> Result<(), Error>) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let last = match tokio::time::timeout(Duration::from_secs(5), check()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            for process in [&mut self.etcd, &mut self.api_server, &mut self.controller_manager]
                .into_iter()
                .flatten()
            {
                process.check()?;
            }
            if start.elapsed() > READY_LIMIT {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    seconds: READY_LIMIT.as_secs(),
                    last,
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// The body of a GET of a path of the API server.
pub(crate) async fn get(client: &kube::Client, path: &str) -> Result<String, Error> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| Error::Api(kube::Error::HttpError(error)))?;
    Ok(client.request_text(request).await?)
}

impl Audit {
    fn policy(self) -> String {
        let level = match self {
            Self::Metadata => "Metadata",
            Self::Request => "Request",
        };
        format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nomitManagedFields: true\n\
             rules:\n- level: {level}\n"
        )
    }
}

/// A folder of this process's own that is removed even when this process is killed.
struct Folder {
    path: PathBuf,
    janitor: Child,
    /// While this is open, the janitor waits.
    lifeline: Option<ChildStdin>,
}

/// Reads until the other end is closed, which happens however this process ends; then removes the folder. It tries again
/// because processes that the kernel is just killing may still write.
const JANITOR: &str =
    "cat >/dev/null; for n in 1 2 3 4 5; do rm -rf -- \"$1\" 2>/dev/null && exit; sleep 0.2; done; exit 1";

impl Folder {
    fn new() -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = base().join(format!(
            "mim-lab-{}-{number}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        let mut janitor = std::process::Command::new("sh");
        janitor
            .args(["-c", JANITOR, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A group of its own: Ctrl-C on a terminal ends this process, not the janitor.
        std::os::unix::process::CommandExt::process_group(&mut janitor, 0);
        let mut janitor = janitor.spawn().map_err(Error::run("sh"))?;
        let lifeline = janitor.stdin.take();
        files::folder(&path)?;
        Ok(Self {
            path,
            janitor,
            lifeline,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // `ControlPlane::stop` looks whether the folder is gone.
        let _ = self.janitor.wait();
    }
}

/// tmpfs where there is one: etcd is quicker and nothing is left after a power cut.
fn base() -> PathBuf {
    let shared_memory = Path::new("/dev/shm");
    // Containers are often given 64 MiB; etcd alone sets twice that aside for its log.
    let room = rustix::fs::statvfs(shared_memory)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= NEEDED_ROOM);
    let writable = room && tempfile::tempfile_in(shared_memory).is_ok();
    if writable {
        shared_memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}
