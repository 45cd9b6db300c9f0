//! Finds contexts: built in, compiled before, or compiled from documents of this broker and from elsewhere.
//!
//! Everything is bounded: compiled contexts in number and in the memory they take, those in use too; includes in depth
//! and number.
//!
//! **All replicas mean the same.** A copy in memory is used for [`VALID`] after the database was asked for its epoch, and
//! then the epoch is asked for again, once for all requests that wait; another epoch empties the memory. Who changes
//! something (deletes a context, fetches one anew) writes it with a new epoch, waits for [`VALID`], and only then answers:
//! no replica can still have the old copy. So a change costs who makes it half a second, and all others two small queries
//! a second at most, instead of one with each request. A context that was just made is found at once: what is not in
//! memory is always looked for in the database.

use crate::context::bounded::Bounded;
use crate::context::compile::Terms;
use crate::context::documents::{Documents, Sources};
use crate::context::fetch::Fetch;
use crate::context::preloaded::Preloaded;
use crate::context::shelf::Shelf;
use crate::context::uses::{Part, Uses};
use crate::context::{Context, ContextError, core, locked};
use crate::memory::Rooms;
use crate::memory::room::Held;
use crate::model::json::Json;
use crate::store::{StoreError, TenantId};
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use url::Url;

/// How long copies in memory are good after the epoch was asked for.
pub const VALID: Duration = Duration::from_millis(500);
/// The path of contexts of this broker, whatever host and prefix a gateway puts before it.
pub const OWN_PATH: &str = "/ngsi-ld/v1/jsonldContexts/";

const MAX_COMPILED: usize = 512;
/// An @context in a body that is longer than this is compiled each time.
const MAX_KEY: usize = 16 * 1024;
/// The longest URL of a context, in bytes.
pub const MAX_URL: usize = 2048;
/// How many objects and URLs an @context may bring in, all levels together, and how many levels.
const MAX_PARTS: usize = 64;
const MAX_LEVELS: usize = 8;
/// How long all parts of a context may take together.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a compiled context is put together again from its documents.
const COMPILED_FRESH: Duration = Duration::from_mins(5);

/// A compiled context.
#[derive(Clone)]
struct Compiled {
    context: Arc<Context>,
    /// What it was made of, each as often as it is named.
    parts: Arc<[Part]>,
    at: Instant,
}

impl Compiled {
    /// How many bytes of memory it takes, roughly.
    fn weight(context: &Context, parts: &[Part]) -> usize {
        context.weight() + parts.iter().map(Part::weight).sum::<usize>()
    }
}

struct Cache {
    compiled: Bounded<Compiled>,
    /// Counts how often everything was forgotten: what was begun before is not kept after.
    generation: u64,
}

/// The epoch of what is in memory.
#[derive(Clone, Copy)]
struct Agreed {
    epoch: i64,
    asked: Instant,
}

/// The contexts of this process. Cheap to share.
pub struct Contexts {
    documents: Arc<Documents>,
    cache: Mutex<Cache>,
    agreed: Mutex<Option<Agreed>>,
    /// Held while the epoch is asked for.
    asking: tokio::sync::Mutex<()>,
    uses: Uses,
    /// Held while uses are written.
    writing: tokio::sync::Mutex<()>,
    shelf: Arc<dyn Shelf>,
    rooms: Arc<Rooms>,
}

impl Contexts {
    /// An empty cache that fetches as told; `guard` says which addresses that may reach.
    pub fn new(fetch: Arc<dyn Fetch>, guard: &str, shelf: Arc<dyn Shelf>, rooms: Arc<Rooms>) -> Self {
        let sources = Sources {
            fetch,
            guard: guard.into(),
            preloaded: Arc::default(),
        };
        Self {
            documents: Arc::new(Documents::new(sources, Arc::clone(&shelf))),
            cache: Mutex::new(Cache {
                compiled: Bounded::new(MAX_COMPILED, rooms.contexts.size()),
                generation: 0,
            }),
            agreed: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            uses: Uses::default(),
            writing: tokio::sync::Mutex::default(),
            shelf,
            rooms,
        }
    }

    /// Fetches with another guard from now on; what was had or refused under the old one is forgotten.
    pub fn fetch_with(&self, fetch: Arc<dyn Fetch>, guard: &str) {
        self.documents.change(|sources| {
            sources.fetch = fetch;
            sources.guard = guard.into();
        });
        self.forget_compiled();
    }

    /// Has these contexts without fetching them from now on.
    pub fn preload(&self, preloaded: Preloaded) {
        self.documents
            .change(|sources| sources.preloaded = Arc::new(preloaded));
        self.forget_compiled();
    }

    /// Whether the context of this URL is preloaded.
    #[must_use]
    pub fn is_preloaded(&self, url: &str) -> bool {
        self.documents.is_preloaded(url)
    }

