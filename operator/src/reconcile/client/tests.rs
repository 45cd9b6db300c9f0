//! The whole stack, connections included, against a server of this test.

use std::sync::{Arc, Mutex};

use axum::body::Body as AxumBody;
use axum::extract::{Request as AxumRequest, State};
use axum::response::Response as AxumResponse;
use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, ListParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::metrics::{Metrics, RequestLabels};
use crate::reconcile::lease::LeaseClock;
use crate::reconcile::request::{
    Interrupted, Journal, Limits, Observer, Purpose, Record, Side, Verb, Verdict,
};

/// Method, target and user agent of a request.
type Seen = (String, String, Option<String>);

/// How the server answers: by path, else 200 and an empty ConfigMap. It keeps what it got.
#[derive(Clone, Default)]
struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(&self) -> http::Uri {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}").parse().unwrap()
    }

    fn lines(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|(method, target, _)| format!("{method} {target}"))
            .collect()
    }
}

async fn answer(State(server): State<Server>, request: AxumRequest) -> AxumResponse {
    let agent = request
        .headers()
        .get("user-agent")
        .map(|value| value.to_str().unwrap().to_owned());
    let target = request.uri().to_string();
    server
        .seen
        .lock()
        .unwrap()
        .push((request.method().to_string(), target.clone(), agent));
    let (code, body) = if target.contains("/unavailable") {
        (
            503,
            json!({"kind": "Status", "status": "Failure", "code": 503, "reason": "ServiceUnavailable"}),
        )
    } else if target.contains("/absent") {
        (
            404,
            json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"}),
        )
    } else if target.contains("/silent") {
        std::future::pending().await
    } else if target.contains("/stuck") {
        // The head comes, the body never ends.
        let head = futures::stream::once(async { Ok::<_, std::io::Error>("{\"metadata\":") });
        let body = futures::StreamExt::chain(head, futures::stream::pending());
        return AxumResponse::new(AxumBody::from_stream(body));
    } else if target.contains("watch=true") {
        let events = ["a", "b"].map(|name| {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "resourceVersion": "2"}});
            Ok::<_, std::io::Error>(format!("{}\n", json!({"type": "ADDED", "object": object})))
        });
        let body = futures::StreamExt::chain(futures::stream::iter(events), futures::stream::pending());
        return AxumResponse::new(AxumBody::from_stream(body));
    } else {
        (
            200,
            json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1"}, "items": []}),
        )
    };
    axum::response::Response::builder()
        .status(code)
        .body(AxumBody::from(body.to_string()))
        .unwrap()
}

struct Fixture {
    layer: RequestLayer,
    server: Server,
    requests: Requests,
    metrics: Metrics,
    lease: LeaseClock,
}

async fn fixture(limits: Limits, observer: Option<Arc<dyn Observer>>) -> Fixture {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::default();
    let config = kube::Config::new(server.start().await);
    let (metrics, lease) = (Metrics::new(), LeaseClock::not_held());
    lease.extend(Instant::now() + Duration::from_mins(10));
    let layer = RequestLayer::new(metrics.clone(), lease.clone(), limits, observer);
    let requests = Requests::new(connect(config, &layer).unwrap());
    Fixture {
        layer,
        server,
        requests,
        metrics,
        lease,
    }
}

async fn journaled(journal: &Arc<Journal>) -> Fixture {
    fixture(Limits::default(), Some(Arc::clone(journal) as Arc<dyn Observer>)).await
}

fn config_maps() -> ApiResource {
    ApiResource::erase::<ConfigMap>(&())
}

fn interrupted<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> Interrupted {
    let error = answer.unwrap_err();
    Interrupted::of(&error)
        .unwrap_or_else(|| panic!("not an interruption: {error:?}"))
        .clone()
}

async fn apply(requests: &Requests, name: &str) -> Result<Value, kube::Error> {
    requests
        .apply(
            &config_maps(),
            "city",
            name,
            &json!({"metadata": {"name": name}}),
            Purpose::Apply,
        )
        .await
}

async fn get(requests: &Requests, name: &str) -> Result<Option<Value>, kube::Error> {
    requests
        .get_value(&config_maps(), "city", name, Purpose::Dereference)
        .await
}

