//! The watches over an API server in memory: lists that answers have overtaken.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mim_crds::{ContextBroker, UrbanDataPlatform};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::service_fn;

use super::*;
use crate::metrics::Metrics;
use crate::reconcile::child::{OWNER_KIND_LABEL, OWNER_NAME_LABEL};
use crate::reconcile::lease::LeaseClock;
use crate::reconcile::remote;

/// Counts the lists that are in.
#[derive(Clone)]
struct Lists(Arc<Semaphore>);

impl Progress for Lists {
    fn filled(&self) {
        self.0.add_permits(1);
    }

    fn opened(&self) {}

    fn failed(&self, _: &watcher::Error) {}
}

/// What the API server does while it makes a list, and that list.
type List = Box<dyn FnOnce() -> Value + Send>;

/// An API server with these lists, one after another. A watch ends at once, as one whose version is too old, while there is another list.
fn server(lists: Vec<List>) -> Client {
    let lists = Arc::new(Mutex::new(VecDeque::from(lists)));
    let line = service_fn(move |request: Request<Body>| {
        let watches = request.uri().query().is_some_and(asks_to_watch);
        let mut lists = lists.lock().unwrap();
        let answer = match (watches, lists.is_empty()) {
            (false, _) => lists.pop_front().map(|list| list()),
            (true, false) => Some(json!({"type": "ERROR", "object": {
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "too old", "reason": "Expired", "code": 410,
            }})),
            (true, true) => None,
        };
        async move {
            match answer {
                Some(answer) => {
                    Ok::<_, tower::BoxError>(Response::new(Body::from(format!("{answer}\n").into_bytes())))
                }
                None => std::future::pending().await,
            }
        }
    });
    Client::new(line, "city")
}

fn list(version: u64, items: &[LiveObject]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

/// A child of the platform `vienna`.
fn child(name: &str, version: u64) -> LiveObject {
    serde_json::from_value(json!({"metadata": {
        "name": name, "namespace": "city", "uid": format!("uid of {name}"), "resourceVersion": version.to_string(),
        "labels": {OWNER_KIND_LABEL: "UrbanDataPlatform", OWNER_NAME_LABEL: "vienna"},
    }}))
    .unwrap()
}

fn vienna() -> OwnerKey {
    OwnerKey {
        kind: "UrbanDataPlatform".into(),
        namespace: "city".into(),
        name: "vienna".into(),
    }
}

fn sinks() -> Sinks {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let triggers = Triggers::new(&["UrbanDataPlatform"]);
    let outgoing = mim_egress::Client::new(mim_egress::Policy::new(vec![], vec![]));
    let timing = remote::Timing {
        period: remote::PERIOD,
        now: Timestamp::now,
        jitter: || 0.0,
    };
    let (lease, metrics) = (LeaseClock::not_held(), Metrics::new());
    Sinks {
        index: Arc::default(),
        triggers: Arc::clone(&triggers),
        memories: Arc::default(),
        probes: Probes::new(
            outgoing.clone(),
            Arc::clone(&triggers),
            Duration::from_mins(1),
            Timestamp::now,
        ),
        errands: Errands::new(outgoing, lease, metrics, triggers, timing),
        links: Arc::default(),
    }
}

/// Lets a watch run until so many lists are in.
async fn until_listed(count: u32, watch: impl FnOnce(Lists) -> BoxFuture<'static, ()>) {
    let lists = Lists(Arc::new(Semaphore::new(0)));
    tokio::select! {
        () = watch(lists.clone()) => panic!("the watch has ended"),
        _ = lists.0.acquire_many(count) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_forgets_what_went_before_it_though_an_answer_came_while_it_was_read() {
    let sinks = sinks();
    let index = Arc::clone(&sinks.index);
    let has = |name| {
        sinks
            .index
            .of(&vienna())
            .get(ChildKind::ConfigMap, name)
            .is_some()
    };
    // Two answers come while the list is asked for. What the first has shown is deleted before the list is made, the second is newer.
    let client = server(vec![Box::new(move || {
        index.apply(ChildKind::ConfigMap, child("went", 6));
        index.apply(ChildKind::ConfigMap, child("newer", 8));
        list(7, &[child("listed", 5)])
    })]);
    until_listed(1, |lists| {
        children(&client, ChildKind::ConfigMap, None, sinks.clone(), lists).unwrap()
    })
    .await;
    assert_eq!((has("went"), has("newer"), has("listed")), (false, true, true));
}

#[test]
fn only_what_a_user_writes_is_asked() {
    let meta = |more: Value| {
        let mut meta = json!({"name": "vienna", "uid": "u", "generation": 1, "resourceVersion": "1", "annotations": {"a": "b"}});
        if let (Some(meta), Value::Object(more)) = (meta.as_object_mut(), more) {
            meta.extend(more);
        }
        serde_json::from_value::<ObjectMeta>(meta).unwrap()
    };
    let before = meta(json!({}));
    assert!(is_as_asked(
        &before,
        &meta(json!({"resourceVersion": "2", "managedFields": []}))
    ));
    for asked in [
        json!({"generation": 2}),
        json!({"uid": "v"}),
        json!({"annotations": {"mim.city/requestedAt": "now"}}),
        json!({"labels": {"a": "b"}}),
        json!({"finalizers": ["a"]}),
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ] {
        assert!(!is_as_asked(&before, &meta(asked.clone())), "{asked}");
    }
}

fn brokers(client: &Client, sinks: &Sinks, lists: Lists) -> BoxFuture<'static, ()> {
    objects::<ContextBroker>(client, None, Arc::default(), sinks.clone(), lists)
}

#[tokio::test(start_paused = true)]
async fn a_list_of_a_kind_of_ours_forgets_a_child_that_only_an_answer_has_shown() {
    let sinks = sinks();
    // Made by a pass of its platform and deleted by somebody else, both while the watch was broken.
    sinks.index.apply(ChildKind::ContextBroker, child("graz", 6));
    sinks.index.apply(ChildKind::ContextBroker, child("newer", 8));
    let client = server(vec![Box::new(|| list(7, &[]))]);
    until_listed(1, |lists| brokers(&client, &sinks, lists)).await;
    let live = sinks.index.of(&vienna());
    let has = |name| live.get(ChildKind::ContextBroker, name).is_some();
    assert_eq!((has("graz"), has("newer")), (false, true));
    let mut passes = std::pin::pin!(sinks.triggers.stream::<UrbanDataPlatform>("UrbanDataPlatform"));
    let pass = tokio::time::timeout(Duration::from_secs(1), passes.next()).await;
    let platform = pass.expect("its platform gets a pass").unwrap().unwrap();
    assert_eq!(platform.name, "vienna");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_taken_in_after_a_list_of_a_kind_of_ours_that_had_its_object_no_more() {
    let sinks = sinks();
    let sent = sinks.index.send(ChildKind::ContextBroker, "city", "graz");
    // It is written anew at 6 and deleted, both while the watch was broken: the store knows it as it was at 4.
    let client = server(vec![
        Box::new(|| list(5, &[child("graz", 4)])),
        Box::new(|| list(7, &[])),
    ]);
    until_listed(2, |lists| brokers(&client, &sinks, lists)).await;
    assert!(!sent.answered(child("graz", 6)));
    assert!(sinks.index.of(&vienna()).iter().next().is_none());
}