    /// The context of a Link header; `None` is the core context.
    pub async fn of_link(&self, tenant: TenantId, url: Option<&str>) -> Result<Arc<Context>, ContextError> {
        match url {
            None => Ok(Context::core()),
            Some(url) => self.of(tenant, &Json::string(url), Some(url)).await,
        }
    }

    /// The context of a URL, if it is in memory and not another one by now.
    pub async fn known_of_link(
        &self,
        tenant: TenantId,
        url: &str,
    ) -> Result<Option<Arc<Context>>, ContextError> {
        self.agree().await?;
        let key = of_tenant(&key(&Json::string(url), true), tenant);
        let known = self.known(&key);
        if let Some(known) = &known {
            self.uses.add(tenant, &known.parts);
        }
        Ok(known.map(|known| known.context))
    }

    /// The context of a body. One that is a single URL, in an array or not, is told by that URL.
    pub async fn of_body(&self, tenant: TenantId, context: &Json) -> Result<Arc<Context>, ContextError> {
        let only = match context {
            Json::Array(parts) => parts.first().filter(|_| parts.len() == 1),
            other => Some(other),
        };
        match only {
            Some(Json::String(url)) => self.of_link(tenant, Some(url)).await,
            _ => self.of(tenant, context, None).await,
        }
    }

    /// Counts a use of one of the tenant's contexts.
    pub fn note(&self, tenant: TenantId, part: Part) {
        self.uses.add(tenant, &[part]);
    }

    /// Writes the uses that were counted until now. What cannot be written is counted with the next.
    pub async fn write_uses(&self) -> Result<(), StoreError> {
        // Who comes later waits for what is being written: it is not there yet.
        let _writing = self.writing.lock().await;
        let used = self.uses.take();
        if used.is_empty() {
            return Ok(());
        }
        let written = self.shelf.count_uses(&used).await;
        if written.is_err() {
            self.uses.give_back(used);
        }
        written
    }

    /// Fetches a document anew, for all replicas. Where that fails the old one stays. [`Self::spread`] comes after it.
    pub async fn reload(&self, url: &str) -> Result<(), ContextError> {
        self.documents.reload(&absolute(url, None)?).await
    }

    /// Comes back when no replica has a copy any more from before a change with a new epoch.
    pub async fn spread(&self) {
        self.forget();
        tokio::time::sleep(VALID).await;
    }

    async fn of(
        &self,
        tenant: TenantId,
        context: &Json,
        link: Option<&str>,
    ) -> Result<Arc<Context>, ContextError> {
        if names_others(context) {
            self.agree().await?;
        }
        let key = key(context, link.is_some());
        let known = self.known(&key).or_else(|| self.known(&of_tenant(&key, tenant)));
        let compiled = match known {
            Some(known) => known,
            None => self.compile(tenant, context, link, key).await?,
        };
        self.uses.add(tenant, &compiled.parts);
        Ok(compiled.context)
    }

    fn known(&self, key: &str) -> Option<Compiled> {
        let mut cache = locked(&self.cache);
        let known = cache.compiled.get(key)?;
        (known.at.elapsed() < COMPILED_FRESH).then(|| known.clone())
    }

    async fn compile(
        &self,
        tenant: TenantId,
        context: &Json,
        link: Option<&str>,
        key: String,
    ) -> Result<Compiled, ContextError> {
        let unavailable = |why: String| ContextError::Unavailable {
            url: link.unwrap_or("of the body").to_owned(),
            why,
        };
        let generation = locked(&self.cache).generation;
        let mut gathered = Gathered::of(tenant);
        let gathering = self.gather(context, None, 0, &mut gathered);
        tokio::time::timeout(PATIENCE, gathering)
            .await
            .map_err(|_| unavailable(format!("its parts did not come within {} s", PATIENCE.as_secs())))??;
        let Gathered {
            terms,
            made_of,
            is_tenants,
            ..
        } = gathered;
        let Terms { iris, prefixes, .. } = terms;
        let context = Context::new(iris, &prefixes, link.map(str::to_owned));
        let key = if is_tenants { of_tenant(&key, tenant) } else { key };
        let weight = Compiled::weight(&context, &made_of) + key.len();
        let room = self
            .room(weight)
            .ok_or_else(|| unavailable("too many large contexts are in use at the moment".to_owned()))?;
        let compiled = Compiled {
            context: Arc::new(context.holding(room)),
            parts: made_of.into(),
            at: Instant::now(),
        };
        let mut cache = locked(&self.cache);
        if key.len() <= MAX_KEY && cache.generation == generation {
            cache.compiled.set(key, compiled.clone(), weight);
        }
        Ok(compiled)
    }

    /// Room for a compiled context. Those that are only kept make way for one that is needed.
    fn room(&self, weight: usize) -> Option<Held> {
        loop {
            if let Ok(room) = self.rooms.contexts.try_take(weight) {
                return Some(room);
            }
            if !locked(&self.cache).compiled.remove_oldest() {
                return None;
            }
        }
    }

    fn forget(&self) {
        self.documents.forget();
        self.forget_compiled();
    }

