//! What the operator counts about itself.
//!
//! No label carries the name of an object: the number of series depends on what the operator can do, never on how many
//! objects there are. What one object is like stands in its status.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

mod process;

/// Content type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds of one pass. A settled pass makes no request and ends within a millisecond; a first pass of a broker
/// makes about fifteen requests of 2 to 20 ms; the last bucket is the time limit of a pass.
const PASS_BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0,
];

/// Seconds until the head of an answer is there. An API server in the same rack answers a read in 1 ms
/// and a write in 3 ms; the last bucket is the time limit of a request.
const REQUEST_BUCKETS: [f64; 10] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What a request to the API server was and how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// As in RBAC, and `apply` for server-side apply.
    pub verb: &'static str,
    /// `group/resource/subresource`, without what is empty; the path for what is no resource.
    pub resource: String,
    /// Why it was sent.
    pub purpose: &'static str,
    /// The HTTP status, or why there was none: `error`, `timeout`, `refused`, `cancelled`.
    pub code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PassLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    kind: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RemoteLabels {
    kind: &'static str,
    method: &'static str,
    code: String,
}

/// All metrics of this process. A clone is another handle to the same metrics.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<VerbLabels, Histogram>,
    remote_requests: Family<RemoteLabels, Counter>,
    passes: Family<PassLabels, Counter>,
    pass_seconds: Family<KindLabels, Histogram>,
    objects: Family<StateLabels, Gauge>,
    backoff: Gauge,
    watch_restarts: Family<KindLabels, Counter>,
    leader: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that have counted nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let request_seconds =
            Family::<VerbLabels, Histogram>::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS));
        let remote_requests = Family::<RemoteLabels, Counter>::default();
        let passes = Family::<PassLabels, Counter>::default();
        let pass_seconds =
            Family::<KindLabels, Histogram>::new_with_constructor(|| Histogram::new(PASS_BUCKETS));
        let objects = Family::<StateLabels, Gauge>::default();
        let backoff = Gauge::default();
        let watch_restarts = Family::<KindLabels, Counter>::default();
        let leader = Gauge::default();

        let mut registry = Registry::default();
        registry.register("mim_requests", "Requests to the API server", requests.clone());
        registry.register(
            "mim_request_seconds",
            "Seconds until the API server began to answer",
            request_seconds.clone(),
        );
        registry.register(
            "mim_remote_requests",
            "Requests to services outside of Kubernetes, for what objects keep there",
            remote_requests.clone(),
        );
        registry.register("mim_passes", "Passes over one object", passes.clone());
        registry.register("mim_pass_seconds", "Seconds one pass took", pass_seconds.clone());
        registry.register("mim_objects", "Objects of our kinds by state", objects.clone());
        registry.register(
            "mim_objects_in_backoff",
            "Objects whose last pass failed and that wait for another try",
            backoff.clone(),
        );
        registry.register(
            "mim_watch_restarts",
            "Watches that had to be opened again, other than by their own time limit",
            watch_restarts.clone(),
        );
        registry.register(
            "mim_leader",
            "1 while this process holds the lease",
            leader.clone(),
        );
        registry.register(
            "mim_build",
            "Version of the operator",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(process::Process));

        let registry = Arc::new(registry);
        Self {
            registry,
            requests,
            request_seconds,
            remote_requests,
            passes,
            pass_seconds,
            objects,
            backoff,
            watch_restarts,
            leader,
        }
    }

    /// Everything, as OpenMetrics text ([`CONTENT_TYPE`]).
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// `/metrics`.
    pub fn router(&self) -> axum::Router {
        let metrics = self.clone();
        let answer = move || {
            let rendered = metrics.render();
            async move {
                // Writing into a string fails only where a metric does, and none of ours does.
                rendered
                    .map(|text| ([(http::header::CONTENT_TYPE, CONTENT_TYPE)], text))
                    .map_err(|error| (http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
            }
        };
        axum::Router::new().route("/metrics", axum::routing::get(answer))
    }

    /// Counts a request that has ended; a watch ends, for this purpose, when it is open. `seconds` is there when an
    /// answer was.
    pub fn request(&self, labels: &RequestLabels, answered_in: Option<Duration>) {
        self.requests.get_or_create(labels).inc();
        if let Some(elapsed) = answered_in {
            let labels = VerbLabels { verb: labels.verb };
            self.request_seconds
                .get_or_create(&labels)
                .observe(elapsed.as_secs_f64());
        }
    }

    /// Counts a request to a service outside of Kubernetes that has ended. `code` is the HTTP status, or why there was none: `error`, `timeout`,
    /// `refused` (by the guard).
    pub fn remote_request(&self, kind: &'static str, method: &'static str, code: String) {
        let labels = RemoteLabels { kind, method, code };
        self.remote_requests.get_or_create(&labels).inc();
    }

    /// How many requests with these labels were counted.
    #[must_use]
    pub fn requests_counted(&self, labels: &RequestLabels) -> u64 {
        self.requests.get(labels).map_or(0, |counter| counter.get())
    }

    /// A pass over an object of that kind has ended; the outcome comes from a closed enum.
    pub fn pass(&self, kind: &'static str, outcome: &'static str, elapsed: Duration) {
        self.passes.get_or_create(&PassLabels { kind, outcome }).inc();
        self.pass_seconds
            .get_or_create(&KindLabels { kind })
            .observe(elapsed.as_secs_f64());
    }

    /// Says how many objects of a kind are in a state now. Both words come from closed enums.
    pub fn set_objects(&self, kind: &'static str, state: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.objects
            .get_or_create(&StateLabels { kind, state })
            .set(count);
    }

    /// Says how many objects wait for another try after a failure.
    pub fn set_objects_in_backoff(&self, count: usize) {
        self.backoff.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A watch of that kind broke and is opened again.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.watch_restarts.get_or_create(&KindLabels { kind }).inc();
    }

    /// Whether this process holds the lease.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_contract_is_rendered() {
        let metrics = Metrics::new();
        metrics.request(
            &RequestLabels {
                verb: "apply",
                resource: "apps/deployments".into(),
                purpose: "Apply",
                code: "200".into(),
            },
            Some(Duration::from_millis(3)),
        );
        metrics.remote_request("ContextSubscription", "post", "201".into());
        metrics.pass("ContextBroker", "Settled", Duration::from_millis(40));
        metrics.set_objects("ContextBroker", "Ready", 3);
        metrics.set_objects_in_backoff(1);
        metrics.watch_restarted("Pod");
        metrics.set_leader(true);
        let text = metrics.render().unwrap();
        for line in [
            "mim_requests_total{verb=\"apply\",resource=\"apps/deployments\",purpose=\"Apply\",code=\"200\"} 1",
            "mim_request_seconds_count{verb=\"apply\"} 1",
            "mim_remote_requests_total{kind=\"ContextSubscription\",method=\"post\",code=\"201\"} 1",
            "mim_passes_total{kind=\"ContextBroker\",outcome=\"Settled\"} 1",
            "mim_pass_seconds_count{kind=\"ContextBroker\"} 1",
            "mim_objects{kind=\"ContextBroker\",state=\"Ready\"} 3",
            "mim_objects_in_backoff 1",
            "mim_watch_restarts_total{kind=\"Pod\"} 1",
            "mim_leader 1",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(text.contains(concat!(
            "mim_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        )));
        assert!(text.ends_with("# EOF\n"));
    }
}
