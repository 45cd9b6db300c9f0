//! What the packet filter must do, as a value: no Kubernetes words, no nftables words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
};

use super::ranges::Ranges;

/// Addresses.
pub type Addresses = Ranges<Ipv4Addr>;
/// Port numbers.
pub type Numbers = Ranges<u16>;

/// A transport protocol that a NetworkPolicy can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Reads the API's word; no word is TCP, an unknown one is `None`.
    #[must_use]
    pub fn parse(word: Option<&str>) -> Option<Self> {
        match word {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Everything that is enforced. Equal clusters give equal values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Traffic that pods receive.
    pub ingress: Side,
    /// Traffic that pods start.
    pub egress: Side,
}

/// One direction. What is not listed is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// Isolated pods by address: only what one of their policies allows may pass.
    pub pods: BTreeMap<Ipv4Addr, Isolated>,
    /// The policies that those pods name, with what each allows. A packet passes if one rule matches.
    pub policies: BTreeMap<Name, Vec<Rule>>,
}

/// An isolated pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolated {
    /// The pod, for people who read the table.
    pub pod: Name,
    /// Policies that select it; never empty.
    pub policies: BTreeSet<Name>,
}

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Namespace.
    pub namespace: String,
    /// Name in it.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What one rule of a policy allows: peers and ports must both match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The other side: the source of ingress, the destination of egress.
    pub peers: Peers,
    /// The port of the destination, whichever side that is.
    pub ports: Ports,
}

/// The other side of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Anybody.
    Any,
    /// One of these addresses.
    Among(Addresses),
}

/// Where a connection goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Any port and any protocol, ICMP too.
    Any,
    /// A number or a name matches.
    Among {
        /// Numbers by protocol.
        numbered: BTreeMap<Protocol, Numbers>,
        /// Ports given by name: each name means another number in each destination.
        named: BTreeSet<(Ipv4Addr, Protocol, u16)>,
    },
}

impl Rule {
    /// Whether no packet can ever match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nobody = matches!(&self.peers, Peers::Among(addresses) if addresses.is_empty());
        let nowhere = matches!(&self.ports, Ports::Among { numbered, named }
            if named.is_empty() && numbered.values().all(Ranges::is_empty));
        nobody || nowhere
    }
}
