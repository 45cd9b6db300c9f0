//! Finds contexts: built in, compiled before, or fetched through the guard.
//!
//! Everything is bounded: documents and compiled contexts in number and in the memory they take, those in use too;
//! fetches at a time; includes in depth and number. A document is fetched once however many requests wait for it; a
//! failure is remembered for a few seconds; a document that was had once is kept while refreshing it fails.

use crate::context::bounded::Bounded;
use crate::context::compile::Terms;
use crate::context::fetch::Fetch;
use crate::context::{Context, ContextError, core};
use crate::memory::Rooms;
use crate::memory::room::Held;
use crate::model::json::Json;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use url::Url;

const MAX_DOCUMENTS: usize = 512;
/// How much memory kept documents take. One that alone takes more is fetched again each time.
const MAX_DOCUMENT_MEMORY: usize = 16 * 1024 * 1024;
const MAX_COMPILED: usize = 512;
/// An @context in a body that is longer than this is compiled each time.
const MAX_KEY: usize = 16 * 1024;
/// The longest URL of a context, in bytes.
const MAX_URL: usize = 2048;
/// How many documents are fetched at a time: each may take 4 MiB, and a thread for the look-up of its name, which goes
/// on after the request for it has given up.
const FETCHES: usize = 8;
/// How long to wait for one's turn to fetch.
const TURN: Duration = Duration::from_secs(4);
/// How many values a document may have; a context with the most terms has some 150,000. A parsed value takes up to a
/// hundred bytes.
const MAX_VALUES: usize = 200_000;
/// How many objects and URLs an @context may bring in, all levels together, and how many levels.
const MAX_PARTS: usize = 64;
const MAX_LEVELS: usize = 8;
/// How long all parts of a context may take together.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a document is fetched again.
const FRESH: Duration = Duration::from_hours(1);
/// When a compiled context is put together again from its documents.
const COMPILED_FRESH: Duration = Duration::from_mins(5);
/// How long a failure answers for the next requests too.
const FAILED: Duration = Duration::from_secs(5);

type Outcome = Result<Arc<Json>, ContextError>;

enum Document {
    Flying(Shared<BoxFuture<'static, Outcome>>),
    Had { document: Arc<Json>, at: Instant },
    Failed { error: ContextError, at: Instant },
}

struct Compiled {
    context: Arc<Context>,
    at: Instant,
}

/// The contexts of this process. Cheap to share.
pub struct Contexts {
    documents: Arc<Mutex<Bounded<Document>>>,
    compiled: Mutex<Bounded<Compiled>>,
    fetch: Mutex<Arc<dyn Fetch>>,
    turns: Arc<Turns>,
    rooms: Arc<Rooms>,
}

/// Who may fetch, and then who may parse: a document being parsed takes several times its bytes.
struct Turns {
    fetch: Semaphore,
    parse: Semaphore,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics under these locks; if it did, the maps would still be maps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Contexts {
    /// An empty cache that fetches as told.
    pub fn new(fetch: Arc<dyn Fetch>, rooms: Arc<Rooms>) -> Self {
        Self {
            documents: Arc::new(Mutex::new(Bounded::new(MAX_DOCUMENTS, MAX_DOCUMENT_MEMORY))),
            compiled: Mutex::new(Bounded::new(MAX_COMPILED, rooms.contexts.size())),
            fetch: Mutex::new(fetch),
            turns: Arc::new(Turns {
                fetch: Semaphore::new(FETCHES),
                parse: Semaphore::new(1),
            }),
            rooms,
        }
    }

    /// Fetches with another guard from now on; what was had or refused under the old one is forgotten.
    pub fn fetch_with(&self, fetch: Arc<dyn Fetch>) {
        *locked(&self.fetch) = fetch;
        locked(&self.documents).clear();
        locked(&self.compiled).clear();
    }

    /// The context of a Link header; `None` is the core context.
    pub async fn of_link(&self, url: Option<&str>) -> Result<Arc<Context>, ContextError> {
        match url {
            None => Ok(Context::core()),
            Some(url) => self.of(&Json::string(url), Some(url)).await,
        }
    }

    /// The context of a body.
    pub async fn of_body(&self, context: &Json) -> Result<Arc<Context>, ContextError> {
        self.of(context, None).await
    }

    async fn of(&self, context: &Json, link: Option<&str>) -> Result<Arc<Context>, ContextError> {
        let mut key = context.to_text();
        key.push(if link.is_some() { 'L' } else { 'B' });
        if let Some(known) = locked(&self.compiled).get(&key)
            && known.at.elapsed() < COMPILED_FRESH
        {
            return Ok(Arc::clone(&known.context));
        }
        let mut gathered = Gathered {
            terms: Terms::default(),
            parts: 0,
        };
        let gathering = self.gather(context, None, 0, &mut gathered);
        tokio::time::timeout(PATIENCE, gathering)
            .await
            .map_err(|_| ContextError::Unavailable {
                url: link.unwrap_or("of the body").to_owned(),
                why: format!("its parts did not come within {} s", PATIENCE.as_secs()),
            })??;
        let Terms { iris, prefixes, .. } = gathered.terms;
        let context = Context::new(iris, &prefixes, link.map(str::to_owned));
        let weight = context.weight() + key.len();
        let room = self.room(weight).ok_or_else(|| ContextError::Unavailable {
            url: link.unwrap_or("of the body").to_owned(),
            why: "too many large contexts are in use at the moment".to_owned(),
        })?;
        let context = Arc::new(context.within(room));
        if key.len() <= MAX_KEY {
            locked(&self.compiled).set(
                key,
                Compiled {
                    context: Arc::clone(&context),
                    at: Instant::now(),
                },
                weight,
            );
        }
        Ok(context)
    }

    /// Room for a compiled context. Those that are only kept make way for one that is needed.
    fn room(&self, weight: usize) -> Option<Held> {
        loop {
            if let Ok(room) = self.rooms.contexts.try_take(weight) {
                return Some(room);
            }
            if !locked(&self.compiled).remove_oldest() {
                return None;
            }
        }
    }

    fn gather<'a>(
        &'a self,
        part: &'a Json,
        base: Option<&'a Url>,
        level: usize,
        gathered: &'a mut Gathered,
    ) -> BoxFuture<'a, Result<(), ContextError>> {
        Box::pin(async move {
            gathered.parts += 1;
            if gathered.parts > MAX_PARTS || level > MAX_LEVELS {
                return Err(ContextError::Invalid(format!(
                    "it includes itself, more than {MAX_PARTS} parts or more than {MAX_LEVELS} levels"
                )));
            }
            match part {
                Json::Object(members) => gathered.terms.add(members),
                Json::Array(items) => {
                    for item in items {
                        self.gather(item, base, level + 1, gathered).await?;
                    }
                    Ok(())
                }
                Json::String(text) if core::is_core(text) => Ok(()),
                Json::String(text) => {
                    let url = absolute(text, base)?;
                    if core::is_core(url.as_str()) {
                        return Ok(());
                    }
                    let document = self.document(&url).await?;
                    self.gather(&document, Some(&url), level + 1, gathered).await
                }
                other => Err(ContextError::Invalid(format!(
                    "{} is neither a URL, an object nor an array",
                    other.kind()
                ))),
            }
        })
    }

