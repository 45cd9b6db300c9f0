//! Whole passes over a kind of the test, a ConfigMap: a fault of ours in one of them, and when the next is due.

use std::sync::atomic::{AtomicI64, Ordering};
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
use crate::reconcile::kind::{Common, Observation, Part};
use crate::reconcile::lease::LeaseClock;
use crate::reconcile::live::Live;
use crate::reconcile::peers::Peers;
use crate::reconcile::probes::Probes;
use crate::reconcile::reader::Reader;
use crate::reconcile::remote::{self, Errands};
use crate::reconcile::request::{Limits, RequestLayer};
use crate::reconcile::trigger::Triggers;
use crate::reconcile::trouble::{Missing, Refusal};
use crate::reconcile::watch::Scope;
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

    fn observe(plan: &Self, _: &Live) -> Observation {
        let part = Part {
            what: "Pod first".to_owned(),
            ready: plan.name_any() != "slow",
        };
        Observation {
            parts: vec![part],
            ..Observation::default()
        }
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
    json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "2"}}).to_string()
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
    let outgoing = mim_egress::Client::new(mim_egress::Policy::new(vec![], vec![]));
    let timing = remote::Timing {
        period: remote::PERIOD,
        now: Timestamp::now,
        jitter: || 0.0,
    };
    let errands = Errands::new(
        outgoing.clone(),
        LeaseClock::not_held(),
        metrics.clone(),
        Arc::clone(&triggers),
        timing,
    );
    Context {
        requests: Requests::new(connect(config, &layer).unwrap()),
        index: Arc::default(),
        memories: Arc::default(),
        releases: Arc::new(Releases::parse(&catalogue(), None).unwrap()),
        settings: crate::reconcile::context::Settings::default(),
        probes: Probes::new(outgoing, triggers, Duration::from_mins(1), Timestamp::now),
        errands,
        peers: Peers::new(Scope::Cluster, Arc::default()),
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

/// A pass, as the controller begins it.
async fn pass(cx: &Context, name: &str) -> Action {
    cx.memories.begin(name);
    run(cx, &object(name)).await
}

#[tokio::test]
async fn an_object_that_went_before_its_pass_began_is_left_alone_and_not_remembered() {
    let got = Got::default();
    let cx = context(&got).await;
    assert_eq!(run(&cx, &object("bad")).await, Action::await_change());
    assert!(got.lock().unwrap().is_empty());
    assert!(cx.memories.of("bad").is_none());
}

#[tokio::test]
async fn invariant_5_a_fault_of_ours_in_one_pass_is_told_and_tried_again_and_stops_no_other_object() {
    let got = Got::default();
    let cx = context(&got).await;
    pass(&cx, "bad").await;
    let memory = cx.memories.of("bad").unwrap();
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
    pass(&cx, "good").await;
    assert_eq!(cx.memories.of("good").unwrap().unsettled, None);
    let metrics = cx.metrics.render().unwrap();
    for outcome in ["outcome=\"bug\"", "outcome=\"ok\""] {
        assert!(metrics.contains(outcome), "{metrics}");
    }
}

/// The clock of the next test, in seconds.
static CLOCK: AtomicI64 = AtomicI64::new(0);

#[tokio::test]
async fn what_an_object_waits_for_is_named_when_a_minute_is_over_and_once() {
    let got = Got::default();
    let mut cx = context(&got).await;
    cx.now = || Timestamp::from_second(CLOCK.load(Ordering::Relaxed)).unwrap();
    // Seconds, what is written, and when the next pass is due where that is sooner than the remedy's 5 s.
    let named = "On its way: waits for Pod first.";
    for (second, written, next) in [
        (0, Some("On its way: not every part is ready yet."), None),
        (57, None, Some(3)),
        (59, None, Some(1)),
        (60, Some(named), None),
        (61, None, None),
        (3600, None, None),
    ] {
        CLOCK.store(second, Ordering::Relaxed);
        got.lock().unwrap().clear();
        let action = pass(&cx, "slow").await;
        let told = got.lock().unwrap().clone();
        let statuses: Vec<_> = told
            .iter()
            .filter(|(target, _)| target.ends_with("/slow/status"))
            .collect();
        assert_eq!(
            statuses.len(),
            usize::from(written.is_some()),
            "{second}: {told:?}"
        );
        if let Some(words) = written {
            assert!(statuses[0].1.contains(words), "{second}: {statuses:?}");
        }
        match next {
            Some(next) => assert_eq!(action, Action::requeue(Duration::from_secs(next)), "{second}"),
            None => assert_ne!(action, Action::requeue(Duration::from_secs(1)), "{second}"),
        }
    }
}
