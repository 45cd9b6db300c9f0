//! The edges at a real API server: what the requests mean there, that it counts what we count, and who leads.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is the result of a test"
)]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ApiResource, ListParams, PartialObjectMeta};
use kube::runtime::watcher;
use mim_lab::{Audit, ControlPlane, Options};
use mim_operator::metrics::Metrics;
use mim_operator::reconcile::client::{ONLY_IF_ABSENT, Requests, USER_AGENT_VALUE, connect};
use mim_operator::reconcile::lease::{Election, Ended, LEASE_NAME, LeaseClock, Timing};
use mim_operator::reconcile::request::{Interrupted, Journal, Limits, Observer, Purpose, RequestLayer};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const NAMESPACE: &str = "default";
/// How an apply or a merge patch is refused whose uid is not that of the object there: as a change of an immutable field.
const OTHER_UID: u16 = 422;

async fn control_plane(audit: Option<Audit>) -> ControlPlane {
    let _ = rustls::crypto::ring::default_provider().install_default();
    ControlPlane::start(Options {
        audit,
        ..Options::default()
    })
    .await
    .unwrap()
}

async fn requests(plane: &ControlPlane, clock: LeaseClock, journal: Option<&Arc<Journal>>) -> Requests {
    limited(plane, clock, journal, Limits::default()).await
}

async fn limited(
    plane: &ControlPlane,
    clock: LeaseClock,
    journal: Option<&Arc<Journal>>,
    limits: Limits,
) -> Requests {
    let observer = journal.map(|journal| Arc::clone(journal) as Arc<dyn Observer>);
    let layer = RequestLayer::new(Metrics::new(), clock, limits, observer);
    Requests::new(connect(plane.client_config().await.unwrap(), &layer).unwrap())
}

fn code<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> u16 {
    match answer.unwrap_err() {
        kube::Error::Api(status) => status.code,
        other => panic!("{other:?}"),
    }
}

fn config_maps() -> ApiResource {
    ApiResource::erase::<ConfigMap>(&())
}

fn workload() -> Value {
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}})
}

/// A body of each kind that the operator applies.
fn kinds() -> Vec<(ApiResource, Value)> {
    let claim =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    vec![
        (ApiResource::erase::<ServiceAccount>(&()), json!({})),
        (ApiResource::erase::<Secret>(&()), json!({"data": {"a": "Yg=="}})),
        (config_maps(), json!({"data": {"a": "b"}})),
        (ApiResource::erase::<PersistentVolumeClaim>(&()), claim),
        (
            ApiResource::erase::<NetworkPolicy>(&()),
            json!({"spec": {"podSelector": {}}}),
        ),
        (
            ApiResource::erase::<Service>(&()),
            json!({"spec": {"ports": [{"port": 1}]}}),
        ),
        (
            ApiResource::erase::<PodDisruptionBudget>(&()),
            json!({"spec": {"minAvailable": 1}}),
        ),
        (
            ApiResource::erase::<StatefulSet>(&()),
            json!({"spec": workload()}),
        ),
        (ApiResource::erase::<Deployment>(&()), json!({"spec": workload()})),
    ]
}

fn body(resource: &ApiResource, of: &Value, name: &str, whose: &str) -> Value {
    let mut body = of.clone();
    body["apiVersion"] = resource.api_version.clone().into();
    body["kind"] = resource.kind.clone().into();
    body["metadata"] = json!({"name": name, "namespace": NAMESPACE, "labels": {"whose": whose}});
    body
}

