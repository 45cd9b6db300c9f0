//! What contexts are compiled from: the documents behind URLs. One that is preloaded is a file and never fetched; one
//! that was fetched before, by whichever replica, is on the shelf; only then it is fetched, through the guard.
//!
//! Everything is bounded: documents in number and in the memory they take; reads, fetches and parsers at a time. A
//! document is brought once however many requests wait for it; a failure is remembered for a few seconds; a document
//! that was had once is kept while fetching it anew fails.

use crate::context::bounded::Bounded;
use crate::context::fetch::Fetch;
use crate::context::preloaded::{self, Preloaded};
use crate::context::shelf::{Fetched, Put, Shelf};
use crate::context::{ContextError, locked};
use crate::model::json::Json;
use crate::store::TenantId;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use jiff::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use url::Url;

const MAX_DOCUMENTS: usize = 512;
/// How much memory kept documents take. One that alone takes more is brought again each time.
pub(super) const MAX_DOCUMENT_MEMORY: usize = 16 * 1024 * 1024;
/// How many documents are fetched at a time: each may take 4 MiB, and a thread for the look-up of its name, which goes
/// on after the request for it has given up.
pub(super) const FETCHES: usize = 8;
/// How many are read from files and the shelf at a time. They wait for no server that is slow.
const READS: usize = 4;
/// How long to wait for one's turn.
const TURN: Duration = Duration::from_secs(4);
/// How many values a document may have; a context with the most terms has some 150,000. A parsed value takes up to a
/// hundred bytes.
pub(super) const MAX_VALUES: usize = 200_000;
/// When a document is fetched again.
const FRESH: Duration = Duration::from_hours(1);
/// When that is tried again after it failed.
const RETRY: Duration = Duration::from_mins(1);
/// How long a failure answers for the next requests too.
const FAILED: Duration = Duration::from_secs(5);

/// A document, or why there is none.
pub(super) type Outcome = Result<Arc<Json>, ContextError>;
type Flying = Shared<BoxFuture<'static, Outcome>>;

enum Document {
    Flying(Flying),
    Had { document: Arc<Json>, due: Due },
    Failed { error: ContextError, at: Instant },
}

/// When a document is fetched again; `None`: as it is a file, never.
type Due = Option<Instant>;

struct Kept {
    documents: Bounded<Document>,
    /// Counts how often everything was forgotten: what was asked for before is not kept after.
    generation: u64,
}

/// Where documents come from.
#[derive(Clone)]
pub(super) struct Sources {
    pub fetch: Arc<dyn Fetch>,
    pub guard: Arc<str>,
    pub preloaded: Arc<Preloaded>,
}

/// Who may fetch or read, and then who may parse: a document being parsed takes several times its bytes.
struct Turns {
    fetch: Semaphore,
    read: Semaphore,
    parse: Semaphore,
}

/// The documents of this process.
pub(super) struct Documents {
    kept: Mutex<Kept>,
    sources: Mutex<Sources>,
    turns: Turns,
    shelf: Arc<dyn Shelf>,
}

impl Documents {
    pub(super) fn new(sources: Sources, shelf: Arc<dyn Shelf>) -> Self {
        Self {
            kept: Mutex::new(Kept {
                documents: Bounded::new(MAX_DOCUMENTS, MAX_DOCUMENT_MEMORY),
                generation: 0,
            }),
            sources: Mutex::new(sources),
            turns: Turns {
                fetch: Semaphore::new(FETCHES),
                read: Semaphore::new(READS),
                parse: Semaphore::new(1),
            },
            shelf,
        }
    }

    /// Changes where documents come from, and forgets those that came from elsewhere.
    pub(super) fn change(&self, change: impl FnOnce(&mut Sources)) {
        change(&mut locked(&self.sources));
        self.forget();
    }

    /// Forgets everything, what is under way too.
    pub(super) fn forget(&self) {
        let mut kept = locked(&self.kept);
        kept.generation += 1;
        kept.documents.clear();
    }

    pub(super) fn is_preloaded(&self, url: &str) -> bool {
        locked(&self.sources).preloaded.file(url).is_some()
    }

    fn sources(&self) -> Sources {
        locked(&self.sources).clone()
    }

