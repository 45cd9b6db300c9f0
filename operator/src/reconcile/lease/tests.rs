//! Whole elections over an API server in memory, on a clock that the test moves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, service_fn};

use super::*;
use crate::metrics::Metrics;
use crate::reconcile::client::Requests;
use crate::reconcile::request::{Limits, RequestLayer};

/// One lease, with the API server's rules of resource versions.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn answer(&self, method: &str, body: &[u8]) -> (u16, Value) {
        self.requests.lock().unwrap().push(method.to_owned());
        let mut lease = self.lease.lock().unwrap();
        let failure =
            |code: u16, reason: &str| (code, json!({"status": "Failure", "code": code, "reason": reason}));
        let version = lease
            .as_ref()
            .map(|lease| lease["metadata"]["resourceVersion"].clone());
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method, version) {
            ("GET" | "PUT", None) => return failure(404, "NotFound"),
            ("GET", Some(_)) => return (200, lease.clone().unwrap()),
            ("POST", Some(_)) => return failure(409, "AlreadyExists"),
            ("PUT", Some(version)) if wanted["metadata"]["resourceVersion"] != version => {
                return failure(409, "Conflict");
            }
            _ => {}
        }
        let mut stored = wanted;
        let next = self.requests.lock().unwrap().len();
        stored["metadata"]["resourceVersion"] = json!(next.to_string());
        *lease = Some(stored.clone());
        (200, stored)
    }

    fn holder(&self) -> Option<String> {
        let lease = self.lease.lock().unwrap();
        lease.as_ref().map(|lease| {
            lease["spec"]["holderIdentity"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
    }
}

/// An operator: its clock, its line to the server and what it does.
struct Operator {
    clock: LeaseClock,
    metrics: Metrics,
    reachable: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Option<Ended>>,
}

fn start(server: &Server, identity: &str, jitter: fn() -> f64) -> Operator {
    let reachable = Arc::new(AtomicBool::new(true));
    let (clock, metrics) = (LeaseClock::not_held(), Metrics::new());
    let line = {
        let (server, reachable) = (server.clone(), Arc::clone(&reachable));
        service_fn(move |request: Request<Body>| {
            let (server, reachable) = (server.clone(), Arc::clone(&reachable));
            async move {
                sleep(Duration::from_millis(20)).await;
                if !reachable.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let method = request.method().to_string();
                let body = request.into_body().collect_bytes().await?;
                let (code, answer) = server.answer(&method, &body);
                sleep(Duration::from_millis(20)).await;
                let answer = Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, tower::BoxError>(answer?)
            }
        })
    };
    let layer = RequestLayer::new(metrics.clone(), clock.clone(), Limits::default(), None);
    let client = kube::Client::new(ServiceBuilder::new().layer(&layer).service(line), "mim");
    let election = Election {
        requests: Requests::new(client),
        namespace: "mim".into(),
        lease: LEASE_NAME.into(),
        identity: identity.into(),
        timing: Timing::default(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        wall: Timestamp::now,
        jitter,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let stopped = async {
            // A test that forgets to stop it wants it to go on.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut stopped = std::pin::pin!(stopped);
        let leader = election.stand().elect(&mut stopped).await?;
        Some(leader.keep(stopped).await)
    });
    Operator {
        clock,
        metrics,
        reachable,
        stop: Some(stop),
        task,
    }
}

impl Operator {
    fn leads(&self) -> bool {
        self.clock.is_held(Instant::now())
    }

    async fn until_it_leads(&self) -> Duration {
        let started = Instant::now();
        while !self.leads() {
            assert!(started.elapsed() < Duration::from_mins(2), "never elected");
            sleep(Duration::from_millis(10)).await;
        }
        started.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_race_one_leads_and_the_other_waits() {
    let server = Server::default();
    let (a, b) = (start(&server, "a", || 0.0), start(&server, "b", || 0.0));
    sleep(Duration::from_mins(5)).await;
    assert_ne!(a.leads(), b.leads());
    let leader = if a.leads() { "a" } else { "b" };
    assert_eq!(server.holder().as_deref(), Some(leader));
    assert_eq!(
        server.lease.lock().unwrap().as_ref().unwrap()["spec"]["leaseTransitions"],
        0
    );
    let metrics = if a.leads() { a.metrics } else { b.metrics };
    assert!(metrics.render().unwrap().contains("mim_leader 1\n"));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_race_for_an_expired_lease_one_wins() {
    let server = Server::default();
    let dead = json!({"holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 1,
                      "renewTime": "2999-01-01T00:00:00.000000Z"});
    *server.lease.lock().unwrap() =
        Some(json!({"metadata": {"name": LEASE_NAME, "resourceVersion": "0"}, "spec": dead}));
    let (a, b) = (start(&server, "a", || 0.0), start(&server, "b", || 0.0));
    sleep(Duration::from_secs(14)).await;
    assert!(
        !a.leads() && !b.leads(),
        "the lease was not unchanged for its whole duration yet"
    );
    sleep(Duration::from_secs(6)).await;
    assert_ne!(a.leads(), b.leads());
    assert_eq!(
        server.lease.lock().unwrap().as_ref().unwrap()["spec"]["leaseTransitions"],
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_starts() {
    let server = Server::default();
    let a = start(&server, "a", || 0.3);
    a.until_it_leads().await;
    let b = start(&server, "b", || 0.7);
    sleep(Duration::from_mins(1)).await;
    assert!(a.leads() && !b.leads());

    a.reachable.store(false, Ordering::SeqCst);
    let cut = Instant::now();
    let (mut stopped, mut started) = (None, None);
    while started.is_none() {
        assert!(!(a.leads() && b.leads()), "two lead at once");
        if !a.leads() {
            stopped.get_or_insert(cut.elapsed());
        }
        if b.leads() {
            started.get_or_insert(cut.elapsed());
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(stopped.unwrap() <= Duration::from_secs(10), "{stopped:?}");
    assert!(
        started.unwrap() >= stopped.unwrap() + Duration::from_secs(2),
        "{stopped:?} {started:?}"
    );
    assert_eq!(a.task.await.unwrap(), Some(Ended::NotRenewed));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_survived() {
    let server = Server::default();
    let a = start(&server, "a", || 0.3);
    a.until_it_leads().await;
    for _ in 0..20 {
        a.reachable.store(false, Ordering::SeqCst);
        // One try hangs for 5 s; the next must come through.
        sleep(Duration::from_secs(4)).await;
        a.reachable.store(true, Ordering::SeqCst);
        sleep(Duration::from_secs(6)).await;
        assert!(a.leads());
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    let server = Server::default();
    let mut a = start(&server, "a", || 0.0);
    a.until_it_leads().await;
    let b = start(&server, "b", || 0.99);
    sleep(Duration::from_secs(30)).await;
    a.stop.take().unwrap().send(()).unwrap();
    assert_eq!(a.task.await.unwrap(), Some(Ended::Released));
    assert!(!a.clock.is_held(Instant::now()));
    let waited = b.until_it_leads().await;
    assert!(
        waited <= Duration::from_millis(4_500),
        "one wait of a candidate, not an expiry: {waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_told_to_stop_leaves_nothing_behind() {
    let server = Server::default();
    let mut a = start(&server, "a", || 0.0);
    // In the middle of its first write.
    while server.requests.lock().unwrap().len() < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    a.stop.take().unwrap().send(()).unwrap();
    assert_eq!(a.task.await.unwrap(), None);
    assert_eq!(server.holder().as_deref(), Some(""));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_edits_or_deletes_ends_or_is_made_again() {
    let server = Server::default();
    let a = start(&server, "a", || 0.0);
    a.until_it_leads().await;
    *server.lease.lock().unwrap() = None;
    sleep(Duration::from_secs(6)).await;
    assert!(a.leads());
    assert_eq!(server.holder().as_deref(), Some("a"));

    let mut lease = server.lease.lock().unwrap().clone().unwrap();
    lease["spec"]["holderIdentity"] = json!("thief");
    lease["metadata"]["resourceVersion"] = json!("stolen");
    *server.lease.lock().unwrap() = Some(lease);
    assert_eq!(a.task.await.unwrap(), Some(Ended::TakenBy("thief".into())));
    assert!(!a.clock.is_held(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_or_that_met_a_label_goes_on() {
    let server = Server::default();
    let a = start(&server, "a", || 0.0);
    a.until_it_leads().await;
    for round in 0..20 {
        sleep(Duration::from_secs(5)).await;
        let mut lease = server.lease.lock().unwrap();
        // As after a renewal that this operator never heard of, or an edit that is not about the holder.
        lease.as_mut().unwrap()["metadata"]["resourceVersion"] = json!(format!("other-{round}"));
        drop(lease);
        assert!(a.leads());
    }
    assert_eq!(server.holder().as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_sends_one_request_every_two_seconds() {
    let server = Server::default();
    let a = start(&server, "a", || 0.0);
    a.until_it_leads().await;
    server.requests.lock().unwrap().clear();
    sleep(Duration::from_secs(100)).await;
    let requests = server.requests.lock().unwrap().clone();
    assert!(requests.iter().all(|method| method == "PUT"), "{requests:?}");
    assert!((48..=50).contains(&requests.len()), "{}", requests.len());
}
