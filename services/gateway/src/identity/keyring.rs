//! The keys of an issuer as they are known: fetched now and then, and when a token names one that is new.
//!
//! While the issuer cannot be asked, the keys from before are used on until they are too old.

use super::keys::Keys;
use mim_egress::{Client, Request};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use url::Url;

/// How long keys are good without a reason to fetch them.
const EVERY: Duration = Duration::from_mins(5);
/// How soon again at the earliest, whoever wants it.
const AT_MOST: Duration = Duration::from_secs(1);
/// How soon after an attempt that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a request waits for keys that are being fetched.
const WAIT: Duration = Duration::from_secs(3);
/// The largest set, in bytes.
const MAX_SET: usize = 256 * 1024;

/// Where keys are fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The URL of the set; https.
    pub url: Url,
    /// Certificates (PEM) to trust instead of the system's.
    pub authority: Option<Vec<u8>>,
    /// How long keys are used that cannot be fetched anew.
    pub max_stale: Duration,
}

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKeys {
    /// They were never fetched.
    Never,
    /// They are too old.
    Stale,
}

/// The keys of one issuer. They are fetched as long as the value lives.
pub struct Keyring {
    source: Source,
    inner: Arc<Inner>,
    task: AbortHandle,
}

struct Inner {
    known: RwLock<Option<(Arc<Keys>, Instant)>>,
    wanted: Notify,
    /// Counts attempts.
    tried: watch::Sender<u64>,
}

impl Drop for Keyring {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keyring {
    /// Begins to fetch. Called inside a runtime that lives as long as the process.
    #[must_use]
    pub fn start(source: Source, client: Client) -> Arc<Self> {
        let inner = Arc::new(Inner {
            known: RwLock::default(),
            wanted: Notify::new(),
            tried: watch::Sender::new(0),
        });
        let task = tokio::spawn(fetch(source.clone(), client, Arc::clone(&inner))).abort_handle();
        Arc::new(Self { source, inner, task })
    }

    /// Where they come from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// The keys as they are known.
    pub fn keys(&self) -> Result<Arc<Keys>, NoKeys> {
        let known = self.inner.known.read().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            None => Err(NoKeys::Never),
            Some((_, since)) if since.elapsed() > self.source.max_stale => Err(NoKeys::Stale),
            Some((keys, _)) => Ok(Arc::clone(keys)),
        }
    }

    /// Keys that are newer than these, which lack one: those of the next attempt, which is made for it. Whoever names a key that there
    /// is not waits for that attempt, and the issuer is asked once a second.
    pub async fn newer_than(&self, keys: &Arc<Keys>) -> Option<Arc<Keys>> {
        let newer = || self.keys().ok().filter(|known| !Arc::ptr_eq(known, keys));
        if let Some(keys) = newer() {
            return Some(keys);
        }
        let mut tried = self.inner.tried.subscribe();
        let number = *tried.borrow_and_update();
        self.inner.wanted.notify_one();
        let _ = tokio::time::timeout(WAIT, tried.wait_for(|now| *now > number)).await;
        newer()
    }
}

async fn fetch(source: Source, client: Client, inner: Arc<Inner>) {
    let mut told = None;
    loop {
        let fetched = keys(&source, &client).await;
        // Long before they are too old.
        let rest = if fetched.is_ok() {
            EVERY.min(source.max_stale / 2)
        } else {
            AGAIN
        };
        let why = fetched.as_ref().err().cloned();
        if let Ok(keys) = fetched {
            inner.put(keys);
        }
        if why != told {
            if let Some(why) = &why {
                tracing::warn!(url = %source.url, %why, "the keys of an issuer cannot be fetched");
            } else {
                tracing::info!(url = %source.url, "the keys of an issuer are fetched again");
            }
            told = why;
        }
        inner.tried.send_modify(|number| *number += 1);
        tokio::time::sleep(AT_MOST).await;
        tokio::select! {
            () = inner.wanted.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

impl Inner {
    /// The same keys stay the same value: what was verified by them holds on.
    fn put(&self, keys: Keys) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let keys = match known.take() {
            Some((before, _)) if *before == keys => before,
            _ => Arc::new(keys),
        };
        *known = Some((keys, Instant::now()));
    }
}

async fn keys(source: &Source, client: &Client) -> Result<Keys, String> {
    let mut request = Request::new(source.url.clone());
    request.ca_pem.clone_from(&source.authority);
    request.max_body = MAX_SET;
    let response = client.get(request).await.map_err(|error| error.to_string())?;
    if !response.status.is_success() {
        return Err(format!("the answer is {}", response.status));
    }
    Keys::read(&response.body).ok_or_else(|| "the answer is no set of keys that verify".to_owned())
}