    fn forget_compiled(&self) {
        let mut cache = locked(&self.cache);
        cache.generation += 1;
        cache.compiled.clear();
    }

    /// Comes back when what is in memory is as good as what is in the database.
    async fn agree(&self) -> Result<(), ContextError> {
        if self.agrees() {
            return Ok(());
        }
        let _asking = self.asking.lock().await;
        if self.agrees() {
            return Ok(());
        }
        let asked = Instant::now();
        let epoch = self.shelf.epoch().await.map_err(ContextError::Store)?;
        let before = locked(&self.agreed).replace(Agreed { epoch, asked });
        if before.is_some_and(|before| before.epoch != epoch) {
            self.forget();
        }
        Ok(())
    }

    fn agrees(&self) -> bool {
        locked(&self.agreed).is_some_and(|agreed| agreed.asked.elapsed() < VALID)
    }

    fn gather<'a>(
        &'a self,
        part: &'a Json,
        base: Option<&'a Url>,
        level: usize,
        gathered: &'a mut Gathered,
    ) -> BoxFuture<'a, Result<(), ContextError>> {
        Box::pin(async move {
            gathered.count(level)?;
            match part {
                Json::Object(members) => Ok(gathered.terms.add(members)?),
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
                    let document = self.document(&url, gathered).await?;
                    self.gather(&document, Some(&url), level + 1, gathered).await
                }
                other => Err(neither(other)),
            }
        })
    }

    /// The document behind a URL: a preloaded one, one that this broker keeps for the tenant, or one from elsewhere.
    async fn document(&self, url: &Url, gathered: &mut Gathered) -> Result<Arc<Json>, ContextError> {
        if !self.is_preloaded(url.as_str())
            && let Some(id) = own_id(url.as_str())
        {
            gathered.is_tenants = true;
            if let Some(own) = self.documents.own(gathered.tenant, url, id).await? {
                gathered.note(Part::Own(id.into()));
                return Ok(own);
            }
        }
        let document = self.documents.get(url).await?;
        gathered.note(Part::Url(url.as_str().into()));
        Ok(document)
    }
}

/// What is put together of an @context and everything that it includes.
struct Gathered {
    tenant: TenantId,
    terms: Terms,
    parts: usize,
    made_of: Vec<Part>,
    /// Whether it may be something else for another tenant.
    is_tenants: bool,
}

impl Gathered {
    fn of(tenant: TenantId) -> Self {
        Self {
            tenant,
            terms: Terms::default(),
            parts: 0,
            made_of: Vec::new(),
            is_tenants: false,
        }
    }

    fn count(&mut self, level: usize) -> Result<(), ContextError> {
        self.parts += 1;
        if self.parts > MAX_PARTS || level > MAX_LEVELS {
            return Err(ContextError::Invalid(format!(
                "it includes itself, more than {MAX_PARTS} parts or more than {MAX_LEVELS} levels"
            )));
        }
        Ok(())
    }

    fn note(&mut self, part: Part) {
        if !self.made_of.contains(&part) {
            self.made_of.push(part);
        }
    }
}

/// Checks what can be checked of an @context that is to be kept, without fetching anything: what it says itself is
/// allowed, and what it names is a URL.
pub fn check(context: &Json) -> Result<(), ContextError> {
    // Nothing of it is looked for, so whose it is does not matter.
    check_part(context, 0, &mut Gathered::of(TenantId(0)))
}

fn check_part(part: &Json, level: usize, gathered: &mut Gathered) -> Result<(), ContextError> {
    gathered.count(level)?;
    match part {
        Json::Object(members) => Ok(gathered.terms.add(members)?),
        Json::Array(items) => items
            .iter()
            .try_for_each(|item| check_part(item, level + 1, gathered)),
        Json::String(text) => absolute(text, None).map(drop),
        other => Err(neither(other)),
    }
}

fn neither(other: &Json) -> ContextError {
    ContextError::Invalid(format!(
        "{} is neither a URL, an object nor an array",
        other.kind()
    ))
}

/// Whether more is needed than what is built in and what stands there.
fn names_others(context: &Json) -> bool {
    match context {
        Json::String(text) => !core::is_core(text),
        Json::Array(items) => items.iter().any(names_others),
        _ => false,
    }
}

/// The key of a context that everybody means the same by.
fn key(context: &Json, is_link: bool) -> String {
    let mut key = context.to_text();
    key.push(if is_link { 'L' } else { 'B' });
    key
}

/// The key of a context that is a tenant's own.
fn of_tenant(key: &str, tenant: TenantId) -> String {
    format!("{key}{}", tenant.0)
}

/// The id in the URL of a context that this broker may keep. Ids are random, so another broker's are never taken for it.
#[must_use]
pub fn own_id(url: &str) -> Option<&str> {
    let (_, id) = url.rsplit_once(OWN_PATH)?;
    let is_id = id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_id.then_some(id)
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

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
