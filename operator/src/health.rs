//! What the kubelet asks: is the process alive, is it ready.
//!
//! * `/healthz` fails when something that must move has stopped moving, never because the API server is away: a
//!   restart would not help.
//! * `/readyz` fails until every watch has had its first list. A kind whose CRD is not there yet is listed and waited for,
//!   and does not make the operator unready: Helm waits for it, and the CRD may come later. Who leads does not matter: a warm
//!   standby is ready.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use kube::runtime::watcher;
use tokio::net::TcpListener;
use tokio::sync::watch::Sender;

/// The state of all watches and of everything that must move. A clone is another handle to the same state.
#[derive(Clone, Default)]
pub struct Health {
    watches: Arc<Sender<BTreeMap<Key, Standing>>>,
    moving: Arc<Mutex<Vec<Moving>>>,
}

/// Kind and namespace; no namespace is all of them.
type Key = (&'static str, Option<String>);

/// How a watch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The first list is not in yet; the last error, if there was one.
    Waiting(Option<String>),
    /// The API server does not know the kind.
    Absent,
    /// The first list is in.
    Filled,
    /// It was filled, and is being opened again after this error.
    Broken(String),
}

impl Standing {
    const fn is_ready(&self) -> bool {
        !matches!(self, Self::Waiting(_))
    }
}

/// Something that must move, and how to ask how long it has not.
struct Moving {
    name: &'static str,
    limit: Duration,
    idle: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
}

/// How one watch reports.
#[derive(Clone)]
pub struct Watch {
    key: Key,
    watches: Arc<Sender<BTreeMap<Key, Standing>>>,
}

impl Health {
    /// Nothing is watched yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A watch that must be filled before the operator is ready. Register all of them before [`Health::filled`] is asked.
    #[must_use]
    pub fn watch(&self, kind: &'static str, namespace: Option<&str>) -> Watch {
        let key = (kind, namespace.map(str::to_owned));
        let watch = Watch {
            key,
            watches: Arc::clone(&self.watches),
        };
        watch.set(|_| Standing::Waiting(None));
        watch
    }

    /// Something that must move at least once in `limit`, or the process is restarted. `idle` tells how long it has not; `None`
    /// while there is nothing to expect of it.
    pub fn moving(
        &self,
        name: &'static str,
        limit: Duration,
        idle: impl Fn() -> Option<Duration> + Send + Sync + 'static,
    ) {
        let moving = Moving {
            name,
            limit,
            idle: Box::new(idle),
        };
        self.moving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(moving);
    }

    /// Waits until every watch has had its first list, or has no CRD to wait for.
    pub async fn filled(&self) {
        let mut watches = self.watches.subscribe();
        // The sender lives as long as `self`.
        let _ = watches
            .wait_for(|watches| watches.values().all(Standing::is_ready))
            .await;
    }

    /// Whether the operator is ready, and how each watch stands.
    #[must_use]
    pub fn readiness(&self) -> (bool, String) {
        let watches = self.watches.borrow();
        let ready = watches.values().all(Standing::is_ready);
        let mut text = if ready { "ready\n" } else { "not ready\n" }.to_owned();
        for ((kind, namespace), standing) in watches.iter() {
            let place = namespace
                .as_ref()
                .map_or_else(String::new, |namespace| format!(" in {namespace}"));
            let words = match standing {
                Standing::Filled => continue,
                Standing::Waiting(None) => "waiting for the first list".to_owned(),
                Standing::Waiting(Some(error)) => format!("waiting for the first list: {error}"),
                Standing::Absent => "the API server does not know this kind; waiting for its CRD".to_owned(),
                Standing::Broken(error) => format!("is being opened again: {error}"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "watch {kind}{place}: {words}");
        }
        (ready, text)
    }

    /// Whether everything moves that must, and what does not.
    #[must_use]
    pub fn liveness(&self) -> (bool, String) {
        let moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for Moving { name, limit, idle } in moving.iter() {
            if let Some(idle) = idle()
                && idle > *limit
            {
                let _ = writeln!(
                    text,
                    "{name}: nothing for {} s, the limit is {} s",
                    idle.as_secs(),
                    limit.as_secs()
                );
            }
        }
        if text.is_empty() {
            (true, "alive\n".to_owned())
        } else {
            (false, text)
        }
    }

    /// `/healthz` and `/readyz`.
    pub fn router(&self) -> Router {
        let answer = |(good, text): (bool, String)| {
            (
                if good {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                },
                text,
            )
        };
        Router::new()
            .route(
                "/healthz",
                get(move |State(health): State<Self>| async move { answer(health.liveness()) }),
            )
            .route(
                "/readyz",
                get(move |State(health): State<Self>| async move { answer(health.readiness()) }),
            )
            .with_state(self.clone())
    }
}

impl Watch {
    /// The first list, or the list after a break, is in.
    pub fn filled(&self) {
        self.set(|_| Standing::Filled);
    }

