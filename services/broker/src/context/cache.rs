//! Finds contexts: built in, compiled before, or fetched through the guard.
//!
//! Everything is bounded: documents in number and bytes, compiled contexts in number and terms, includes in depth and
//! number. A document is fetched once however many requests wait for it; a failure is remembered for a few seconds;
//! a document that was had once is kept while refreshing it fails.

use crate::context::bounded::Bounded;
use crate::context::compile::Terms;
use crate::context::fetch::Fetch;
use crate::context::{Context, ContextError, core};
use crate::model::json::Json;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

const MAX_DOCUMENTS: usize = 512;
const MAX_DOCUMENT_BYTES: usize = 32 * 1024 * 1024;
const MAX_COMPILED: usize = 512;
const MAX_COMPILED_TERMS: usize = 200_000;
/// An @context in a body that is longer than this is compiled each time.
const MAX_KEY: usize = 64 * 1024;
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
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics under these locks; if it did, the maps would still be maps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Contexts {
    /// An empty cache that fetches as told.
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self {
            documents: Arc::new(Mutex::new(Bounded::new(MAX_DOCUMENTS, MAX_DOCUMENT_BYTES))),
            compiled: Mutex::new(Bounded::new(MAX_COMPILED, MAX_COMPILED_TERMS)),
            fetch: Mutex::new(fetch),
        }
    }

    /// Fetches with another guard from now on; failures under the old one are forgotten.
    pub fn fetch_with(&self, fetch: Arc<dyn Fetch>) {
        *locked(&self.fetch) = fetch;
        locked(&self.documents).clear();
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
        let weight = iris.len() + 1;
        let context = Arc::new(Context::new(iris, &prefixes, link.map(str::to_owned)));
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
                    let inner = document.get("@context").ok_or_else(|| {
                        ContextError::Invalid(format!("the document at {url} has no @context member"))
                    })?;
                    self.gather(inner, Some(&url), level + 1, gathered).await
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
        let (url, fetch, documents) = (
            url.clone(),
            Arc::clone(&locked(&self.fetch)),
            Arc::clone(&self.documents),
        );
        let task = tokio::spawn(async move {
            let fetched = fetched(&*fetch, &url).await;
            let (state, weight) = match (&fetched, old) {
                (Ok((document, size)), _) => (
                    Document::Had {
                        document: Arc::clone(document),
                        at: Instant::now(),
                    },
                    *size,
                ),
                (Err(error), Some(document)) => {
                    tracing::warn!(%error, "an @context could not be refreshed; the one from before is used on");
                    let weight = document.to_text().len();
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
            locked(&documents).set(url.as_str().to_owned(), state, weight);
            fetched.map(|(document, _)| document)
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
    let url = base.map_or_else(|| Url::parse(text), |base| base.join(text));
    let url = url.map_err(|e| ContextError::Invalid(format!("{text} is not a URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ContextError::Invalid(format!(
            "{text} is not an http or https URL"
        )));
    }
    Ok(url)
}

async fn fetched(fetch: &dyn Fetch, url: &Url) -> Result<(Arc<Json>, usize), ContextError> {
    let bytes = fetch.fetch(url).await.map_err(|why| ContextError::Unavailable {
        url: url.to_string(),
        why,
    })?;
    let document = Json::parse(&bytes)
        .map_err(|e| ContextError::Invalid(format!("the document at {url} is not a JSON object: {e}")))?;
    match document {
        Json::Object(_) => Ok((Arc::new(document), bytes.len())),
        other => Err(ContextError::Invalid(format!(
            "the document at {url} is {}",
            other.kind()
        ))),
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
