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
use mim_egress::{Allow, Client, Request, Response, Token};
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
const SHOWN_FOR: SignedDuration = SignedDuration::from_mins(10);
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
        Err(error) => (ProbeResult::Unreachable, error.to_string()),
    }
}