    /// The value of `@context` of the document behind a URL.
    pub(super) async fn get(self: &Arc<Self>, url: &Url) -> Outcome {
        let flying = {
            let mut kept = locked(&self.kept);
            let generation = kept.generation;
            match kept.documents.get(url.as_str()) {
                Some(Document::Had { document, due }) => {
                    let had = Arc::clone(document);
                    if due.is_some_and(|due| Instant::now() >= due) {
                        // The old one serves until the next one is there.
                        *due = Some(Instant::now() + RETRY);
                        drop(self.start(url, generation, Some(Arc::clone(&had))));
                    }
                    return Ok(had);
                }
                Some(Document::Failed { error, at }) if at.elapsed() < FAILED => return Err(error.clone()),
                Some(Document::Flying(flying)) => flying.clone(),
                Some(Document::Failed { .. }) | None => {
                    let flying = self.start(url, generation, None);
                    let state = Document::Flying(flying.clone());
                    kept.documents.set(url.as_str().to_owned(), state, 0);
                    flying
                }
            }
        };
        flying.await
    }

    /// One that this broker keeps for the tenant; `None`: it keeps none of this id.
    pub(super) async fn own(
        &self,
        tenant: TenantId,
        url: &Url,
        id: &str,
    ) -> Result<Option<Arc<Json>>, ContextError> {
        let _turn = turn(&self.turns.read, url).await?;
        match self.shelf.own(tenant, id).await.map_err(ContextError::Store)? {
            None => Ok(None),
            Some(text) => self.parse_known(url, &text).await.map(Some),
        }
    }

    /// Fetches a document anew and puts it where all replicas find it. Where that fails the old one stays.
    pub(super) async fn reload(&self, url: &Url) -> Result<(), ContextError> {
        let sources = self.sources();
        if let Some(path) = sources.preloaded.file(url.as_str()) {
            return self.read_file(url, path).await.map(drop);
        }
        let at = Timestamp::now();
        let text = self.fetch(&sources, url).await?.to_text();
        let put = Put {
            url: url.as_str(),
            guard: &sources.guard,
            document: &text,
            at,
            force: true,
        };
        self.shelf.put(put).await.map(drop).map_err(ContextError::Store)
    }

    /// Starts to bring a document, in a task of its own, which ends whether or not a request waits for it.
    fn start(self: &Arc<Self>, url: &Url, generation: u64, old: Option<Arc<Json>>) -> Flying {
        let (this, url) = (Arc::clone(self), url.clone());
        let task = tokio::spawn(async move {
            let brought = this.bring(&url, old.is_some()).await;
            this.settle(&url, generation, old, brought)
        });
        let outcome = async move {
            task.await.unwrap_or_else(|_| {
                Err(ContextError::Unavailable {
                    url: String::new(),
                    why: "the broker is stopping".to_owned(),
                })
            })
        };
        outcome.boxed().shared()
    }

