//! A whole operator over an API server in memory, on a clock that the test moves.

use std::collections::VecDeque;
use std::sync::Mutex;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, service_fn};

use super::*;

/// One broker and one lease. Watches are open and tell nothing.
#[derive(Clone, Default)]
struct Server {
    /// Answers to `GET /version`, in turn; the last one stays.
    versions: Arc<Mutex<VecDeque<(u16, Value)>>>,
    /// From here on these are not answered.
    silent: Arc<Mutex<Option<Silent>>>,
    lease: Arc<Mutex<Option<Value>>>,
    /// Method and path of each request, in turn.
    requests: Arc<Mutex<Vec<String>>>,
}

/// What is not answered.
#[derive(Clone, Copy, PartialEq)]
enum Silent {
    /// Whatever a pass writes.
    Passes,
    /// Anything.
    Everything,
}

fn version(minor: &str) -> (u16, Value) {
    let members = [
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    let mut told = json!({"major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.0")});
    for member in members {
        told[member] = "".into();
    }
    (200, told)
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status =
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason});
    (code, status)
}

impl Server {
    fn with_versions(versions: impl IntoIterator<Item = (u16, Value)>) -> Self {
        let server = Self::default();
        server.versions.lock().unwrap().extend(versions);
        server
    }

    /// `None`: no answer ever comes.
    fn answer(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Option<(u16, Value)> {
        self.requests.lock().unwrap().push(format!("{method} {path}"));
        let silent = *self.silent.lock().unwrap();
        let of_pass = path.contains("/namespaces/city/") && method != "GET";
        if silent == Some(Silent::Everything) || (silent == Some(Silent::Passes) && of_pass) {
            return None;
        }
        if path == "/version" {
            let mut versions = self.versions.lock().unwrap();
            let next = versions.front().cloned();
            if versions.len() > 1 {
                versions.pop_front();
            }
            return next;
        }
        if path.contains("/leases") {
            return Some(self.of_lease(method, body));
        }
        match method {
            "GET" if query.contains("watch=") => None,
            "GET" if path.ends_with("/contextbrokers") => Some((200, list(&[broker()]))),
            "GET" if path.ends_with('s') => Some((200, list(&[]))),
            "GET" => Some(failure(404, "NotFound")),
            _ => Some((200, serde_json::from_slice(body).unwrap_or_default())),
        }
    }

    fn of_lease(&self, method: &str, body: &[u8]) -> (u16, Value) {
        let mut lease = self.lease.lock().unwrap();
        match (method, &*lease) {
            ("GET", None) => failure(404, "NotFound"),
            ("GET", Some(held)) => (200, held.clone()),
            _ => {
                let mut written: Value = serde_json::from_slice(body).unwrap();
                written["metadata"]["resourceVersion"] = "1".into();
                *lease = Some(written.clone());
                (200, written)
            }
        }
    }

    fn holder(&self) -> Option<String> {
        let lease = self.lease.lock().unwrap();
        Some(lease.as_ref()?["spec"]["holderIdentity"].as_str()?.to_owned())
    }

    /// The place of the first request for which this is true, among all.
    fn first(&self, is: impl Fn(&str) -> bool) -> Option<usize> {
        self.requests.lock().unwrap().iter().position(|line| is(line))
    }

    fn start(&self) -> Running {
        let server = self.clone();
        let line = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                sleep(Duration::from_millis(20)).await;
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let query = head.uri.query().unwrap_or_default();
                let Some((code, answer)) = server.answer(head.method.as_str(), head.uri.path(), query, &body)
                else {
                    return std::future::pending().await;
                };
                let answer = Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, tower::BoxError>(answer?)
            }
        });
        let scope = Scope::Namespaces(vec!["city".into()]);
        let releases = Releases::parse(&catalogue(), None).unwrap();
        let options = Options::new(scope, "mim", "me", releases);
        let operator = Operator::over(options, None, |layer| {
            Ok(Client::new(
                ServiceBuilder::new().layer(layer).service(line),
                "mim",
            ))
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let run = operator.unwrap().run(async {
            let _ = stopped.await;
        });
        Running {
            stop,
            task: tokio::spawn(run),
        }
    }
}