#[tokio::test]
async fn every_request_is_numbered_with_the_purpose_its_sender_gave() {
    let journal = Arc::new(Journal::new());
    let Fixture { requests, server, .. } = journaled(&journal).await;
    let resource = config_maps();
    requests
        .get::<Value>(&resource, "city", "a", Purpose::Secret)
        .await
        .unwrap();
    requests
        .get_meta::<Value>(&resource, "city", "a", Purpose::Ownership)
        .await
        .unwrap();
    apply(&requests, "a").await.unwrap();
    requests
        .apply_status(&resource, "city", "a", &json!({}))
        .await
        .unwrap();
    requests
        .create::<Value>(&resource, "city", &json!({}), Purpose::Step)
        .await
        .unwrap();
    requests
        .update::<Value>(&resource, "city", "a", &json!({}), Purpose::Lease)
        .await
        .unwrap();
    requests
        .merge_patch::<Value>(&resource, "city", "a", &json!({}), Purpose::Retention)
        .await
        .unwrap();
    requests
        .delete(&resource, "city", "a", "u", Purpose::Prune)
        .await
        .unwrap();
    requests
        .list::<Value>(
            &resource,
            "city",
            &ListParams::default().labels("a=b"),
            Purpose::Watch,
        )
        .await
        .unwrap();
    requests.create_event("city", &json!({})).await.unwrap();
    let printed: Vec<_> = journal
        .entries()
        .iter()
        .map(|entry| format!("{:?}", entry.record))
        .collect();
    assert_eq!(
        printed,
        [
            "#1 get configmaps city/a (Secret)",
            "#2 get configmaps city/a (Ownership)",
            "#3 apply configmaps city/a (Apply) (25 bytes)",
            "#4 apply configmaps/status city/a (Status) (2 bytes)",
            "#5 create configmaps city (Step) (2 bytes)",
            "#6 update configmaps city/a (Lease) (2 bytes)",
            "#7 patch configmaps city/a (Retention) (2 bytes)",
            "#8 delete configmaps city/a (Prune) (62 bytes)",
            "#9 list configmaps city (Watch)",
            "#10 create events.k8s.io/events city (Event) (2 bytes)",
        ]
    );
    assert!(
        journal
            .entries()
            .iter()
            .all(|entry| entry.status == Some(StatusCode::OK))
    );
    let sent: Vec<_> = journal
        .entries()
        .iter()
        .map(|entry| format!("{} {}", entry.record.method, entry.record.target))
        .collect();
    assert_eq!(server.lines(), sent, "the record has what went over the wire");
    let agents: Vec<_> = server
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|(.., agent)| agent.clone().unwrap())
        .collect();
    assert!(agents.iter().all(|agent| agent == USER_AGENT_VALUE), "{agents:?}");
}

#[tokio::test]
async fn a_delete_carries_the_uid_as_precondition() {
    let journal = Arc::new(Journal::new());
    let Fixture { requests, .. } = journaled(&journal).await;
    requests
        .delete(&config_maps(), "city", "a", "the-uid", Purpose::Prune)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(journal.entries()[0].record.body.as_ref().unwrap()).unwrap();
    assert_eq!(
        body,
        json!({"propagationPolicy": "Background", "preconditions": {"uid": "the-uid"}})
    );
}

#[tokio::test]
async fn a_name_that_could_mean_another_path_is_not_sent() {
    let Fixture { requests, server, .. } = fixture(Limits::default(), None).await;
    for name in [
        "../secrets/other",
        "",
        ".",
        "..",
        "a/b",
        "a?b",
        "a%2fb",
        "a#b",
        "A",
        "a b",
        &"a".repeat(254),
    ] {
        let error = get(&requests, name).await.unwrap_err();
        assert!(matches!(error, kube::Error::BuildRequest(_)), "{name}: {error}");
        let answer = requests
            .get_value(&config_maps(), name, "a", Purpose::Dereference)
            .await;
        assert!(matches!(answer, Err(kube::Error::BuildRequest(_))), "{name}");
    }
    assert!(server.lines().is_empty());
}

#[tokio::test]
async fn what_is_absent_is_none() {
    let Fixture { requests, .. } = fixture(Limits::default(), None).await;
    assert_eq!(get(&requests, "absent").await.unwrap(), None);
    assert_eq!(requests.served("absent.city", "v1").await.unwrap(), None);
}

#[tokio::test]
async fn nothing_is_sent_again_by_itself() {
    let Fixture {
        requests,
        server,
        metrics,
        ..
    } = fixture(Limits::default(), None).await;
    let error = apply(&requests, "unavailable").await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 503));
    assert_eq!(server.lines().len(), 1);
    let labels = RequestLabels {
        verb: "apply",
        resource: "configmaps".into(),
        purpose: "Apply",
        code: "503".into(),
    };
    assert_eq!(metrics.requests_counted(&labels), 1);
}

