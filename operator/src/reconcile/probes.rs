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
use mim_crds::{ProbeResult, bound};
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
/// Of these, looks for one namespace: whoever fills it with addresses that do not answer makes only his own wait.
const OF_A_NAMESPACE: usize = 4;

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
    looked_at: bool,
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

/// Looks under way, by namespace.
#[derive(Default)]
struct Places(HashMap<String, usize>);

impl Places {
    fn are_free(&self, namespace: &str) -> bool {
        let in_all: usize = self.0.values().sum();
        in_all < CONCURRENT && self.0.get(namespace).copied().unwrap_or(0) < OF_A_NAMESPACE
    }

    fn take(&mut self, namespace: &str) {
        *self.0.entry(namespace.to_owned()).or_default() += 1;
    }

    fn give_back(&mut self, namespace: &str) {
        if let Some(taken) = self.0.get_mut(namespace) {
            *taken -= 1;
            if *taken == 0 {
                self.0.remove(namespace);
            }
        }
    }
}

/// A look that is to be made.
struct Look {
    uid: String,
    namespace: String,
    target: Target,
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
                looked_at: false,
                last: None,
            },
        );
        self.changed.notify_one();
        None
    }

    /// What is looked at for an owner.
    #[cfg(test)]
    pub(crate) fn target(&self, uid: &str) -> Option<Target> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(uid).map(|entry| entry.target.clone())
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
        self.run_with(|target, namespace| async move { look(&self.client, &target, &namespace).await })
            .await;
    }

    async fn run_with<F>(&self, look: impl Fn(Target, String) -> F)
    where
        F: Future<Output = (ProbeResult, String)>,
    {
        let mut looks = FuturesUnordered::new();
        let mut places = Places::default();
        loop {
            for of in self.take_due(&mut places) {
                let found = look(of.target.clone(), of.namespace.clone());
                looks.push(async move { (of, found.await) });
            }
            tokio::select! {
                Some((of, (result, message))) = looks.next(), if !looks.is_empty() => {
                    let message = bound::cut(&message, bound::MESSAGE);
                    places.give_back(&of.namespace);
                    self.found(&of.uid, &of.target, Probe { result, message, at: (self.now)() });
                }
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(self.next_due()) => {}
            }
        }
    }

    /// The looks that are due and have a place, longest due first: who waits is never overtaken by who was looked at later.
    fn take_due(&self, places: &mut Places) -> Vec<Look> {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due: Vec<_> = entries
            .iter_mut()
            .filter(|(_, entry)| entry.due <= now && !entry.looked_at)
            .collect();
        due.sort_unstable_by_key(|(_, entry)| entry.due);
        let mut looks = Vec::new();
        for (uid, entry) in due {
            let namespace = &entry.owner.namespace;
            if !places.are_free(namespace) {
                continue;
            }
            places.take(namespace);
            entry.due = now + self.period;
            entry.looked_at = true;
            looks.push(Look {
                uid: uid.clone(),
                namespace: namespace.clone(),
                target: entry.target.clone(),
            });
        }
        looks
    }

    /// When the next target becomes due. What is due already waits for a place, which the end of a look gives.
    fn next_due(&self) -> Instant {
        let now = Instant::now();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let due = entries.values().map(|entry| entry.due).filter(|due| *due > now);
        due.min().unwrap_or(now + self.period)
    }

    fn found(&self, uid: &str, target: &Target, probe: Probe) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(uid).filter(|entry| entry.target == *target) else {
            return;
        };
        entry.looked_at = false;
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
        Err(error) => (of_error(&error), words_of(&error)),
    }
}

/// What no answer means. Refused is what only another spec heals; another Secret heals a token or a CA that is of no use.
fn of_error(error: &Error) -> ProbeResult {
    match error {
        Error::TokenNotSendable { .. } => ProbeResult::Unauthorised,
        Error::CaNotReadable { .. } | Error::NoTrustStore { .. } => ProbeResult::Unreachable,
        error if error.by_guard() => ProbeResult::Refused,
        _ => ProbeResult::Unreachable,
    }
}

