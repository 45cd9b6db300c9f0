//! The whole node: control plane, container runtime, kubelet, proxy, DNS, volumes and network policies, on this machine.
//!
//! There is at most one per machine: its bridge, addresses and control groups have fixed names. Everything else it writes is
//! below one folder, so that it can be taken away whole, also after it was killed in the middle.

mod addons;
pub(crate) mod config;
mod programs;
mod removal;
mod status;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node as KubernetesNode;
use kube::Api;

use crate::binaries::{self, Binary};
use crate::cgroup;
use crate::components::Site;
use crate::error::Error;
use crate::files;
use crate::host::{self, Host};
use crate::kubeconfig;
use crate::load;
use crate::network;
use crate::progress::Progress;
use crate::state::{self, Origin, Stamp, State};
use crate::system_images;
use config::NODE_NAME;
pub use status::Status;

/// Where a node keeps everything.
const FOLDER: &str = "/var/lib/mim-lab";
const LOCK: &str = "/run/lock/mim-lab.lock";
/// How long each thing that is waited for may take.
const LIMIT: Duration = Duration::from_mins(3);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What [`Node::up`] does, as its progress tells it.
const STEPS: usize = 6;

/// The lab's node on this machine, whether it is up or not.
pub struct Node {
    state: State,
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// The programs that a node needs.
    pub const BINARIES: [Binary; 13] = [
        Binary::Etcd,
        Binary::KubeApiserver,
        Binary::KubeControllerManager,
        Binary::KubeScheduler,
        Binary::Kubelet,
        Binary::KubeProxy,
        Binary::Kubectl,
        Binary::Containerd,
        Binary::ContainerdShim,
        Binary::Ctr,
        Binary::Coredns,
        Binary::Pause,
        Binary::Probe,
    ];