    async fn document(&self, url: &Url) -> Outcome {
        let flying = {
            let mut documents = locked(&self.documents);
            match documents.get(url.as_str()) {
                Some(Document::Had { document, at }) => {
                    let had = Arc::clone(document);
                    if at.elapsed() >= FRESH {
                        // The old one serves until the next one is there.
                        *at = Instant::now();
                        drop(documents);
                        drop(self.start(url, Some(Arc::clone(&had))));
                    }
                    return Ok(had);
                }
                Some(Document::Failed { error, at }) if at.elapsed() < FAILED => return Err(error.clone()),
                Some(Document::Flying(flying)) => flying.clone(),
                Some(Document::Failed { .. }) | None => {
                    let flying = self.start(url, None);
                    documents.set(url.as_str().to_owned(), Document::Flying(flying.clone()), 0);
                    flying
                }
            }
        };
        flying.await
    }

    /// Starts to fetch in a task of its own, which ends whether or not a request waits for it.
    fn start(&self, url: &Url, old: Option<Arc<Json>>) -> Shared<BoxFuture<'static, Outcome>> {
        let (url, fetch, documents, turns) = (
            url.clone(),
            Arc::clone(&locked(&self.fetch)),
            Arc::clone(&self.documents),
            Arc::clone(&self.turns),
        );
        let task = tokio::spawn(async move {
            let fetched = fetched(&*fetch, &turns, &url).await;
            let (state, weight) = match (&fetched, old) {
                (Ok(document), _) => (
                    Document::Had {
                        document: Arc::clone(document),
                        at: Instant::now(),
                    },
                    memory(document),
                ),
                (Err(error), Some(document)) => {
                    tracing::warn!(%error, "an @context could not be refreshed; the one from before is used on");
                    let weight = memory(&document);
                    (
                        Document::Had {
                            document,
                            at: Instant::now(),
                        },
                        weight,
                    )
                }
                (Err(error), None) => (
                    Document::Failed {
                        error: error.clone(),
                        at: Instant::now(),
                    },
                    1,
                ),
            };
            locked(&documents).set(url.as_str().to_owned(), state, weight + url.as_str().len());
            fetched
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
}

struct Gathered {
    terms: Terms,
    parts: usize,
}

fn absolute(text: &str, base: Option<&Url>) -> Result<Url, ContextError> {
    if text.len() > MAX_URL {
        return Err(ContextError::Invalid(format!(
            "its URL is longer than {MAX_URL} bytes"
        )));
    }
    let url = base.map_or_else(|| Url::parse(text), |base| base.join(text));
    let url = url.map_err(|e| ContextError::Invalid(format!("{text} is not a URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ContextError::Invalid(format!(
            "{text} is not an http or https URL"
        )));
    }
    Ok(url)
}

/// Fetches a document and keeps what its `@context` says; all else of it is dropped.
async fn fetched(fetch: &dyn Fetch, turns: &Turns, url: &Url) -> Outcome {
    let unavailable = |why: String| ContextError::Unavailable {
        url: url.to_string(),
        why,
    };
    let Ok(Ok(_turn)) = tokio::time::timeout(TURN, turns.fetch.acquire()).await else {
        return Err(unavailable(
            "too many other contexts are being fetched at the moment".to_owned(),
        ));
    };
    let bytes = fetch.fetch(url).await.map_err(unavailable)?;
    let _turn = turns.parse.acquire().await;
    inner(&bytes)
        .map(Arc::new)
        .map_err(|why| ContextError::Invalid(format!("the document at {url} {why}")))
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

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
