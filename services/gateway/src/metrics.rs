//! What is measured. No subject, tenant, id or path of a client is ever a label.

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    refused: Family<Cause, Counter>,
    duration: Histogram,
    clients: Gauge,
    handshakes_failed: Counter,
    settings_current: Gauge,
    audit_lost: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mim_gateway");
        let own = Self {
            answered: Family::default(),
            refused: Family::default(),
            duration: Histogram::new([
                0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
            ]),
            clients: Gauge::default(),
            handshakes_failed: Counter::default(),
            settings_current: Gauge::default(),
            audit_lost: Counter::default(),
            registry: Registry::default(),
        };
        registry.register(
            "requests",
            "Answered requests by method and status",
            own.answered.clone(),
        );
        registry.register(
            "refused",
            "Requests that the gateway itself refused, by cause",
            own.refused.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From the head of a request to the head of its answer",
            own.duration.clone(),
        );
        registry.register(
            "client_connections",
            "Open connections of clients",
            own.clients.clone(),
        );
        registry.register(
            "handshakes_failed",
            "Connections that ended before TLS was spoken",
            own.handshakes_failed.clone(),
        );
        registry.register(
            "settings_current",
            "1 while what the files say is in force, 0 while they cannot be used and what held before holds on",
            own.settings_current.clone(),
        );
        registry.register(
            "audit_lines_lost",
            "Lines of the audit trail that could not be written",
            own.audit_lost.clone(),
        );
        Self { registry, ..own }
    }
}

impl Metrics {
    /// Counts an answer.
    pub fn answered(&self, method: Option<&Method>, status: StatusCode, took: Duration) {
        // Methods that nobody serves would be labels a client can choose.
        let method = match method.map(Method::as_str) {
            Some("GET") => "GET",
            Some("POST") => "POST",
            Some("PUT") => "PUT",
            Some("PATCH") => "PATCH",
            Some("DELETE") => "DELETE",
            Some("HEAD") => "HEAD",
            Some("OPTIONS") => "OPTIONS",
            _ => "other",
        };
        let status = status.as_u16();
        self.answered.get_or_create(&Answered { method, status }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a request that is answered here and not by the broker.
    pub fn refused(&self, cause: &'static str) {
        self.refused.get_or_create(&Cause { cause }).inc();
    }

    /// Counts a connection that ended before TLS was spoken.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// Says whether what the files say is in force.
    pub fn settings_current(&self, current: bool) {
        self.settings_current.set(i64::from(current));
    }

    /// Counts lines of the audit trail that are lost.
    pub fn audit_lost(&self, lines: u64) {
        self.audit_lost.inc_by(lines);
    }

    /// Counts a connection of a client until the guard is dropped.
    #[must_use]
    pub fn client(&self) -> ClientCounted {
        self.clients.inc();
        ClientCounted(self.clients.clone())
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// See [`Metrics::client`].
pub struct ClientCounted(Gauge);

impl Drop for ClientCounted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