    /// Keeps what came of it, unless everything was forgotten meanwhile.
    fn settle(
        &self,
        url: &Url,
        generation: u64,
        old: Option<Arc<Json>>,
        brought: Result<(Arc<Json>, Due), ContextError>,
    ) -> Outcome {
        let had = |document: Arc<Json>, due| {
            let weight = memory(&document);
            Some((Document::Had { document, due }, weight))
        };
        let (outcome, state) = match (brought, old) {
            (Ok((document, due)), _) => (Ok(Arc::clone(&document)), had(document, due)),
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "an @context could not be fetched again; the one from before is used on");
                (Err(error), had(old, Some(Instant::now() + RETRY)))
            }
            // Whether the database is there is asked each time.
            (Err(error @ ContextError::Store(_)), None) => (Err(error), None),
            (Err(error), None) => {
                let at = Instant::now();
                (Err(error.clone()), Some((Document::Failed { error, at }, 1)))
            }
        };
        let mut kept = locked(&self.kept);
        if kept.generation == generation {
            match state {
                Some((state, weight)) => {
                    kept.documents
                        .set(url.as_str().to_owned(), state, weight + url.as_str().len());
                }
                None => kept.documents.remove(url.as_str()),
            }
        }
        outcome
    }

    /// `again`: there is one that serves meanwhile, so an old one of the shelf is no help.
    async fn bring(&self, url: &Url, again: bool) -> Result<(Arc<Json>, Due), ContextError> {
        let sources = self.sources();
        if let Some(path) = sources.preloaded.file(url.as_str()) {
            return Ok((self.read_file(url, path).await?, None));
        }
        let known = {
            let _turn = turn(&self.turns.read, url).await?;
            let known = self.shelf.fetched(url.as_str(), &sources.guard).await;
            match known.map_err(ContextError::Store)? {
                None => None,
                Some(Fetched { document, at, due }) => {
                    Some((self.parse_known(url, &document).await?, at, due))
                }
            }
        };
        if let Some((document, at, false)) = &known {
            let age = Duration::try_from(at.duration_until(Timestamp::now())).unwrap_or_default();
            if let Some(left) = FRESH.checked_sub(age).filter(|left| !left.is_zero()) {
                return Ok((Arc::clone(document), Some(Instant::now() + left)));
            }
            if !again {
                return Ok((Arc::clone(document), Some(Instant::now())));
            }
        }
        match (self.fetch_and_put(&sources, url).await, known) {
            (Ok(document), _) => Ok((document, Some(Instant::now() + FRESH))),
            (Err(error), Some((document, ..))) => {
                tracing::warn!(%error, "an @context could not be fetched again; the one from before is used on");
                Ok((document, Some(Instant::now() + RETRY)))
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn fetch_and_put(&self, sources: &Sources, url: &Url) -> Outcome {
        let at = Timestamp::now();
        let document = self.fetch(sources, url).await?;
        let text = document.to_text();
        let put = Put {
            url: url.as_str(),
            guard: &sources.guard,
            document: &text,
            at,
            force: false,
        };
        match self.shelf.put(put).await {
            Ok(true) => {}
            Ok(false) => {
                // Another replica has fetched it later than this one; all are to have the same.
                let later = self.shelf.fetched(url.as_str(), &sources.guard).await;
                if let Ok(Some(later)) = later {
                    return self.parse_known(url, &later.document).await;
                }
            }
            // It can be used all the same; other replicas fetch it themselves.
            Err(error) => tracing::warn!(%error, "an @context that was fetched could not be kept"),
        }
        Ok(document)
    }

    async fn fetch(&self, sources: &Sources, url: &Url) -> Outcome {
        let _turn = turn(&self.turns.fetch, url).await?;
        let bytes = sources.fetch.fetch(url).await;
        self.parse(url, &bytes.map_err(|why| unavailable(url, why))?)
            .await
    }

    async fn read_file(&self, url: &Url, path: &std::path::Path) -> Outcome {
        let _turn = turn(&self.turns.read, url).await?;
        let bytes = preloaded::bytes(path).await;
        self.parse(url, &bytes.map_err(|why| unavailable(url, why))?)
            .await
    }

    /// Keeps what the `@context` of a document says; all else of it is dropped.
    async fn parse(&self, url: &Url, bytes: &[u8]) -> Outcome {
        let _turn = self.turns.parse.acquire().await;
        inner(bytes)
            .map(Arc::new)
            .map_err(|why| ContextError::Invalid(format!("the document at {url} {why}")))
    }

    /// Parses the value of an `@context` that was kept, and so was bounded before.
    async fn parse_known(&self, url: &Url, text: &str) -> Outcome {
        let _turn = self.turns.parse.acquire().await;
        Json::parse_stored(text)
            .map(Arc::new)
            .map_err(|error| ContextError::Invalid(format!("what is kept of {url} is {error}")))
    }
}

fn unavailable(url: &Url, why: String) -> ContextError {
    ContextError::Unavailable {
        url: url.to_string(),
        why,
    }
}

async fn turn<'s>(turns: &'s Semaphore, url: &Url) -> Result<tokio::sync::SemaphorePermit<'s>, ContextError> {
    match tokio::time::timeout(TURN, turns.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(unavailable(
            url,
            "too many other contexts are being read or fetched at the moment".to_owned(),
        )),
    }
}

/// The value of the member `@context` of a document, or why there is none.
fn inner(bytes: &[u8]) -> Result<Json, String> {
    if bytes.iter().filter(|b| matches!(b, b',' | b'[' | b'{')).count() > MAX_VALUES {
        return Err(format!("has more than {MAX_VALUES} values"));
    }
    let members = match Json::parse(bytes) {
        Ok(Json::Object(members)) => members,
        Ok(other) => return Err(format!("is {}, not a JSON object", other.kind())),
        Err(error) => return Err(format!("is not a JSON object: {error}")),
    };
    let found = members.into_iter().find(|(name, _)| name == "@context");
    found
        .map(|(_, context)| context)
        .ok_or_else(|| "has no @context member".to_owned())
}

/// How many bytes of memory a value takes, roughly.
fn memory(json: &Json) -> usize {
    /// A value in its array or object, and what an allocation adds.
    const VALUE: usize = 48;
    /// What the name of a member adds to its length.
    const NAME: usize = 40;
    VALUE
        + match json {
            Json::Null | Json::Bool(_) => 0,
            Json::Number(text) => text.len(),
            Json::String(text) => text.len(),
            Json::Array(items) => items.iter().map(memory).sum(),
            Json::Object(members) => members
                .iter()
                .map(|(name, value)| name.len() + NAME + memory(value))
                .sum(),
        }
}
