//! A fault of ours in one pass, for a kind of the test: a ConfigMap.

use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant as Clock;

use super::*;
use crate::metrics::Metrics;
use crate::reconcile::child::{ChildKind, Children};
use crate::reconcile::client::{Requests, connect};
use crate::reconcile::kind::{Common, Observation};
use crate::reconcile::lease::LeaseClock;
use crate::reconcile::live::Live;
use crate::reconcile::probes::Probes;
use crate::reconcile::reader::Reader;
use crate::reconcile::request::{Limits, RequestLayer};
use crate::reconcile::trigger::Triggers;
use crate::reconcile::trouble::{Missing, Refusal};
use crate::release::Releases;

impl Kind for ConfigMap {
    type Inputs = ();
    type Plan = Self;

    const KIND: &'static str = "ConfigMap";
    const AS_CHILD: Option<ChildKind> = None;
    const CHILDREN: &'static [ChildKind] = &[];

    fn common(&self) -> Common<'_> {
        Common {
            suspend: false,
            observed_generation: 1,
            conditions: &[],
            handled_request: None,
        }
    }

    fn guard(&self) -> Vec<Refusal> {
        Vec::new()
    }

    async fn dereference(&self, _: &Reader<'_>) -> Result<(), Missing> {
        Ok(())
    }

    fn validate(&self, (): (), _: &Releases) -> Result<Self, Refusal> {
        Ok(self.clone())
    }

    fn build(plan: &Self) -> Children {
        assert!(plan.name_any() != "bad", "this body cannot be built");
        Children::new(owner_of(&DeserializeGuard(Ok(plan.clone()))))
    }

    fn observe(_: &Self, _: &Live) -> Observation {
        Observation::default()
    }
}

/// What the API server got: target and body.
type Got = Arc<Mutex<Vec<(String, String)>>>;

async fn answer(State(got): State<Got>, request: Request) -> String {
    let target = format!("{} {}", request.method(), request.uri().path());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    got.lock()
        .unwrap()
        .push((target, String::from_utf8_lossy(&body).into_owned()));
    json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}}).to_string()
}

async fn context(got: &Got) -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer).with_state(Arc::clone(got));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (metrics, lease) = (Metrics::new(), LeaseClock::not_held());
    lease.extend(Clock::now() + Duration::from_mins(10));
    let layer = RequestLayer::new(metrics.clone(), lease, Limits::default(), None);
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    let triggers = Triggers::new(&[]);
    let probed = mim_egress::Client::new(mim_egress::Policy::new(vec![], vec![]));
    Context {
        requests: Requests::new(connect(config, &layer).unwrap()),
        index: Arc::default(),
        memories: Arc::default(),
        releases: Arc::new(Releases::parse(&catalogue(), None).unwrap()),
        settings: crate::reconcile::context::Settings::default(),
        probes: Probes::new(probed, triggers, Duration::from_mins(1), Timestamp::now),
        metrics,
        now: Timestamp::now,
        jitter: || 0.0,
        instance: "test".to_owned(),
    }
}

fn catalogue() -> String {
    let image = format!("{{repository: mim/x, digest: \"sha256:{}\"}}", "a".repeat(64));
    format!(
        "releases:\n- name: \"0.1.0\"\n  postgresql: 15\n  images:\n    broker: {image}\n    postgis: {image}\n"
    )
}

fn object(name: &str) -> DeserializeGuard<ConfigMap> {
    let object = json!({"metadata": {"name": name, "namespace": "city", "uid": name, "generation": 1, "resourceVersion": "1"}});
    DeserializeGuard(Ok(serde_json::from_value(object).unwrap()))
}

#[tokio::test]
async fn invariant_5_a_fault_of_ours_in_one_pass_is_told_and_tried_again_and_stops_no_other_object() {
    let got = Got::default();
    let cx = context(&got).await;
    run(&cx, &object("bad")).await;
    let memory = cx.memories.of("bad");
    assert_eq!(
        memory.unsettled.unwrap().remedy,
        Remedy::Time,
        "tried again, later and later"
    );
    let told = got.lock().unwrap().clone();
    let of_status = |target: &str| target == "PATCH /api/v1/namespaces/city/configmaps/bad/status";
    let (_, status) = told.iter().rfind(|(target, _)| of_status(target)).unwrap();
    assert!(
        status.contains("InternalError") && status.contains("this body cannot be built"),
        "{status}"
    );
    run(&cx, &object("good")).await;
    assert_eq!(cx.memories.of("good").unsettled, None);
    let metrics = cx.metrics.render().unwrap();
    for outcome in ["outcome=\"bug\"", "outcome=\"ok\""] {
        assert!(metrics.contains(outcome), "{metrics}");
    }
}