#[tokio::test]
async fn an_apply_that_wants_a_free_name_never_touches_what_is_there() {
    let plane = control_plane(None).await;
    let requests = requests(&plane, LeaseClock::always(), None).await;
    for (resource, of) in kinds() {
        let kind = &resource.kind;
        let apply = async |name: &str, body: &Value| {
            requests
                .apply::<PartialObjectMeta>(&resource, NAMESPACE, name, body, Purpose::Apply)
                .await
        };
        let mut ours = body(&resource, &of, "theirs", "ours");
        ours["metadata"]["resourceVersion"] = ONLY_IF_ABSENT.into();
        let theirs = body(&resource, &of, "theirs", "theirs");
        requests
            .create::<Value>(&resource, NAMESPACE, &theirs, Purpose::Step)
            .await
            .unwrap();
        assert_eq!(code(apply("theirs", &ours).await), 409, "{kind}");
        let found: PartialObjectMeta = requests
            .get_meta(&resource, NAMESPACE, "theirs", Purpose::Ownership)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.metadata.labels.unwrap()["whose"], "theirs", "{kind}");

        ours["metadata"]["name"] = "free".into();
        let made = apply("free", &ours).await.unwrap();
        // From now on with the uid, and never on another object of that name.
        ours["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("resourceVersion");
        ours["metadata"]["uid"] = made.metadata.uid.clone().unwrap().into();
        assert_eq!(
            apply("free", &ours).await.unwrap().metadata.uid,
            made.metadata.uid,
            "{kind}"
        );
        ours["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
        assert_eq!(code(apply("free", &ours).await), OTHER_UID, "{kind}");
        ours["metadata"]["name"] = "gone".into();
        assert_eq!(
            code(apply("gone", &ours).await),
            409,
            "{kind}: what is gone is not made again under its uid"
        );
    }
}

#[tokio::test]
async fn preconditions_hold() {
    let plane = control_plane(None).await;
    let requests = requests(&plane, LeaseClock::always(), None).await;
    let resource = config_maps();
    let map = body(&resource, &json!({}), "a", "ours");
    let made: PartialObjectMeta = requests
        .apply(&resource, NAMESPACE, "a", &map, Purpose::Apply)
        .await
        .unwrap();
    let uid = made.metadata.uid.unwrap();
    let patch = async |metadata: Value| {
        let patch = json!({"metadata": metadata});
        requests
            .merge_patch::<PartialObjectMeta>(&resource, NAMESPACE, "a", &patch, Purpose::Retention)
            .await
    };
    assert_eq!(
        code(patch(json!({"resourceVersion": "1", "finalizers": ["mim.city/x"]})).await),
        409
    );
    assert_eq!(
        code(patch(json!({"uid": "other", "finalizers": ["mim.city/x"]})).await),
        OTHER_UID
    );
    let delete = async |uid: &str| {
        requests
            .delete(&resource, NAMESPACE, "a", uid, Purpose::Prune)
            .await
    };
    assert_eq!(code(delete("other").await), 409);
    delete(&uid).await.unwrap();
    assert_eq!(code(delete(&uid).await), 404);
    assert_eq!(
        requests
            .get_value(&resource, NAMESPACE, "a", Purpose::Dereference)
            .await
            .unwrap(),
        None
    );
    assert!(
        requests
            .served("apps", "v1")
            .await
            .unwrap()
            .unwrap()
            .contains("deployments")
    );
    assert_eq!(requests.served("absent.city", "v1").await.unwrap(), None);
}

#[tokio::test]
async fn the_api_server_counts_the_requests_that_the_journal_has() {
    let plane = control_plane(Some(Audit::Metadata)).await;
    let journal = Arc::new(Journal::new());
    let requests = requests(&plane, LeaseClock::always(), Some(&journal)).await;
    let resource = ApiResource::erase::<Deployment>(&());
    let object = body(&resource, &json!({"spec": workload()}), "a", "ours");
    requests.server_version().await.unwrap();
    requests
        .apply::<Value>(&resource, NAMESPACE, "a", &object, Purpose::Apply)
        .await
        .unwrap();
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "status": {"replicas": 1}});
    let answer = requests
        .apply_status(&resource, NAMESPACE, "a", &status)
        .await
        .unwrap();
    let mut entries = answer.metadata.managed_fields.unwrap().into_iter();
    assert!(
        entries.any(|entry| entry.subresource.as_deref() == Some("status")),
        "status has its own entry"
    );
    let held = requests
        .get_value(&resource, NAMESPACE, "a", Purpose::Dereference)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(held["status"]["replicas"], 1);
    requests
        .update::<Value>(&resource, NAMESPACE, "a", &held, Purpose::Step)
        .await
        .unwrap();
    let params = ListParams::default().fields("metadata.name=a");
    let listed: Vec<Value> = requests
        .list(&resource, NAMESPACE, &params, Purpose::Dereference)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    let event = json!({
        "metadata": {"name": "e", "namespace": NAMESPACE}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "mim.city/mim-operator", "reportingInstance": "i", "action": "Reconcile",
        "type": "Normal", "reason": "Ready", "note": "n",
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": NAMESPACE, "name": "a"},
    });
    requests.create_event(NAMESPACE, &event).await.unwrap();
    let api = Api::<Deployment>::namespaced(requests.client().clone(), NAMESPACE);
    {
        let mut watch = std::pin::pin!(watcher(api, watcher::Config::default()));
        while journal
            .entries()
            .iter()
            .all(|entry| entry.record.verb.as_str() != "watch")
        {
            // The watch is opened when the stream is asked for more than the list has.
            let _ = timeout(Duration::from_millis(100), watch.next()).await;
        }
    }

    let mut counted: Vec<String> = journal
        .entries()
        .iter()
        .map(|entry| format!("{} {}", entry.record.verb.rbac()[0], entry.record.target))
        .collect();
    counted.sort();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let audited = audited(&plane);
        if audited == counted {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "audited: {audited:#?}\ncounted: {counted:#?}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// What the API server says this operator has sent.
fn audited(plane: &ControlPlane) -> Vec<String> {
    let log = std::fs::read_to_string(plane.audit_log().unwrap()).unwrap_or_default();
    let mut lines: Vec<String> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["userAgent"] == USER_AGENT_VALUE && line["stage"] == "ResponseComplete")
        .map(|line| {
            format!(
                "{} {}",
                line["verb"].as_str().unwrap(),
                line["requestURI"].as_str().unwrap()
            )
        })
        .collect();
    lines.sort();
    lines
}