    /// The API server has opened the stream. Only after a break does that tell anything: before, the first list does.
    pub fn opened(&self) {
        self.set(|standing| match standing {
            Standing::Broken(_) => Standing::Filled,
            other => other.clone(),
        });
    }

    /// The watch has failed and is opened again by itself.
    pub fn failed(&self, error: &watcher::Error) {
        let text = error.to_string();
        self.set(|standing| match standing {
            _ if is_unknown_kind(error) => Standing::Absent,
            Standing::Filled | Standing::Broken(_) => Standing::Broken(text),
            Standing::Waiting(_) | Standing::Absent => Standing::Waiting(Some(text)),
        });
    }

    fn set(&self, next: impl FnOnce(&Standing) -> Standing) {
        self.watches.send_if_modified(|watches| {
            let standing = watches.entry(self.key.clone()).or_insert(Standing::Waiting(None));
            let next = next(standing);
            let changed = *standing != next;
            *standing = next;
            changed
        });
    }
}

/// A list of a kind that the API server does not serve is a 404; of a namespace that does not exist it is an empty list.
fn is_unknown_kind(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// Answers at `listener` until `stop`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::FutureExt as _;

    use super::*;

    fn failure(code: u16) -> watcher::Error {
        let status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": code, "message": "no", "reason": "x"
        }));
        watcher::Error::InitialListFailed(kube::Error::Api(status.unwrap()))
    }

    #[test]
    fn not_ready_until_every_watch_is_filled_and_each_that_is_not_is_named() {
        let health = Health::new();
        let (all, one) = (
            health.watch("ContextBroker", None),
            health.watch("Pod", Some("city")),
        );
        all.filled();
        assert!(health.filled().now_or_never().is_none());
        assert_eq!(
            health.readiness(),
            (
                false,
                "not ready\nwatch Pod in city: waiting for the first list\n".into()
            )
        );
        one.failed(&failure(403));
        assert!(
            health
                .readiness()
                .1
                .contains("watch Pod in city: waiting for the first list: ")
        );
        assert!(!health.readiness().0);
        one.filled();
        assert_eq!(health.readiness(), (true, "ready\n".into()));
        assert!(health.filled().now_or_never().is_some());
    }

    #[test]
    fn a_missing_crd_is_listed_and_does_not_hold_up_the_rest() {
        let health = Health::new();
        let watch = health.watch("UrbanDataPlatform", None);
        watch.failed(&failure(404));
        let (ready, text) = health.readiness();
        assert!(ready);
        assert_eq!(
            text,
            "ready\nwatch UrbanDataPlatform: the API server does not know this kind; waiting for its CRD\n"
        );
        assert!(health.filled().now_or_never().is_some());
        // The CRD comes: first the list fails on a server that is not quite there, then it is in.
        watch.failed(&failure(503));
        assert!(!health.readiness().0);
        watch.filled();
        assert_eq!(health.readiness(), (true, "ready\n".into()));
    }

    #[test]
    fn a_watch_that_breaks_later_is_listed_and_leaves_the_operator_ready() {
        let health = Health::new();
        let watch = health.watch("Pod", None);
        watch.filled();
        watch.failed(&failure(500));
        let (ready, text) = health.readiness();
        assert!(
            ready && text.contains("watch Pod: is being opened again: "),
            "{text}"
        );
        watch.opened();
        assert_eq!(health.readiness(), (true, "ready\n".into()));
    }

    #[test]
    fn a_stream_that_is_opened_is_no_first_list() {
        let health = Health::new();
        let watch = health.watch("Pod", None);
        watch.opened();
        assert!(!health.readiness().0);
    }

    #[test]
    fn what_stops_moving_is_named_and_ends_the_process() {
        let health = Health::new();
        let idle = Arc::new(AtomicU64::new(10));
        let seconds = Arc::clone(&idle);
        health.moving("watches", Duration::from_mins(5), move || {
            Some(Duration::from_secs(seconds.load(Ordering::SeqCst)))
        });
        health.moving("not started", Duration::ZERO, || None);
        assert_eq!(health.liveness(), (true, "alive\n".into()));
        idle.store(301, Ordering::SeqCst);
        assert_eq!(
            health.liveness(),
            (false, "watches: nothing for 301 s, the limit is 300 s\n".into())
        );
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    #[tokio::test]
    async fn probes_are_answered_over_http_until_the_process_stops() {
        let health = Health::new();
        let watch = health.watch("Pod", None);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, health.router(), async { stopped.await.unwrap() }));
        assert_eq!(ask(address, "/healthz").await, (200, "alive\n".into()));
        assert_eq!(ask(address, "/readyz").await.0, 503);
        watch.filled();
        assert_eq!(ask(address, "/readyz").await, (200, "ready\n".into()));
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    }
}
