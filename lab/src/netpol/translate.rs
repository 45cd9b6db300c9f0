//! From the cluster's objects to what the packet filter must do. Pure: the same objects give the same value.
//!
//! The meaning of every field is that of the API reference of `networking.k8s.io/v1` NetworkPolicy.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::core::{Selector, SelectorExt};

use super::{
    endpoint::Endpoint,
    ruleset::{Addresses, Isolated, Name, Numbers, Peers, Ports, Protocol, Rule, Ruleset, Side},
};

/// The cluster as last seen. Order does not matter.
#[derive(Debug, Default)]
pub struct Snapshot<'a> {
    /// All NetworkPolicies.
    pub policies: Vec<&'a NetworkPolicy>,
    /// All pods that have an address of their own.
    pub endpoints: Vec<Endpoint>,
    /// Labels of all namespaces. A namespace that is not listed matches no selector.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// What the policies of a cluster mean for its pods.
#[must_use]
pub fn translate(snapshot: &Snapshot<'_>) -> Ruleset {
    let mut ruleset = Ruleset::default();
    for policy in &snapshot.policies {
        let Some(reading) = Reading::of(snapshot, policy) else {
            continue;
        };
        if reading.limits_ingress() {
            reading.isolate(&mut ruleset.ingress, reading.ingress());
        }
        if reading.limits_egress() {
            reading.isolate(&mut ruleset.egress, reading.egress());
        }
    }
    ruleset
}

/// One policy that selects at least one pod.
struct Reading<'a> {
    snapshot: &'a Snapshot<'a>,
    name: Name,
    spec: &'a NetworkPolicySpec,
    selected: Vec<&'a Endpoint>,
}

impl<'a> Reading<'a> {
    fn of(snapshot: &'a Snapshot<'a>, policy: &'a NetworkPolicy) -> Option<Self> {
        let name = Name {
            namespace: policy.metadata.namespace.clone()?,
            name: policy.metadata.name.clone()?,
        };
        let spec = policy.spec.as_ref()?;
        let selector = Labels::of(spec.pod_selector.as_ref());
        let selected: Vec<_> = snapshot
            .endpoints
            .iter()
            .filter(|pod| pod.namespace == name.namespace && selector.select(&pod.labels))
            .collect();
        (!selected.is_empty()).then_some(Self {
            snapshot,
            name,
            spec,
            selected,
        })
    }

    /// No types at all: ingress always, egress where the policy has egress rules.
    fn limits_ingress(&self) -> bool {
        self.types()
            .is_none_or(|types| types.iter().any(|word| word == "Ingress"))
    }

    fn limits_egress(&self) -> bool {
        self.types().map_or_else(
            || self.spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
            |types| types.iter().any(|word| word == "Egress"),
        )
    }

    fn types(&self) -> Option<&[String]> {
        self.spec
            .policy_types
            .as_deref()
            .filter(|types| !types.is_empty())
    }

    fn isolate(&self, side: &mut Side, rules: Vec<Rule>) {
        for pod in &self.selected {
            let name = Name {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
            };
            let isolated = side.pods.entry(pod.address).or_insert_with(|| Isolated {
                pod: name.clone(),
                policies: BTreeSet::new(),
            });
            // For a moment a new pod may have the address of one that is going: the order of reading must not show.
            if name < isolated.pod {
                isolated.pod = name;
            }
            isolated.policies.insert(self.name.clone());
        }
        let rules = rules.into_iter().filter(|rule| !rule.is_empty()).collect();
        side.policies.insert(self.name.clone(), rules);
    }

    /// A name in an ingress rule is a port of the selected pod.
    fn ingress(&self) -> Vec<Rule> {
        let rules = self.spec.ingress.iter().flatten();
        rules
            .map(|rule| Rule {
                peers: self.peers(rule.from.as_deref()),
                ports: ports(rule.ports.as_deref(), || self.selected.iter().copied()),
            })
            .collect()
    }