#[tokio::test]
async fn a_change_without_the_lease_is_not_sent_and_a_read_is() {
    let Fixture {
        requests,
        server,
        lease,
        metrics,
        ..
    } = fixture(Limits::default(), None).await;
    lease.expire();
    let refused = interrupted(apply(&requests, "a").await);
    assert!(matches!(refused, Interrupted::NoLease { .. }), "{refused}");
    get(&requests, "a").await.unwrap();
    requests.create_event("city", &json!({})).await.unwrap();
    assert_eq!(server.lines().len(), 2);
    let labels = RequestLabels {
        verb: "apply",
        resource: "configmaps".into(),
        purpose: "Apply",
        code: "refused".into(),
    };
    assert_eq!(metrics.requests_counted(&labels), 1);
}

#[tokio::test]
async fn a_change_in_flight_is_given_up_when_the_lease_expires() {
    let Fixture { requests, lease, .. } = fixture(Limits::default(), None).await;
    lease.expire();
    lease.extend(Instant::now() + Duration::from_millis(200));
    let refused = interrupted(apply(&requests, "silent").await);
    assert!(matches!(refused, Interrupted::NoLease { .. }), "{refused}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_or_does_not_finish_is_given_up_in_time() {
    let limit = Duration::from_millis(200);
    let limits = Limits {
        request: limit,
        list: limit,
    };
    let Fixture { requests, .. } = fixture(limits, None).await;
    for name in ["silent", "stuck"] {
        let reason = interrupted(get(&requests, name).await);
        assert!(matches!(reason, Interrupted::TimedOut { .. }), "{name}: {reason}");
    }
}

#[tokio::test]
async fn a_watch_outlives_the_limit_of_a_request() {
    let limits = Limits {
        request: Duration::from_millis(200),
        list: Duration::from_secs(5),
    };
    let Fixture {
        requests,
        metrics,
        layer,
        ..
    } = fixture(limits, None).await;
    let params = ListParams::default();
    requests
        .list::<Value>(&config_maps(), "city", &params, Purpose::Dereference)
        .await
        .unwrap();
    assert_eq!(layer.longest_watch(), None, "a list alone is no watch");
    let api = kube::Api::<ConfigMap>::namespaced(requests.client().clone(), "city");
    let watch = api.watch(&kube::api::WatchParams::default(), "1").await.unwrap();
    let mut watch = std::pin::pin!(watch);
    for _ in 0..2 {
        futures::TryStreamExt::try_next(&mut watch)
            .await
            .unwrap()
            .unwrap();
    }
    let next = tokio::time::timeout(
        Duration::from_millis(600),
        futures::TryStreamExt::try_next(&mut watch),
    )
    .await;
    assert!(next.is_err(), "the watch is still open: {next:?}");
    let labels = RequestLabels {
        verb: "watch",
        resource: "configmaps".into(),
        purpose: "Watch",
        code: "200".into(),
    };
    assert_eq!(metrics.requests_counted(&labels), 1, "counted when it was opened");
    assert!(
        layer.longest_watch().unwrap() >= Duration::from_millis(600),
        "since it was opened"
    );
    requests
        .list::<Value>(&config_maps(), "city", &ListParams::default(), Purpose::Watch)
        .await
        .unwrap();
    assert!(
        layer.longest_watch().unwrap() < Duration::from_millis(600),
        "the list of a watch is a try, too"
    );
}

#[tokio::test]
async fn cut_before_nothing_is_sent_and_everything_after_it_fails() {
    let journal = Arc::new(Journal::cutting(2, Side::Before));
    let Fixture { requests, server, .. } = journaled(&journal).await;
    apply(&requests, "a").await.unwrap();
    get(&requests, "a").await.unwrap();
    assert_eq!(interrupted(apply(&requests, "b").await), Interrupted::Cut);
    assert_eq!(interrupted(get(&requests, "a").await), Interrupted::Cut);
    assert_eq!(server.lines().len(), 2, "the second change was not sent");
}

#[tokio::test]
async fn cut_after_the_server_has_done_it_and_the_answer_is_lost() {
    let journal = Arc::new(Journal::cutting(2, Side::After));
    let Fixture { requests, server, .. } = journaled(&journal).await;
    apply(&requests, "a").await.unwrap();
    assert_eq!(interrupted(apply(&requests, "b").await), Interrupted::Cut);
    assert_eq!(interrupted(apply(&requests, "c").await), Interrupted::Cut);
    assert_eq!(
        server.lines().len(),
        2,
        "the second change was sent, the third not"
    );
    assert_eq!(journal.changes().len(), 2);
}

#[tokio::test]
async fn a_cut_ends_what_is_open() {
    let journal = Arc::new(Journal::cutting(1, Side::Before));
    let Fixture { requests, .. } = journaled(&journal).await;
    let api = kube::Api::<ConfigMap>::namespaced(requests.client().clone(), "city");
    let watch = api.watch(&kube::api::WatchParams::default(), "1").await.unwrap();
    let silent = tokio::spawn({
        let requests = requests.clone();
        async move { get(&requests, "silent").await }
    });
    while journal.entries().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(interrupted(apply(&requests, "a").await), Interrupted::Cut);
    assert_eq!(interrupted(silent.await.unwrap()), Interrupted::Cut);
    let mut watch = std::pin::pin!(watch);
    let ended = loop {
        match futures::TryStreamExt::try_next(&mut watch).await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(interrupted(ended), Interrupted::Cut);
}

/// Answers the first request for a name with a status of its own, on one side.
struct Failing {
    side: Side,
    status: StatusCode,
}

impl Observer for Failing {
    fn before(&self, record: &Record) -> Verdict {
        if self.side == Side::Before && record.number == 1 {
            Verdict::Fail(self.status)
        } else {
            Verdict::Continue
        }
    }

    fn after(&self, record: &Record, status: Option<StatusCode>) -> Verdict {
        assert_eq!(status, Some(StatusCode::OK));
        if self.side == Side::After && record.number == 1 {
            Verdict::Fail(self.status)
        } else {
            Verdict::Continue
        }
    }
}

#[tokio::test]
async fn an_observer_can_answer_in_the_servers_place() {
    for (side, sent) in [(Side::Before, 1), (Side::After, 2)] {
        let failing = Arc::new(Failing {
            side,
            status: StatusCode::CONFLICT,
        });
        let Fixture { requests, server, .. } = fixture(Limits::default(), Some(failing)).await;
        let error = apply(&requests, "a").await.unwrap_err();
        assert!(matches!(error, kube::Error::Api(status) if status.is_conflict()));
        apply(&requests, "a").await.unwrap();
        assert_eq!(server.lines().len(), sent, "{side:?}");
    }
}

/// Swallows the first event of every watch.
struct Swallowing;

impl Observer for Swallowing {
    fn chunk(&self, record: &Record, bytes: bytes::Bytes) -> crate::reconcile::request::Chunk {
        use crate::reconcile::request::Chunk;
        assert_eq!(record.verb, Verb::Watch);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        // The server may send both events in one piece.
        let rest: String = text
            .split_inclusive('\n')
            .filter(|line| !line.contains("\"name\":\"a\""))
            .collect();
        if rest.is_empty() {
            Chunk::Drop
        } else {
            Chunk::Pass(rest.into())
        }
    }
}

#[tokio::test]
async fn an_observer_can_swallow_an_event() {
    let Fixture { requests, .. } = fixture(Limits::default(), Some(Arc::new(Swallowing))).await;
    let api = kube::Api::<ConfigMap>::namespaced(requests.client().clone(), "city");
    let watch = api.watch(&kube::api::WatchParams::default(), "1").await.unwrap();
    let mut watch = std::pin::pin!(watch);
    let first = futures::TryStreamExt::try_next(&mut watch)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(first, kube::api::WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("b")));
}

#[tokio::test]
async fn a_request_that_its_sender_gave_up_is_counted_too() {
    let Fixture {
        requests, metrics, ..
    } = fixture(Limits::default(), None).await;
    let waited = tokio::time::timeout(Duration::from_millis(200), get(&requests, "silent")).await;
    assert!(waited.is_err());
    let labels = RequestLabels {
        verb: "get",
        resource: "configmaps".into(),
        purpose: "Dereference",
        code: "cancelled".into(),
    };
    assert_eq!(metrics.requests_counted(&labels), 1);
}

#[tokio::test]
async fn a_watcher_of_kube_runs_over_the_same_layer() {
    let journal = Arc::new(Journal::new());
    let Fixture { requests, .. } = journaled(&journal).await;
    let api = kube::Api::<ConfigMap>::namespaced(requests.client().clone(), "city");
    let stream = watcher(api, watcher::Config::default());
    let mut stream = std::pin::pin!(stream);
    while journal
        .entries()
        .iter()
        .all(|entry| entry.record.verb != Verb::Watch)
    {
        let next = tokio::time::timeout(Duration::from_secs(5), futures::StreamExt::next(&mut stream)).await;
        next.unwrap().unwrap().unwrap();
    }
    assert!(
        journal
            .entries()
            .iter()
            .all(|entry| entry.record.purpose == Purpose::Watch)
    );
}

#[tokio::test]
async fn a_proxy_is_refused_in_words() {
    let mut config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    config.proxy_url = Some("http://proxy:3128".parse().unwrap());
    let layer = RequestLayer::new(Metrics::new(), LeaseClock::always(), Limits::default(), None);
    let error = connect(config, &layer).err().unwrap();
    assert!(error.to_string().contains("proxy:3128"), "{error}");
}