/// Where nothing answers, a network policy may be in the way, and the nearest one is the operator's own.
fn words_of(error: &Error) -> String {
    match error {
        Error::NotConnected { .. } | Error::Timeout { .. } => format!(
            "{error}; the operator's own policy lets it call the ports of networkPolicy.probePorts, a value of its chart"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

    /// The clock of tests whose time is virtual.
    fn virtual_now() -> Timestamp {
        thread_local!(static START: Instant = Instant::now());
        let passed = START.with(Instant::elapsed);
        Timestamp::UNIX_EPOCH + SignedDuration::try_from(passed).unwrap()
    }

    fn on_virtual_time() -> (Arc<Triggers>, Arc<Probes>) {
        virtual_now();
        let triggers = Triggers::new(&["ContextBroker"]);
        let client = Client::new(Policy::new(vec![], vec![]));
        let probes = Probes::new(client, Arc::clone(&triggers), PERIOD, virtual_now);
        (triggers, probes)
    }

    fn target(url: &str) -> Target {
        Target {
            url: Url::parse(url).unwrap(),
            token: None,
            ca_pem: None,
            judge,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_made_every_minute_and_an_unchanged_result_is_shown_every_ten() {
        let (triggers, probes) = on_virtual_time();
        let (looks, shown) = (AtomicUsize::new(0), AtomicUsize::new(0));
        probes.watch(&owner("u1"), target("http://a/"));
        let run = probes.run_with(|_, _| async {
            looks.fetch_add(1, Ordering::Relaxed);
            (ProbeResult::Answered, "well".to_owned())
        });
        let count = async {
            loop {
                triggered(&triggers).await;
                shown.fetch_add(1, Ordering::Relaxed);
            }
        };
        let a_while = Duration::from_secs(35 * 60 + 30);
        let ended = tokio::time::timeout(a_while, async { tokio::join!(run, count) }).await;
        assert!(ended.is_err(), "it looks for ever");
        assert_eq!(looks.into_inner(), 36, "one at once, then one a minute");
        assert_eq!(
            shown.into_inner(),
            4,
            "the first, and after 10, 20 and 30 minutes"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn three_hundred_silent_targets_of_one_namespace_starve_no_other() {
        let (_triggers, probes) = on_virtual_time();
        for number in 0..300 {
            let mut silent = owner(&format!("silent-{number}"));
            silent.namespace = "greedy".into();
            probes.watch(&silent, target(&format!("http://silent-{number}/")));
        }
        probes.watch(&owner("good"), target("http://good/"));
        let seen: Mutex<HashMap<String, usize>> = Mutex::default();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = probes.run_with(|target, _| {
            let host = target.url.host_str().unwrap().to_owned();
            *seen.lock().unwrap().entry(host.clone()).or_default() += 1;
            let (now, most) = (&now, &most);
            async move {
                if host == "good" {
                    return (ProbeResult::Answered, "well".to_owned());
                }
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(TIMEOUT).await;
                now.fetch_sub(1, Ordering::Relaxed);
                (ProbeResult::Unreachable, "silent".to_owned())
            }
        });
        let ten_minutes = Duration::from_secs(10 * 60 + 1);
        assert!(tokio::time::timeout(ten_minutes, run).await.is_err());
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen["good"], 11, "as if it were alone");
        assert_eq!(most.into_inner(), OF_A_NAMESPACE);
        // 4 places of 5 s each: every target has its turn, after as long as all others take.
        assert_eq!(seen.len(), 301);
        assert!(
            seen.iter()
                .all(|(host, looks)| host == "good" || (1..=2).contains(looks))
        );
    }

    #[test]
    fn a_secret_heals_what_only_an_address_makes_refused() {
        use mim_egress::Place;
        let place = || Place::of(&Url::parse("https://a/").unwrap());
        for (error, expected) in [
            (Error::CaNotReadable { place: place() }, ProbeResult::Unreachable),
            (
                Error::TokenNotSendable { place: place() },
                ProbeResult::Unauthorised,
            ),
            (Error::TokenOverPlainHttp { place: place() }, ProbeResult::Refused),
            (Error::NotResolved { place: place() }, ProbeResult::Unreachable),
        ] {
            assert_eq!(of_error(&error), expected, "{error}");
        }
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
