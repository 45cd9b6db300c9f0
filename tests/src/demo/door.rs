//! How requests come to the broker, and to the MQTT server: by the Service's address where this machine is the node, else by a forward to each pod behind the Service.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use rand::seq::IndexedRandom as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::error::{Error, Result};
use super::say::Say;
use super::wait::until;

/// Port of the NGSI-LD API on the Service and on its pods.
pub const PORT: u16 = 1026;
/// How often the endpoints are read: kube-proxy, in whose place this stands, is as quick.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the way to pods that are ready may take to be known: kube-proxy writes its rules anew at least every 30 s (`syncPeriod`).
const REACHABLE: Duration = Duration::from_secs(30);

/// A way to a Service.
pub enum Door {
    /// Straight to the Service's address: what kube-proxy does with it is part of what is shown.
    Service(SocketAddr),
    /// By `kubectl port-forward` to each pod behind the Service, chosen anew for each request among those that are ready.
    Forwards(Forwards),
}

impl Door {
    /// Finds the way to this port of the Service of this name, which is that of its pods as well, and waits until it leads somewhere: a pod is ready
    /// before each node knows the way to it, and until then its Service refuses.
    pub async fn open(
        cluster: Arc<Cluster>,
        namespace: &str,
        service: &str,
        port: u16,
        say: Say,
    ) -> Result<Self> {
        let door = Self::find(cluster, namespace, service, port).await?;
        let what = format!("Service {namespace}/{service} to take connections");
        until(say, &what, REACHABLE, || async {
            Ok(door.reachable(service).await)
        })
        .await?;
        Ok(door)
    }

    async fn find(cluster: Arc<Cluster>, namespace: &str, service: &str, port: u16) -> Result<Self> {
        if cluster.lab.is_none() {
            return Forwards::open(cluster, namespace, service, port)
                .await
                .map(Self::Forwards);
        }
        let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
        let address = api.get(service).await?.spec.and_then(|spec| spec.cluster_ip);
        let address: Option<IpAddr> = address.and_then(|address| address.parse().ok());
        let address =
            address.ok_or_else(|| Error::Broken(format!("Service {namespace}/{service} has no address")))?;
        Ok(Self::Service(SocketAddr::new(address, port)))
    }

    /// Where the next connection goes; an error says why there is nowhere to go.
    pub fn address(&self) -> std::result::Result<SocketAddr, String> {
        match self {
            Self::Service(address) => Ok(*address),
            Self::Forwards(forwards) => forwards.address(),
        }
    }

    /// Whether a connection is taken, and what came of it.
    async fn reachable(&self, service: &str) -> (bool, String) {
        let connected = match self.address() {
            Ok(address) => TcpStream::connect(address)
                .await
                .map_err(|problem| format!("{address}: {problem}")),
            Err(nowhere) => Err(nowhere),
        };
        match connected {
            Ok(_) => (true, format!("{service}: takes connections")),
            Err(problem) => (false, format!("{service}: {problem}")),
        }
    }
}

/// The addresses on this machine that lead to pods that are ready.
type Ready = Arc<Mutex<Vec<SocketAddr>>>;

/// Forwards to the pods of a Service, kept as its endpoints come and go. Dropped, they end.
pub struct Forwards {
    ready: Ready,
    keeper: JoinHandle<()>,
}

impl Drop for Forwards {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Forwards {
    async fn open(cluster: Arc<Cluster>, namespace: &str, service: &str, port: u16) -> Result<Self> {
        let ready = Ready::default();
        let mut keeper = Keeper {
            cluster,
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port,
            forwards: BTreeMap::new(),
            ready: Arc::clone(&ready),
        };
        keeper.refresh().await?;
        let keeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                // What cannot be read now is read at the next turn; who has nowhere to go is told so.
                let _ = keeper.refresh().await;
            }
        });
        Ok(Self { ready, keeper })
    }

    fn address(&self) -> std::result::Result<SocketAddr, String> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready
            .choose(&mut rand::rng())
            .copied()
            .ok_or_else(|| "no pod of the Service is ready".to_owned())
    }
}

struct Keeper {
    cluster: Arc<Cluster>,
    namespace: String,
    service: String,
    port: u16,
    forwards: BTreeMap<String, Forward>,
    ready: Ready,
}

struct Forward {
    process: Child,
    address: SocketAddr,
}

impl Keeper {
    /// Brings forwards in line with the endpoints.
    async fn refresh(&mut self) -> Result<()> {
        let endpoints = self.endpoints().await?;
        self.forwards
            .retain(|pod, forward| endpoints.contains_key(pod) && forward.alive());
        let gone: Vec<_> = endpoints
            .keys()
            .filter(|pod| !self.forwards.contains_key(*pod))
            .cloned()
            .collect();
        for pod in gone {
            if let Ok(forward) = Forward::start(&self.cluster, &self.namespace, &pod, self.port).await {
                self.forwards.insert(pod, forward);
            }
        }
        let usable = self
            .forwards
            .iter()
            .filter(|(pod, _)| endpoints.get(*pod) == Some(&true))
            .map(|(_, forward)| forward.address);
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = usable.collect();
        Ok(())
    }

    /// The pods behind the Service, and whether each is ready. A pod that ends is not, though it still serves.
    async fn endpoints(&self) -> Result<BTreeMap<String, bool>> {
        let api: Api<EndpointSlice> = Api::namespaced(self.cluster.client.clone(), &self.namespace);
        let selector = format!("kubernetes.io/service-name={}", self.service);
        let slices = api.list(&ListParams::default().labels(&selector)).await?;
        let endpoints = slices
            .items
            .into_iter()
            .flat_map(|slice| slice.endpoints.into_iter().flatten());
        Ok(endpoints
            .filter_map(|endpoint| {
                let ready = endpoint.conditions.and_then(|conditions| conditions.ready);
                Some((endpoint.target_ref?.name?, ready == Some(true)))
            })
            .collect())
    }
}

impl Forward {
    async fn start(cluster: &Cluster, namespace: &str, pod: &str, port: u16) -> std::io::Result<Self> {
        let (name, ports) = (format!("pod/{pod}"), format!(":{port}"));
        let arguments = ["port-forward", "--namespace", namespace, &name, &ports];
        let (program, all) = cluster.kubectl_command(&arguments);
        let mut process = Command::new(program)
            .args(all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let unread = || std::io::Error::other("kubectl port-forward did not say its port");
        let mut lines = BufReader::new(process.stdout.take().ok_or_else(unread)?).lines();
        let port = loop {
            let line = lines.next_line().await?.ok_or_else(unread)?;
            if let Some(port) = forwarded_port(&line) {
                break port;
            }
        };
        // It tells each connection: what is not read would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            process,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }

    fn alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

/// The port in kubectl's line `Forwarding from 127.0.0.1:40021 -> 1026`.
fn forwarded_port(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("Forwarding from 127.0.0.1:")?;
    rest.split_once(" -> ")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_forward_is_read_from_kubectl() {
        assert_eq!(
            forwarded_port("Forwarding from 127.0.0.1:40021 -> 1026"),
            Some(40021)
        );
        assert_eq!(forwarded_port("Forwarding from [::1]:40021 -> 1026"), None);
        assert_eq!(forwarded_port("Handling connection for 40021"), None);
    }
}
