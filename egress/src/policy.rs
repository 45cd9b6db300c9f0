//! Which addresses may be reached. Pure: an address and a policy in, yes or a reason out.
//!
//! The ranges are those of the IANA special-purpose address registries (RFC 6890 and its updates), read as an
//! allow-list: an IPv6 address outside of 2000::/3 is refused unless a rule below knows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What the administrator of this process has decided about addresses.
///
/// The default reaches public addresses only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    allowed_private: Vec<IpNet>,
    forbidden: Vec<IpNet>,
    loopback: bool,
}

/// Why an address is not reached. The words complete "… resolves to an address that is".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// 127.0.0.0/8 or ::1: this process' own pod.
    #[error("a loopback address")]
    Loopback,
    /// 169.254.0.0/16 or fe80::/10; the metadata service of most clouds is in it.
    #[error("a link-local address")]
    LinkLocal,
    /// A metadata or host-agent address of a cloud that is not link-local.
    #[error("a cloud metadata address")]
    Metadata,
    /// An address that the administrator forbade: the Kubernetes API server and what else was listed.
    #[error("forbidden by the administrator (API server or listed range)")]
    Forbidden,
    /// A private range that the administrator has not allowed.
    #[error("in a private range that the administrator has not allowed (egress.allowedPrivateCidrs)")]
    Private,
    /// 224.0.0.0/4 or ff00::/8.
    #[error("a multicast address")]
    Multicast,
    /// Unspecified, broadcast, documentation, reserved: nothing on the Internet answers there.
    #[error("a reserved address")]
    Reserved,
}

/// What kind of place an address is, before any policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Public,
    Private,
    Never(Refused),
}

impl Policy {
    /// A policy that reaches public addresses, and of the private ranges those in `allowed_private`.
    ///
    /// `forbidden` is stronger than everything else, also for public addresses. An allowance never opens loopback,
    /// link-local, metadata, multicast or reserved addresses, however wide it is.
    #[must_use]
    pub fn new(allowed_private: Vec<IpNet>, forbidden: Vec<IpNet>) -> Self {
        Self {
            allowed_private,
            forbidden,
            loopback: false,
        }
    }

    /// The same policy, which also reaches loopback addresses: for tests with a server on this machine, never for a
    /// running process.
    #[must_use]
    pub fn with_loopback_for_tests(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Says yes to an address, or why not. With `private_allowed` (the call is for a Service of its own namespace)
    /// private ranges need no allowance of the administrator; all else stays refused.
    pub fn check(&self, address: IpAddr, private_allowed: bool) -> Result<(), Refused> {
        // A mapped address is an IPv4 address to every socket. Of other spellings both are judged: the address as it
        // stands, and the IPv4 address that a router or a kernel would find in it.
        let address = address.to_canonical();
        self.check_spelling(address, private_allowed)?;
        match address {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(v6) => {
                embedded_v4(v6).map_or(Ok(()), |v4| self.check_spelling(IpAddr::V4(v4), private_allowed))
            }
        }
    }

    fn check_spelling(&self, address: IpAddr, private_allowed: bool) -> Result<(), Refused> {
        if contains(&self.forbidden, address) {
            return Err(Refused::Forbidden);
        }
        match place(address) {
            Place::Public => Ok(()),
            Place::Private if private_allowed || contains(&self.allowed_private, address) => Ok(()),
            Place::Private => Err(Refused::Private),
            Place::Never(Refused::Loopback) if self.loopback => Ok(()),
            Place::Never(why) => Err(why),
        }
    }
}

/// The API server as every pod's environment names it (`KUBERNETES_SERVICE_HOST`), for [`Policy::new`]. Empty outside
/// of a cluster. A process that knows the endpoints behind that Service adds them.
#[must_use]
pub fn api_server_of_this_pod() -> Vec<IpNet> {
    std::env::var("KUBERNETES_SERVICE_HOST")
        .ok()
        .and_then(|host| host.parse::<IpAddr>().ok())
        .map(IpNet::from)
        .into_iter()
        .collect()
}

fn contains(nets: &[IpNet], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(v4) => place_v4(v4),
        IpAddr::V6(v6) => place_v6(v6),
    }
}

fn place_v4(address: Ipv4Addr) -> Place {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (127, ..) => Place::Never(Refused::Loopback),
        (169, 254, ..) => Place::Never(Refused::LinkLocal),
        // Alibaba Cloud, Azure (wire server), Oracle Cloud classic.
        (100, 100, 100, 200) | (168, 63, 129, 16) | (192, 0, 0, 192) => Place::Never(Refused::Metadata),
        (224..=239, ..) => Place::Never(Refused::Multicast),
        // "This network", IETF protocol assignments, documentation (3), 6to4 relays, class E with broadcast.
        (0 | 240..=255, ..)
        | (192, 0, 0 | 2, _)
        | (198, 51, 100, _)
        | (203, 0, 113, _)
        | (192, 88, 99, _) => Place::Never(Refused::Reserved),
        // RFC 1918 (3), carrier-grade NAT (RFC 6598), benchmarking (RFC 2544).
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) | (100, 64..=127, ..) | (198, 18..=19, ..) => {
            Place::Private
        }
        _ => Place::Public,
    }
}

fn place_v6(address: Ipv6Addr) -> Place {
    if address == Ipv6Addr::LOCALHOST {
        return Place::Never(Refused::Loopback);
    }
    if METADATA_V6.contains(&address) {
        return Place::Never(Refused::Metadata);
    }
    if let Some(v4) = carried_v4(address) {
        return place_v4(v4);
    }
    match address.segments() {
        [0xfe80..=0xfebf, ..] => Place::Never(Refused::LinkLocal),
        [0xff00..=0xffff, ..] => Place::Never(Refused::Multicast),
        // Unique local (RFC 4193); site-local, which some networks still use (RFC 3879).
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Place::Private,
        // IETF protocol assignments with Teredo and ORCHID (2001::/23), documentation (2001:db8::/32, 3fff::/20).
        [0x2001, 0x0000..=0x01ff | 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => {
            Place::Never(Refused::Reserved)
        }
        [0x2000..=0x3fff, ..] => Place::Public,
        _ => Place::Never(Refused::Reserved),
    }
}

/// Metadata services on unique local addresses: AWS, Google Cloud, Oracle Cloud.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// The IPv4 address that an IPv6 address merely carries: IPv4-mapped (RFC 4291), IPv4-compatible (deprecated there),
/// IPv4-translated (RFC 2765), NAT64 (RFC 6052 well-known prefix), 6to4 (RFC 3056).
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        // Loopback, not the IPv4 address 0.0.0.1.
        [0, 0, 0, 0, 0, 0, 0, 1] => None,
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    }
}

/// As [`carried_v4`], and the IPv4 address of an ISATAP interface identifier (RFC 5214), which any prefix may have.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    carried_v4(address).or(match address.segments() {
        [.., 0x0000 | 0x0100 | 0x0200 | 0x0300, 0x5efe, high, low] => Some(joined(high, low)),
        _ => None,
    })
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
