//! What is measured. No tenant, id or path of a client is ever a label.

use crate::store::Store;
use crate::store::quota::{Quota, Summary};
use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    route: String,
    method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQuota {
    quota: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tenants {
    quota: &'static str,
    tenants: &'static str,
}

/// How tenants fare with their quotas: in numbers of them, never by name.
#[derive(Default)]
struct QuotaMetrics {
    tenants: Family<Tenants, Gauge>,
    greatest_share: Family<OfQuota, Gauge<f64, AtomicU64>>,
}

impl QuotaMetrics {
    fn registered(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register(
            "quota_tenants",
            "Tenants that have a quota: all, of which it is being counted what they have, with nine tenths of it in use, with all of it",
            own.tenants.clone(),
        );
        registry.register(
            "quota_greatest_share",
            "The greatest share of a quota that a tenant has in use",
            own.greatest_share.clone(),
        );
        own
    }
}

/// Of the database and the way to it.
#[derive(Default)]
struct DatabaseMetrics {
    up: Gauge,
    read_only: Gauge,
    connections: Family<ConnectionState, Gauge>,
}

impl DatabaseMetrics {
    fn registered(registry: &mut Registry) -> Self {
        let own = Self::default();
        registry.register(
            "database_up",
            "1 while the database serves and the schema is current",
            own.up.clone(),
        );
        registry.register(
            "database_read_only",
            "1 while the database is read and takes no writes",
            own.read_only.clone(),
        );
        registry.register(
            "database_connections",
            "Connections to the database: open, in use, allowed",
            own.connections.clone(),
        );
        own
    }
}

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    answered: Family<Answered, Counter>,
    duration: Family<Timed, Histogram>,
    answers_cut: Family<Cause, Counter>,
    database: DatabaseMetrics,
    clients: Gauge,
    notifications: Family<Outcome, Counter>,
    dropped: Family<Cause, Counter>,
    lanes_failing: Gauge,
    refused_permissions: Family<Cause, Counter>,
    quotas: QuotaMetrics,
    refused_administrators: Family<Cause, Counter>,
    contract_troubles: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mim_broker");
        let answered = Family::default();
        registry.register(
            "requests",
            "Answered requests by route, method and status",
            answered.clone(),
        );
        let duration = Family::<Timed, Histogram>::new_with_constructor(|| {
            Histogram::new([
                0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
            ])
        });
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to its answer",
            Unit::Seconds,
            duration.clone(),
        );
        let answers_cut = Family::default();
        registry.register(
            "answers_cut",
            "Answers that were sent in parts and ended before their end, by cause",
            answers_cut.clone(),
        );
        let database = DatabaseMetrics::registered(&mut registry);
        let clients = Gauge::default();
        registry.register(
            "client_connections",
            "Open connections of clients",
            clients.clone(),
        );
        let notifications = Family::default();
        registry.register(
            "notifications",
            "Notifications that were sent, by what came of them",
            notifications.clone(),
        );
        let dropped = Family::default();
        registry.register(
            "notifications_dropped",
            "Notifications that were not sent and will not be, by cause",
            dropped.clone(),
        );
        let lanes_failing = Gauge::default();
        registry.register(
            "notification_lanes_failing",
            "Lanes of notifications whose receiver did not take the last one from this replica",
            lanes_failing.clone(),
        );
        let refused_permissions = Family::default();
        registry.register(
            "permission_sets_refused",
            "Requests that were refused because of their permission header, by cause",
            refused_permissions.clone(),
        );
        let quotas = QuotaMetrics::registered(&mut registry);
        let refused_administrators = Family::default();
        registry.register(
            "administrators_refused",
            "Requests for the administrators' API by who is none, by cause",
            refused_administrators.clone(),
        );
        let contract_troubles = Gauge::default();
        registry.register(
            "contract_troubles",
            "Parts of the read-only contract that are not as they are to be",
            contract_troubles.clone(),
        );
        Self {
            registry,
            answered,
            duration,
            answers_cut,
            database,
            clients,
            notifications,
            dropped,
            lanes_failing,
            refused_permissions,
            quotas,
            refused_administrators,
            contract_troubles,
        }
    }
}

impl Metrics {
    /// Counts a notification that was sent.
    pub fn notified(&self, outcome: &'static str) {
        self.notifications.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts notifications that were given up.
    pub fn notifications_dropped(&self, cause: &'static str, number: i64) {
        let number = u64::try_from(number).unwrap_or_default();
        self.dropped.get_or_create(&Cause { cause }).inc_by(number);
    }

    /// Tells how many lanes have a receiver that did not take what was sent last.
    pub fn lanes_failing(&self, number: usize) {
        self.lanes_failing.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Counts a request whose permission header is not obeyed.
    pub fn permissions_refused(&self, cause: &'static str) {
        self.refused_permissions.get_or_create(&Cause { cause }).inc();
    }

    /// Tells how tenants fare with a quota.
    pub fn quota(&self, quota: Quota, summary: &Summary) {
        let name = quota.name();
        for (tenants, number) in [
            ("limited", summary.limited),
            ("counting", summary.counting),
            ("nearly_full", summary.nearly_full),
            ("full", summary.full),
        ] {
            let of = Tenants { quota: name, tenants };
            self.quotas.tenants.get_or_create(&of).set(number);
        }
        let share = self.quotas.greatest_share.get_or_create(&OfQuota { quota: name });
        share.set(summary.greatest_share);
    }

    /// Counts somebody who is no administrator.
    pub fn administrator_refused(&self, cause: &'static str) {
        self.refused_administrators.get_or_create(&Cause { cause }).inc();
    }

    /// Counts an answer that ends before its end.
    pub fn answer_cut(&self, cause: &'static str) {
        self.answers_cut.get_or_create(&Cause { cause }).inc();
    }

    /// Counts an answer. The route is a template.
    pub fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        // Methods that nobody serves would be labels a client can choose.
        let method = match method.as_str() {
            known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => known,
            _ => "other",
        };
        let answered = Answered {
            route: route.to_owned(),
            method: method.to_owned(),
            status: status.as_u16(),
        };
        self.answered.get_or_create(&answered).inc();
        let timed = Timed {
            route: route.to_owned(),
            method: method.to_owned(),
        };
        self.duration.get_or_create(&timed).observe(took.as_secs_f64());
    }

    /// Counts a connection of a client until the guard is dropped.
    #[must_use]
    pub fn client(&self) -> ClientCounted {
        self.clients.inc();
        ClientCounted(self.clients.clone())
    }

    /// The text that Prometheus reads.
    pub fn text(&self, store: &Store) -> Result<String, fmt::Error> {
        let (open, used, allowed) = store.pool().numbers();
        for (state, number) in [("open", open), ("used", used), ("allowed", allowed)] {
            self.database
                .connections
                .get_or_create(&ConnectionState { state })
                .set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        let troubles = store.contract().troubles().len();
        self.contract_troubles
            .set(i64::try_from(troubles).unwrap_or(i64::MAX));
        self.database.up.set(i64::from(store.pool().trouble().is_none()));
        self.database
            .read_only
            .set(i64::from(store.pool().is_read_only()));
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
