//! Services that somebody else runs, looked at every minute, outside any pass.
//!
//! A pass says what is to be looked at and reads what was found last; one task does the looking, bounded in time, size and
//! number, behind the guard for URLs that a spec gives. A changed result triggers the owner's pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use mim_crds::ProbeResult;
use mim_egress::{Allow, Client, Error, Request, Response, Token};
use tokio::sync::Notify;
use tokio::time::Instant;
use url::Url;

use super::child::Owner;
use super::live::OwnerKey;
use super::trigger::Triggers;

/// Time between two looks.
pub const PERIOD: Duration = Duration::from_mins(1);
/// Longest look.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const MAX_BODY: usize = 256 * 1024;
/// An unchanged result is shown with a new time this often: a status is no place for what moves all the time.
pub const SHOWN_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Looks at the same time.
const CONCURRENT: usize = 16;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Target {
    /// The whole URL.
    pub url: Url,
    /// Bearer token; https only.
    pub token: Option<Token>,
    /// Certificates to trust instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// What an answer means.
    pub judge: fn(&Response) -> (ProbeResult, String),
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.token == other.token && self.ca_pem == other.ca_pem
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The result, as in the status.
    pub result: ProbeResult,
    /// In plain words, without anything that the other side sent.
    pub message: String,
    /// When it ended.
    pub at: Timestamp,
}

struct Entry {
    owner: OwnerKey,
    target: Target,
    due: Instant,
    last: Option<Probe>,
}

/// All targets, by uid of their owner.
pub struct Probes {
    entries: Mutex<HashMap<String, Entry>>,
    changed: Notify,
    client: Client,
    triggers: Arc<Triggers>,
    period: Duration,
    now: fn() -> Timestamp,
}

impl Probes {
    /// No targets yet.
    #[must_use]
    pub fn new(
        client: Client,
        triggers: Arc<Triggers>,
        period: Duration,
        now: fn() -> Timestamp,
    ) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            changed: Notify::new(),
            client,
            triggers,
            period,
            now,
        })
    }

    /// Looks at the target from now on, at once when it is new or another; gives what was found last of this very target.
    pub fn watch(&self, owner: &Owner, target: Target) -> Option<Probe> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&owner.uid).filter(|entry| entry.target == target) {
            return entry.last.clone();
        }
        let key = OwnerKey {
            kind: owner.kind.to_owned(),
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
        };
        entries.insert(
            owner.uid.clone(),
            Entry {
                owner: key,
                target,
                due: Instant::now(),
                last: None,
            },
        );
        self.changed.notify_one();
        None
    }

    /// The owner is gone, or no longer names a target.
    pub fn forget(&self, uid: &str) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }

    /// Looks, for ever.
    pub async fn run(&self) {
        let mut looks = FuturesUnordered::new();
        loop {
            for (uid, target) in self.take_due(CONCURRENT.saturating_sub(looks.len())) {
                looks.push(async move {
                    let (result, message) = look(&self.client, &target.0, &target.1).await;
                    (uid, target.0, result, message)
                });
            }
            tokio::select! {
                Some((uid, target, result, message)) = looks.next(), if !looks.is_empty() => {
                    self.found(&uid, &target, Probe { result, message, at: (self.now)() });
                }
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(self.next_due()) => {}
            }
        }
    }

    fn take_due(&self, at_most: usize) -> Vec<(String, (Target, String))> {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let due = entries
            .iter_mut()
            .filter(|(_, entry)| entry.due <= now)
            .take(at_most);
        due.map(|(uid, entry)| {
            entry.due = now + self.period;
            (uid.clone(), (entry.target.clone(), entry.owner.namespace.clone()))
        })
        .collect()
    }

    fn next_due(&self) -> Instant {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Never in the past: with all places taken the next end of a look decides.
        let soonest = entries
            .values()
            .map(|entry| entry.due)
            .min()
            .unwrap_or_else(|| Instant::now() + self.period);
        soonest.max(Instant::now() + Duration::from_millis(50))
    }

    fn found(&self, uid: &str, target: &Target, probe: Probe) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(uid).filter(|entry| entry.target == *target) else {
            return;
        };
        let changed = entry
            .last
            .as_ref()
            .is_none_or(|last| (last.result, &last.message) != (probe.result, &probe.message));
        let stale = entry
            .last
            .as_ref()
            .is_some_and(|last| last.at.duration_until(probe.at) >= SHOWN_FOR);
        if changed || stale {
            entry.last = Some(probe);
            self.triggers.fire(entry.owner.clone());
        }
    }
}