fn catalogue() -> String {
    let image = |name: &str, digit: &str| {
        format!(
            "{{repository: mim/{name}, digest: \"sha256:{}\"}}",
            digit.repeat(64)
        )
    };
    format!(
        "releases:\n- name: \"0.1.0\"\n  postgresql: 15\n  images:\n    broker: {}\n    postgis: {}\n",
        image("broker", "a"),
        image("postgis", "b")
    )
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
}

fn broker() -> Value {
    let metadata =
        json!({"name": "vienna", "namespace": "city", "uid": "u", "resourceVersion": "1", "generation": 1});
    json!({"apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker", "metadata": metadata, "spec": {}})
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Fatal>>,
}

/// Waits for what must come within a minute.
async fn until(what: &str, is: impl Fn() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < Duration::from_mins(1), "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn writes_lease(line: &str) -> bool {
    line.contains("/leases") && !line.starts_with("GET")
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_too_old_is_told_and_never_led() {
    let server = Server::with_versions([version("30")]);
    let ended = server.start().task.await.unwrap();
    let Err(Fatal::TooOld(words)) = ended else {
        panic!("{ended:?}")
    };
    assert!(words.to_string().contains("v1.30.0"), "{words}");
    assert_eq!(server.first(writes_lease), None);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_told_at_first_is_asked_for_again_before_this_operator_leads() {
    let away = || failure(503, "ServiceUnavailable");
    let server = Server::with_versions([away(), away(), version("30")]);
    let ended = server.start().task.await.unwrap();
    assert!(matches!(ended, Err(Fatal::TooOld(_))), "{ended:?}");
    assert_eq!(server.first(writes_lease), None);

    let server = Server::with_versions([away(), away(), version("37")]);
    let running = server.start();
    until("it leads", || server.holder().as_deref() == Some("me")).await;
    let asked = || {
        let requests = server.requests.lock().unwrap();
        requests.iter().filter(|line| *line == "GET /version").count()
    };
    assert_eq!(asked(), 3);
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    assert_eq!(asked(), 3, "once told it is known");
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_waits_for_the_version_ends_when_it_is_told_to() {
    let server = Server::with_versions([failure(503, "ServiceUnavailable")]);
    let running = server.start();
    sleep(Duration::from_mins(5)).await;
    assert!(!running.task.is_finished());
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_refuses_to_tell_its_version_is_taken_as_it_is() {
    let server = Server::with_versions([failure(403, "Forbidden")]);
    let running = server.start();
    until("it leads", || server.holder().as_deref() == Some("me")).await;
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
}

/// From SIGTERM to the end, where from then on these are not answered.
async fn stopped_while(silent: Silent) -> (Server, Duration) {
    let server = Server::with_versions([version("37")]);
    if silent == Silent::Passes {
        *server.silent.lock().unwrap() = Some(silent);
    }
    let running = server.start();
    let writes = |line: &str| line.contains("/namespaces/city/") && !line.starts_with("GET");
    until("a pass writes", || server.first(writes).is_some()).await;
    *server.silent.lock().unwrap() = Some(silent);
    let told = Instant::now();
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    (server, told.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_at_sigterm_is_given_up_in_time_to_give_the_lease_back_within_five_seconds() {
    let (server, took) = stopped_while(Silent::Passes).await;
    assert!(took > Duration::from_secs(2), "it was given a chance: {took:?}");
    assert!(took <= Duration::from_secs(5), "{took:?}");
    assert_eq!(server.holder().as_deref(), Some(""), "the lease is free");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_at_sigterm_holds_nobody_up_for_more_than_five_seconds() {
    let (server, took) = stopped_while(Silent::Everything).await;
    assert!(took <= Duration::from_secs(5), "{took:?}");
    assert_eq!(server.holder().as_deref(), Some("me"), "it expires by itself");
}
