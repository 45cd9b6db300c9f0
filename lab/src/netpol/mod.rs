//! NetworkPolicies, enforced by nftables. **For the lab only.**
//!
//! No maintained enforcer builds from package registries alone, and policies that nobody enforces prove nothing in a test. So
//! the lab has this small one: it watches NetworkPolicies, pods and namespaces, translates them ([`translate`]), writes them as
//! text ([`render`]) and lets `nft` replace the table `inet mim-lab` in one transaction, only if the text changed.
//!
//! It is right for one node with pods on one bridge, and for no other cluster:
//!
//! * IPv4 only. IPv6 that a pod sends is dropped, so that link-local addresses are no way around a policy.
//! * A new pod, or a new label, counts once the API server has shown it and the table is replaced: well under a second, but not
//!   before the pod's first packet.
//! * A connection that was allowed lives on when a later policy forbids new ones.
//! * Addresses count after a service address was translated: an `ipBlock` with a service address matches nothing.
//! * A pod may send from an address that is not its own if it has `CAP_NET_RAW`; pods under PodSecurity `restricted` have not.
//! * Pods on the host's network are the node: not isolated, and no selector finds them. What the node starts is never limited.

mod endpoint;
mod enforcer;
mod nft;
mod ranges;
mod render;
mod ruleset;
mod translate;
#[cfg(test)]
mod translate_tests;

use std::{fmt, io, process::ExitStatus, sync::Arc, time::Duration};

use kube::{Client, runtime::watcher};

use self::enforcer::Enforcer;
pub use self::{
    endpoint::{Endpoint, NamedPort},
    nft::{Nft, show_bridged_packets},
    render::render,
    ruleset::{Protocol, Ruleset},
    translate::{Snapshot, translate},
};

/// Why policies are not enforced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is missing.
    #[error("cannot run {program}: {source}; install the packages nftables and iproute2")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// nft did not take the text; the table is as it was before.
    #[error("nft refused the rules ({status}): {message}; this needs root and a kernel with nf_tables")]
    Refused {
        /// How nft ended.
        status: ExitStatus,
        /// What nft said.
        message: String,
    },
    /// The kernel does not show bridged packets to the packet filter.
    #[error(
        "cannot turn on {switch}: {source}; without it pods on one bridge talk past every policy: load the kernel module br_netfilter, as root"
    )]
    BridgedPacketsUnseen {
        /// The file that could not be written.
        switch: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// All watches ended; kube's watchers never do.
    #[error("the watches of the API server ended by themselves; start the enforcer again")]
    WatchesEnded,
}

/// What a caller may want to log.
#[derive(Debug)]
pub enum Event {
    /// The table was replaced.
    Replaced {
        /// Pods whose incoming traffic is limited.
        ingress: usize,
        /// Pods whose outgoing traffic is limited.
        egress: usize,
        /// Time from the first change to the new table.
        after: Duration,
    },
    /// The table is as it was, and the enforcer tries again after the delay.
    Failed {
        /// What went wrong.
        error: Error,
        /// When it tries again.
        again_in: Duration,
    },
    /// A watch broke; it goes on by itself.
    WatchBroke(watcher::Error),
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced {
                ingress,
                egress,
                after,
            } => write!(
                formatter,
                "network policies in force: ingress of {ingress} pods, egress of {egress} pods, {} ms after the change",
                after.as_millis()
            ),
            Self::Failed { error, again_in } => write!(
                formatter,
                "network policies NOT up to date, trying again in {} ms: {error}",
                again_in.as_millis()
            ),
            Self::WatchBroke(error) => write!(
                formatter,
                "a watch for network policies broke and is started again: {error}"
            ),
        }
    }
}

/// How the enforcer runs.
pub struct Options {
    /// The bridge that pods are plugged into.
    pub bridge: String,
    /// How long to wait for more changes after the first.
    pub debounce: Duration,
    /// How `nft` is called.
    pub nft: Nft,
    /// Told what happens.
    pub observer: Arc<dyn Fn(&Event) + Send + Sync>,
}

impl Options {
    /// 50 ms of debounce, the `nft` of this machine, events to standard error.
    pub fn new(bridge: impl Into<String>) -> Self {
        Self {
            bridge: bridge.into(),
            debounce: Duration::from_millis(50),
            nft: Nft::default(),
            observer: Arc::new(|event| eprintln!("{event}")),
        }
    }
}

/// Enforces the policies of the cluster until the process ends. Returns only with an error that no waiting heals; a table that
/// was written stays in force.
pub async fn run(client: Client, options: Options) -> Result<(), Error> {
    show_bridged_packets().await?;
    Enforcer::enforce(client, options).await
}

/// Deletes the table, whether it is there or not: from then on nothing is limited.
pub async fn remove() -> Result<(), Error> {
    Nft::default().apply(&render::removal()).await
}