async fn look(client: &Client, target: &Target, namespace: &str) -> (ProbeResult, String) {
    let request = Request {
        token: target.token.clone(),
        ca_pem: target.ca_pem.clone(),
        timeout: TIMEOUT,
        max_body: MAX_BODY,
        allow: Allow::ServicesOf(namespace.to_owned()),
        ..Request::new(target.url.clone())
    };
    match client.get(request).await {
        Ok(response) => (target.judge)(&response),
        Err(error) if error.by_guard() => (ProbeResult::Refused, error.to_string()),
        Err(error) => (ProbeResult::Unreachable, unreachable(&error)),
    }
}

/// Where nothing answers, a network policy may be in the way, and the nearest one is the operator's own.
fn unreachable(error: &Error) -> String {
    match error {
        Error::NotConnected { .. } | Error::Timeout { .. } => format!(
            "{error}; the operator's own policy lets it call the ports of networkPolicy.probePorts, a value of its chart"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use kube::runtime::reflector::ObjectRef;
    use mim_crds::ContextBroker;
    use mim_egress::Policy;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn owner(uid: &str) -> Owner {
        Owner {
            kind: "ContextBroker",
            api_version: "mim.city/v1alpha1".into(),
            namespace: "city".into(),
            name: "vienna".into(),
            uid: uid.into(),
        }
    }

    fn judge(response: &Response) -> (ProbeResult, String) {
        if response.status == 200 {
            (ProbeResult::Answered, "well".into())
        } else {
            (ProbeResult::Unreachable, "ill".into())
        }
    }

    /// A server that is well or ill.
    async fn server(well: Arc<AtomicBool>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let status = if well.load(Ordering::Relaxed) {
                    "200 OK"
                } else {
                    "503 No"
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        url
    }

    async fn triggered(triggers: &Arc<Triggers>) -> ObjectRef<ContextBroker> {
        let mut stream = Box::pin(triggers.stream::<ContextBroker>("ContextBroker"));
        stream.next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_pass_is_triggered_by_the_first_result_and_by_each_change_only() {
        let well = Arc::new(AtomicBool::new(true));
        let url = server(Arc::clone(&well)).await;
        let target = || Target {
            url: url.clone(),
            token: None,
            ca_pem: None,
            judge,
        };
        let triggers = Triggers::new(&["ContextBroker"]);
        let client = Client::new(Policy::new(vec![], vec![]).with_loopback_for_tests());
        let probes = Probes::new(
            client,
            Arc::clone(&triggers),
            Duration::from_millis(50),
            Timestamp::now,
        );
        tokio::spawn({
            let probes = Arc::clone(&probes);
            async move { probes.run().await }
        });

        assert_eq!(probes.watch(&owner("u1"), target()), None);
        triggered(&triggers).await;
        let first = probes.watch(&owner("u1"), target()).unwrap();
        assert_eq!(first.result, ProbeResult::Answered);
        // Looks go on, and none of them is news.
        let quiet = tokio::time::timeout(Duration::from_millis(300), triggered(&triggers)).await;
        assert!(quiet.is_err());
        assert_eq!(probes.watch(&owner("u1"), target()), Some(first));

        well.store(false, Ordering::Relaxed);
        triggered(&triggers).await;
        assert_eq!(
            probes.watch(&owner("u1"), target()).unwrap().result,
            ProbeResult::Unreachable
        );
    }

    #[tokio::test]
    async fn where_nobody_answers_the_operators_own_policy_is_named() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            url: Url::parse(&format!("http://{}/", closed.local_addr().unwrap())).unwrap(),
            token: None,
            ca_pem: None,
            judge,
        };
        drop(closed);
        let client = Client::new(Policy::new(vec![], vec![]).with_loopback_for_tests());
        let (result, message) = look(&client, &target, "city").await;
        assert_eq!(result, ProbeResult::Unreachable);
        assert!(message.contains("networkPolicy.probePorts"), "{message}");
        assert!(!message.contains("network.egress"), "{message}");
    }

    #[tokio::test]
    async fn another_target_is_another_look() {
        let url = server(Arc::new(AtomicBool::new(true))).await;
        let target = |path: &str| Target {
            url: url.join(path).unwrap(),
            token: None,
            ca_pem: None,
            judge,
        };
        let triggers = Triggers::new(&["ContextBroker"]);
        let client = Client::new(Policy::new(vec![], vec![]).with_loopback_for_tests());
        let probes = Probes::new(client, Arc::clone(&triggers), PERIOD, Timestamp::now);
        tokio::spawn({
            let probes = Arc::clone(&probes);
            async move { probes.run().await }
        });
        assert_eq!(probes.watch(&owner("u1"), target("a")), None);
        triggered(&triggers).await;
        assert!(probes.watch(&owner("u1"), target("a")).is_some());
        assert_eq!(probes.watch(&owner("u1"), target("b")), None);
        probes.forget("u1");
        assert_eq!(probes.watch(&owner("u1"), target("a")), None);
    }
}
