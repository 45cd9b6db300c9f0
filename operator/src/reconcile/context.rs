//! What every pass is given: the edges, and nothing global.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::client::Requests;
use super::live::Index;
use super::memory::Memories;
use super::peers::Peers;
use super::probes::Probes;
use super::remote::Errands;
use crate::metrics::Metrics;
use crate::release::Releases;

/// The settings that builders and validation see.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Pull secrets for every pod that we make.
    pub pull_secrets: Vec<String>,
    /// Private ranges that may be called at URLs from specs and clients.
    pub allowed_private_cidrs: Vec<ipnet::IpNet>,
    /// Addresses of the API server, which no such call ever reaches.
    pub forbidden_cidrs: Vec<ipnet::IpNet>,
    /// The operator's own namespace, from where it calls operands; `None` outside of a cluster.
    pub namespace: Option<String>,
    /// Lifetime of server certificates.
    pub certificate_lifetime: Option<Duration>,
}

/// What every pass is given.
pub struct Context {
    /// The way to the API server.
    pub requests: Requests,
    /// Children, as last seen.
    pub index: Arc<Index>,
    /// What is remembered of objects.
    pub memories: Arc<Memories>,
    /// The catalogue of operand images.
    pub releases: Arc<Releases>,
    /// Settings of the operator.
    pub settings: Settings,
    /// Probes of services that somebody else runs.
    pub probes: Arc<Probes>,
    /// What is kept outside Kubernetes.
    pub errands: Arc<Errands>,
    /// Objects of ours that others of ours name.
    pub peers: Peers,
    /// Metrics.
    pub metrics: Metrics,
    /// The clock of conditions and certificates.
    pub now: fn() -> Timestamp,
    /// Jitter in `0.0..1.0`.
    pub jitter: fn() -> f64,
    /// Name of this process for events.
    pub instance: String,
}