    /// The node of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State {
                folder: FOLDER.into(),
            },
        }
    }

    /// The administrator's kubeconfig; an error where there is no node that was started whole.
    pub fn kubeconfig(&self) -> Result<PathBuf, Error> {
        match self.state.stamp()? {
            Some(stamp) if stamp.ready => Ok(self.site().admin()),
            _ => Err(Error::NotUp(self.state.folder.clone())),
        }
    }

    /// Brings the node up and waits until it and its DNS are ready. Where it is up already, nothing happens but that what
    /// has ended is started again. A node of other sources, or one that was killed half-way, is replaced.
    pub async fn up(&self) -> Result<(), Error> {
        // Before anything is built: that takes minutes.
        host::refuse_without_root("up")?;
        let binaries = binaries::binaries(&Self::BINARIES)?;
        let images = system_images::archive(&binaries)?;
        let progress = Progress::new(STEPS);
        progress.step("look at the machine");
        let host = host::prepare(&progress)?;
        let _lock = state::lock(Path::new(LOCK), &progress)?;
        let origin = Origin::current(&binaries.digest())?;
        let groups = self.prepare(&origin, &host, &progress)?;
        let programs = self.programs(&binaries)?;

        progress.step("start etcd, containerd and the API server");
        for program in [&programs.etcd, &programs.containerd, &programs.api_server] {
            self.state.start(program, &groups)?;
        }
        progress.waits_for("containerd");
        self.wait("containerd", async || ready_socket(&self.socket()))
            .await?;
        progress.step("load the lab's own images");
        load::load(binaries.path(Binary::Ctr)?, &self.socket(), &images)?;
        progress.waits_for("the API server");
        let client = self.client().await?;
        self.wait("the API server", async || self.api_ready(&client).await)
            .await?;

        progress.step("start the node");
        for program in &programs.rest {
            self.state.start(program, &groups)?;
        }
        addons::apply(&client, &upstream_servers()?.0).await?;
        progress.step("wait for the node");
        progress.waits_for("condition Ready of the Node");
        self.wait("the node to be Ready", async || node_ready(&client).await)
            .await?;
        progress.step("wait for DNS");
        progress.waits_for("the pod of CoreDNS");
        self.wait("DNS to be ready", async || dns_ready(&client).await)
            .await?;
        progress.done();
        if let Some(stamp) = self.state.stamp()? {
            self.state.write_stamp(&Stamp { ready: true, ..stamp })?;
        }
        Ok(())
    }

    /// Loads OCI archives and returns the names by digest that pods can use. See `lab/src/load.rs`.
    pub fn load(&self, archives: &[PathBuf]) -> Result<Vec<String>, Error> {
        self.kubeconfig()?;
        let binaries = binaries::binaries(&[Binary::Ctr])?;
        let mut names = Vec::new();
        for archive in archives {
            names.extend(load::load(binaries.path(Binary::Ctr)?, &self.socket(), archive)?);
        }
        Ok(names)
    }

    /// Kills a container with SIGKILL, as the kernel does when memory runs out. `id` is that of the pod's status,
    /// `containerd://…`. The kubelet starts it again as the pod's policy says.
    pub fn kill(&self, id: &str) -> Result<(), Error> {
        self.kubeconfig()?;
        let binaries = binaries::binaries(&[Binary::Ctr])?;
        load::kill(binaries.path(Binary::Ctr)?, &self.socket(), id)
    }

    /// Ends the node and leaves nothing of it. Fine where there is none.
    pub fn down(&self) -> Result<(), Error> {
        host::refuse_without_root("down")?;
        let progress = Progress::new(1);
        progress.step("take the lab down");
        let _lock = state::lock(Path::new(LOCK), &progress)?;
        self.remove()?;
        progress.done();
        Ok(())
    }

    /// Decides what becomes of a node that is there, makes what a new one needs, and returns its control groups.
    fn prepare(&self, origin: &Origin, host: &Host, progress: &Progress) -> Result<Vec<PathBuf>, Error> {
        let found = self.state.stamp();
        let reason = match &found {
            Ok(None) => self
                .is_there()?
                .then(|| "it was being removed when that was broken off".to_owned()),
            Ok(Some(stamp)) => stamp.origin.difference(origin).or_else(|| {
                (!stamp.ready).then(|| "it was being started when that was broken off".to_owned())
            }),
            Err(error) => Some(error.to_string()),
        };
        match (reason, found) {
            (None, Ok(Some(_))) => {
                progress.say("the lab is up already; what has ended is started again");
                self.state.forget_ended()?;
                return cgroup::create();
            }
            (Some(reason), _) => {
                progress.say(&format!("replacing the lab that is there: {reason}"));
                self.remove()?;
            }
            (None, _) => {}
        }
        host::refuse_other_kubelet()?;
        let switches = network::switches()?;
        self.state.write_stamp(&Stamp {
            origin: origin.clone(),
            ready: false,
            switches,
        })?;
        let groups = cgroup::create()?;
        network::create()?;
        self.write_configuration(host)?;
        Ok(groups)
    }

    /// Keys, certificates and configuration files of a new node.
    fn write_configuration(&self, host: &Host) -> Result<(), Error> {
        let site = self.site();
        let authority = site.prepare()?;
        let subjects = [NODE_NAME.to_owned(), network::NODE_ADDRESS.to_owned()];
        authority
            .server(&format!("system:node:{NODE_NAME}"), &subjects)?
            .save(&site.pki(), "kubelet")?;
        let identity = authority.client(&format!("system:node:{NODE_NAME}"), Some("system:nodes"))?;
        kubeconfig::write(
            &site.kubeconfig("kubelet"),
            &site.url(),
            &authority.certificate(),
            &identity,
        )?;

        let runtime = self.runtime();
        files::folder(&runtime.join("cni"))?;
        files::write(
            &runtime.join("config.toml"),
            &config::containerd(&runtime, &host.cni, &host.runc),
        )?;
        let json = |path: &Path, value: serde_json::Value| {
            files::write(path, &serde_json::to_string_pretty(&value)?)
        };
        json(&runtime.join("cni/10-mim-lab.conflist"), config::cni(&runtime))?;
        let resolv_conf = upstream_servers()?.1;
        let kubelet = config::kubelet(&self.state.folder, &site.pki(), &self.socket(), &resolv_conf);
        json(&self.state.folder.join("kubelet.json"), kubelet)?;
        json(
            &self.state.folder.join("kube-proxy.json"),
            config::kube_proxy(&site.kubeconfig("kube-proxy")),
        )
    }

    fn site(&self) -> Site {
        Site {
            folder: self.state.folder.clone(),
            loopback: network::LOOPBACK.to_owned(),
            api_address: network::NODE_ADDRESS.to_owned(),
            advertised: Some(network::NODE_ADDRESS.to_owned()),
            api_server_args: Vec::new(),
            audit_policy: None,
        }
    }

    /// The container runtime's folder.
    fn runtime(&self) -> PathBuf {
        self.state.folder.join("containerd")
    }

    fn socket(&self) -> PathBuf {
        self.runtime().join("containerd.sock")
    }

    async fn client(&self) -> Result<kube::Client, Error> {
        let config = kubeconfig::client_config(&files::read(&self.site().admin())?).await?;
        Ok(kube::Client::try_from(config)?)
    }

    async fn api_ready(&self, client: &kube::Client) -> Result<(), Error> {
        crate::control_plane::get(client, "/readyz").await.map(drop)
    }

    /// Waits until `check` succeeds; fails at once when one of the lab's processes has ended.
    async fn wait(&self, what: &str, check: impl AsyncFn() -> Result<(), Error>) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let last = match tokio::time::timeout(Duration::from_secs(5), check()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            for name in self.state.names()? {
                self.state.check(&name)?;
            }
            if start.elapsed() > LIMIT {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    seconds: LIMIT.as_secs(),
                    last,
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

fn ready_socket(socket: &Path) -> Result<(), Error> {
    std::os::unix::net::UnixStream::connect(socket)
        .map(drop)
        .map_err(Error::file("connect to", socket))
}

async fn node_ready(client: &kube::Client) -> Result<(), Error> {
    let node = Api::<KubernetesNode>::all(client.clone()).get(NODE_NAME).await?;
    let conditions = node
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(condition) if condition.status == "True" => Ok(()),
        Some(condition) => Err(Error::Refused(condition.message.clone().unwrap_or_default())),
        None => Err(Error::Refused("the kubelet has not said anything yet".to_owned())),
    }
}

async fn dns_ready(client: &kube::Client) -> Result<(), Error> {
    let deployment = Api::<Deployment>::namespaced(client.clone(), "kube-system")
        .get("coredns")
        .await?;
    let ready = deployment
        .status
        .and_then(|status| status.ready_replicas)
        .unwrap_or_default();
    if ready > 0 {
        Ok(())
    } else {
        Err(Error::Refused(
            "no pod of Deployment kube-system/coredns is ready".to_owned(),
        ))
    }
}

/// The host's name servers that pods can reach, and the file they stand in. Where the host has a local resolver, its own
/// file names only that one, and another has the servers behind it.
fn upstream_servers() -> Result<(Vec<IpAddr>, PathBuf), Error> {
    let own = PathBuf::from("/etc/resolv.conf");
    for path in [&own, &PathBuf::from("/run/systemd/resolve/resolv.conf")] {
        let servers = config::reachable_servers(&files::read_optional(path)?.unwrap_or_default());
        if !servers.is_empty() {
            return Ok((servers, path.clone()));
        }
    }
    Ok((Vec::new(), own))
}