    /// A name in an egress rule is a port of the pod that is called.
    fn egress(&self) -> Vec<Rule> {
        let rules = self.spec.egress.iter().flatten();
        rules
            .map(|rule| {
                let peers = self.peers(rule.to.as_deref());
                let called = || {
                    self.snapshot.endpoints.iter().filter(|endpoint| match &peers {
                        Peers::Any => true,
                        Peers::Among(addresses) => addresses.contains(endpoint.address),
                    })
                };
                let ports = ports(rule.ports.as_deref(), called);
                Rule { peers, ports }
            })
            .collect()
    }

    /// No peers, or an empty list, is everybody.
    fn peers(&self, peers: Option<&[NetworkPolicyPeer]>) -> Peers {
        let Some(peers) = peers.filter(|peers| !peers.is_empty()) else {
            return Peers::Any;
        };
        let mut addresses = Addresses::default();
        for peer in peers {
            match &peer.ip_block {
                Some(block) => addresses.extend(&block_addresses(block)),
                None => {
                    for pod in self.pods_of(peer) {
                        addresses.insert(pod.address, pod.address);
                    }
                }
            }
        }
        Peers::Among(addresses)
    }

    /// Pods alone: of the policy's namespace. Namespaces alone: all their pods. Both: those pods in those namespaces.
    fn pods_of(&self, peer: &NetworkPolicyPeer) -> impl Iterator<Item = &'a Endpoint> {
        let nothing_said = peer.pod_selector.is_none() && peer.namespace_selector.is_none();
        let pods = Labels::of(peer.pod_selector.as_ref());
        let namespaces = peer
            .namespace_selector
            .as_ref()
            .map(|selector| Labels::of(Some(selector)));
        self.snapshot.endpoints.iter().filter(move |endpoint| {
            let in_namespace = match &namespaces {
                None => endpoint.namespace == self.name.namespace,
                Some(namespaces) => self
                    .snapshot
                    .namespaces
                    .get(&endpoint.namespace)
                    .is_some_and(|labels| namespaces.select(labels)),
            };
            !nothing_said && in_namespace && pods.select(&endpoint.labels)
        })
    }
}

/// A label selector that was read. The API server refuses selectors with unknown operators; should one come, it selects nothing.
struct Labels(Option<Selector>);

impl Labels {
    fn of(selector: Option<&LabelSelector>) -> Self {
        Self(selector.cloned().unwrap_or_default().try_into().ok())
    }

    fn select(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Addresses of a block without its exceptions; none at all for what is not IPv4.
fn block_addresses(block: &IPBlock) -> Addresses {
    let mut addresses = Addresses::default();
    let Some((first, last)) = bounds(&block.cidr) else {
        return addresses;
    };
    addresses.insert(first, last);
    for exception in block.except.iter().flatten() {
        match bounds(exception) {
            Some((first, last)) => addresses.remove(first, last),
            // An exception that cannot be read must not open what it was meant to close.
            None => return Addresses::default(),
        }
    }
    addresses
}

fn bounds(cidr: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let net: Ipv4Net = cidr.parse().ok()?;
    Some((net.network(), net.broadcast()))
}

/// No ports, or an empty list, is every port of every protocol. `called` gives the endpoints whose port names count.
fn ports<'a, I>(ports: Option<&[NetworkPolicyPort]>, called: impl Fn() -> I) -> Ports
where
    I: Iterator<Item = &'a Endpoint>,
{
    let Some(ports) = ports.filter(|ports| !ports.is_empty()) else {
        return Ports::Any;
    };
    let mut numbered: BTreeMap<Protocol, Numbers> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for port in ports {
        let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else {
            continue;
        };
        if let Some(IntOrString::String(name)) = &port.port {
            named.extend(called().filter_map(|endpoint| {
                let number = endpoint.port(name, protocol)?;
                Some((endpoint.address, protocol, number))
            }));
        } else if let Some((first, last)) = span(port) {
            numbered.entry(protocol).or_default().insert(first, last);
        }
    }
    Ports::Among { numbered, named }
}

/// First and last port of an entry without a name; all ports where it gives none.
fn span(port: &NetworkPolicyPort) -> Option<(u16, u16)> {
    let Some(IntOrString::Int(first)) = port.port else {
        return Some((0, u16::MAX));
    };
    let last = port.end_port.unwrap_or(first);
    Some((u16::try_from(first).ok()?, u16::try_from(last).ok()?))
}