struct Candidate {
    clock: LeaseClock,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Option<Ended>>,
}

async fn candidate(plane: &ControlPlane, identity: &str) -> Candidate {
    let clock = LeaseClock::not_held();
    let seconds = Duration::from_secs;
    let election = Election {
        requests: requests(plane, clock.clone(), None).await,
        namespace: NAMESPACE.to_owned(),
        lease: LEASE_NAME.to_owned(),
        identity: identity.to_owned(),
        timing: Timing::new(seconds(6), seconds(4), Duration::from_millis(500)).unwrap(),
        clock: clock.clone(),
        metrics: Metrics::new(),
        wall: Timestamp::now,
        jitter: rand::random::<f64>,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let mut stopped = std::pin::pin!(async { stopped.await.unwrap_or(()) });
        let leader = election.stand().elect(&mut stopped).await?;
        Some(leader.keep(stopped).await)
    });
    Candidate {
        clock,
        stop: Some(stop),
        task,
    }
}

/// Waits for the one that leads; two at once is a failure at any moment.
async fn leader(candidates: &[Candidate]) -> usize {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let now = Instant::now();
        let leading: Vec<usize> = (0..candidates.len())
            .filter(|index| candidates[*index].clock.is_held(now))
            .collect();
        assert!(leading.len() <= 1, "{leading:?} lead at once");
        if let [one] = leading[..] {
            return one;
        }
        assert!(now < deadline, "nobody leads");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn of_three_candidates_one_leads_hands_over_and_steps_down_when_the_api_server_is_away() {
    let plane = control_plane(None).await;
    let mut candidates = Vec::new();
    for identity in ["a", "b", "c"] {
        candidates.push(candidate(&plane, identity).await);
    }
    let first = leader(&candidates).await;
    candidates[first].stop.take().unwrap().send(()).unwrap();
    assert_eq!(
        (&mut candidates[first].task).await.unwrap(),
        Some(Ended::Released)
    );

    let second = leader(&candidates).await;
    plane.pause_api_server().unwrap();
    let lost = timeout(Duration::from_secs(10), &mut candidates[second].task)
        .await
        .unwrap();
    assert_eq!(lost.unwrap(), Some(Ended::NotRenewed));
    assert!(
        candidates
            .iter()
            .all(|candidate| !candidate.clock.is_held(Instant::now()))
    );
    plane.resume_api_server().unwrap();
    let third = leader(&candidates).await;
    assert!(third != first && third != second);
    for candidate in &mut candidates {
        candidate.stop.take();
        candidate.task.abort();
    }
}

#[tokio::test]
async fn an_api_server_that_is_silent_or_gone_is_told_apart_and_comes_back() {
    let mut plane = control_plane(None).await;
    let limit = Duration::from_secs(1);
    let limits = Limits {
        request: limit,
        list: limit,
    };
    let requests = limited(&plane, LeaseClock::always(), None, limits).await;
    let get = async || {
        requests
            .get_value(&config_maps(), NAMESPACE, "a", Purpose::Dereference)
            .await
    };
    plane.pause_api_server().unwrap();
    let silent = get().await.unwrap_err();
    assert!(
        matches!(Interrupted::of(&silent), Some(Interrupted::TimedOut { .. })),
        "{silent:?}"
    );
    plane.resume_api_server().unwrap();
    plane.stop_api_server();
    let gone = get().await.unwrap_err();
    assert!(
        matches!(gone, kube::Error::Service(_)) && Interrupted::of(&gone).is_none(),
        "{gone:?}"
    );
    plane.start_api_server().await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while get().await.is_err() {
        assert!(Instant::now() < deadline, "it does not come back");
        sleep(Duration::from_millis(100)).await;
    }
}
