//! What a policy can speak of: an address with labels and named ports.

use std::{collections::BTreeMap, net::Ipv4Addr};

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

use super::ruleset::Protocol;

/// A pod that has its own address in the pod network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// The pod's IPv4 address.
    pub address: Ipv4Addr,
    /// Container ports that have a name.
    pub ports: Vec<NamedPort>,
}

/// A container port with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Name in the pod's spec.
    pub name: String,
    /// Protocol in the pod's spec, TCP where it says none.
    pub protocol: Protocol,
    /// Port in the container.
    pub number: u16,
}

impl Endpoint {
    /// The endpoint a pod is, or `None` where policies do not apply: a pod on the host's network is the node itself, a pod
    /// that ended has given its address back, a pod without an IPv4 address cannot be reached.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref()?;
        let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if ended || spec.host_network == Some(true) {
            return None;
        }
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            address: ipv4(pod)?,
            ports: spec
                .containers
                .iter()
                .chain(spec.init_containers.iter().flatten().filter(|init| stays(init)))
                .flat_map(|container| container.ports.iter().flatten())
                .filter_map(named)
                .collect(),
        })
    }

    /// The number behind a port name; `None` where the pod has no port of that name and protocol.
    #[must_use]
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.ports
            .iter()
            .find(|port| port.name == name && port.protocol == protocol)
            .map(|port| port.number)
    }
}

/// An init container that runs beside the others (a sidecar) serves like them.
fn stays(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn ipv4(pod: &Pod) -> Option<Ipv4Addr> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|entry| &entry.ip);
    listed
        .chain(status.pod_ip.iter())
        .find_map(|address| address.parse().ok())
}

fn named(port: &ContainerPort) -> Option<NamedPort> {
    Some(NamedPort {
        name: port.name.clone()?,
        protocol: Protocol::parse(port.protocol.as_deref())?,
        number: u16::try_from(port.container_port).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> Pod {
        serde_yaml::from_str(yaml).unwrap()
    }

    const RUNNING: &str = "
metadata: {name: broker-0, namespace: city, labels: {app: broker}}
spec:
  containers:
  - name: broker
    ports: [{name: http, containerPort: 1026}, {containerPort: 9}]
  - name: metrics
    ports: [{name: dns, containerPort: 53, protocol: UDP}]
  initContainers:
  - name: sidecar
    restartPolicy: Always
    ports: [{name: side, containerPort: 15000}]
  - name: setup
    ports: [{name: setup, containerPort: 7}]
status: {phase: Running, podIP: 'fd00::5', podIPs: [{ip: 'fd00::5'}, {ip: 10.244.0.5}]}
";

    #[test]
    fn a_running_pod_has_its_ipv4_address_and_the_named_ports_of_what_stays() {
        let endpoint = Endpoint::of(&pod(RUNNING)).unwrap();
        assert_eq!(endpoint.address, Ipv4Addr::new(10, 244, 0, 5));
        assert_eq!(endpoint.port("http", Protocol::Tcp), Some(1026));
        assert_eq!(endpoint.port("dns", Protocol::Udp), Some(53));
        assert_eq!(endpoint.port("dns", Protocol::Tcp), None, "the protocol counts");
        assert_eq!(endpoint.port("side", Protocol::Tcp), Some(15000));
        assert_eq!(
            endpoint.port("setup", Protocol::Tcp),
            None,
            "it has ended before the pod serves"
        );
    }

    #[test]
    fn pods_that_policies_do_not_concern_are_no_endpoints() {
        for (what, changed) in [
            ("ended well", RUNNING.replace("Running", "Succeeded")),
            ("ended badly", RUNNING.replace("Running", "Failed")),
            (
                "on the host's network",
                RUNNING.replace("spec:", "spec:\n  hostNetwork: true"),
            ),
            ("without an IPv4 address", RUNNING.replace("{ip: 10.244.0.5}", "")),
        ] {
            assert_eq!(Endpoint::of(&pod(&changed)), None, "{what}");
        }
    }
}
