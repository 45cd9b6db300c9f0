//! `/entityOperations/upsert` (clauses 5.6.8 and 6.15).

use crate::api::App;
use crate::api::call::{Call, Sent, context_link};
use crate::api::params::Known;
use crate::api::problem::{ErrorType, Problem, batch_result};
use crate::api::reply;
use crate::context::Context;
use crate::model::change::{self, Existing};
use crate::model::entity::{Entity, Fragment};
use crate::model::expansion::expanded_size;
use crate::model::json::Json;
use crate::model::read::{Nulls, Reader};
use crate::store::StoreError;
use crate::store::batch::Decide;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How many contexts of a batch are fetched at once, and how long all of them may take.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(15);
/// How much memory the contexts of a batch may take, in bytes: somewhat more than the largest one does.
const MAX_CONTEXTS: usize = 24 * 1024 * 1024;
/// How many entities a batch may have. So many are written within the time that a statement may take, also by a slow
/// database.
const MAX_ITEMS: usize = 10_000;

const UPSERT: Known = Known {
    names: &["options", "local"],
    later: &[],
    options: &["replace", "update"],
};

/// Upsert: creates what is not there; replaces, or with `options=update` appends to, what is.
pub async fn upsert(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &UPSERT)?;
    let update = call.params.option("update");
    if update && call.params.option("replace") {
        return Err(Problem::bad_data("options replace and update exclude each other"));
    }
    let (json, sent) = call.json(body).await?;
    let items = match json {
        Json::Array(items) if !items.is_empty() => items,
        Json::Array(_) => return Err(Problem::bad_data("the array of entities is empty")),
        other => {
            return Err(Problem::bad_data(format!(
                "a batch is an array of entities, not {}",
                other.kind()
            )));
        }
    };
    if items.len() > MAX_ITEMS {
        return Err(Problem::bad_data(format!(
            "a batch has at most {MAX_ITEMS} entities, this one has {}",
            items.len()
        )));
    }
    if sent == Sent::LdJson && context_link(&call.head.headers)?.is_some() {
        return Err(Problem::bad_data(
            "entities of application/ld+json carry their context; a Link header must not have one",
        ));
    }
    let contexts = contexts(&call, &items, sent).await;
    call.expand(expanded(&contexts, &items)).await?;
    let (given, mut errors) = read_all(&contexts, &items);
    drop(contexts);
    drop(items);
    let upsert = Upsert {
        given: given.fragments,
        update,
        now: Timestamp::now(),
    };
    let outcome = call
        .app
        .store
        .write_batch(call.tenant, &given.ids, &upsert)
        .await
        .map_err(too_slow)?;
    errors.extend(
        outcome
            .failed
            .into_iter()
            .map(|(id, error)| (id, Problem::from(error))),
    );
    if !errors.is_empty() {
        let written = |id: &&String| outcome.created.contains(*id) || outcome.existed.contains(*id);
        let success: Vec<String> = given.ids.iter().filter(written).cloned().collect();
        return Ok(reply::plain(
            StatusCode::MULTI_STATUS,
            call.echo(batch_result(&success, &errors)),
        ));
    }
    if outcome.created.is_empty() {
        return Ok(reply::no_content());
    }
    let created: Vec<Json> = given
        .ids
        .iter()
        .filter(|id| outcome.created.contains(*id))
        .map(Json::string)
        .collect();
    let created = call.echo(Json::Array(created).to_text());
    Ok(reply::plain(StatusCode::CREATED, created))
}

/// A batch that the database does not write in time would not be written the next time either.
fn too_slow(error: StoreError) -> Problem {
    match error {
        StoreError::TooSlow => Problem::invalid(
            "the database took longer for this batch than it may; send fewer entities at once",
        )
        .with_status(StatusCode::PAYLOAD_TOO_LARGE),
        other => other.into(),
    }
}

/// What a batch brings, each id once, in the order in which it first came.
#[derive(Default)]
struct Given {
    ids: Vec<String>,
    fragments: HashMap<String, Vec<Fragment>>,
}

/// How many bytes the names of all items become, those of items that cannot be read left out.
fn expanded(contexts: &BatchContexts, items: &[Json]) -> usize {
    let of_item = |item| {
        let context = contexts.of(item).ok()?;
        expanded_size(context, item).ok()
    };
    items.iter().filter_map(of_item).sum()
}

/// Reads every item; those that cannot be read become errors and lose nobody else.
fn read_all(contexts: &BatchContexts, items: &[Json]) -> (Given, Vec<(String, Problem)>) {
    let (mut given, mut errors) = (Given::default(), Vec::new());
    for item in items {
        match read(contexts, item) {
            Ok(mut fragment) => {
                let id = fragment.id.take().unwrap_or_default();
                let of_id = given.fragments.entry(id.clone()).or_default();
                if of_id.is_empty() {
                    given.ids.push(id);
                }
                of_id.push(fragment);
            }
            Err(problem) => {
                let id = item.get("id").and_then(Json::as_str).unwrap_or_default();
                errors.push((id.to_owned(), problem));
            }
        }
    }
    (given, errors)
}

/// What came of the contexts of a batch.
#[derive(Default)]
struct BatchContexts {
    /// By the text of `@context`; empty for items without one.
    found: HashMap<String, Result<Arc<Context>, Problem>>,
    /// Whether some were left out because the others take all the memory they may.
    too_many: bool,
}

impl BatchContexts {
    fn of(&self, item: &Json) -> Result<&Context, Problem> {
        match self.found.get(&context_key(item)) {
            Some(Ok(context)) => Ok(context),
            Some(Err(problem)) => Err(problem.clone()),
            None if self.too_many => Err(Problem::bad_data(
                "the contexts of this batch are larger than those of one batch may be; send entities with the same context together",
            )),
            None => Err(Problem::new(
                ErrorType::LdContextNotAvailable,
                "the contexts of this batch did not all come in time",
            )),
        }
    }
}

fn context_key(item: &Json) -> String {
    item.get("@context").map(Json::to_text).unwrap_or_default()
}

/// Resolves each context once, several at a time, and all of them within a time that a client can wait.
async fn contexts(call: &Call, items: &[Json], sent: Sent) -> BatchContexts {
    let distinct: HashMap<String, &Json> = items.iter().map(|item| (context_key(item), item)).collect();
    let mut contexts = BatchContexts::default();
    let waiting: Vec<_> = distinct
        .into_iter()
        .map(|(key, item)| resolve(call, key, item, sent))
        .collect();
    let mut resolving = futures::stream::iter(waiting).buffer_unordered(AT_ONCE);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut weight = 0;
    while let Ok(Some((key, context))) = tokio::time::timeout_at(deadline, resolving.next()).await {
        weight += context.as_ref().map_or(0, |context| context.weight());
        if weight > MAX_CONTEXTS {
            contexts.too_many = true;
            break;
        }
        contexts.found.insert(key, context);
    }
    contexts
}

fn resolve<'a>(
    call: &'a Call,
    key: String,
    item: &'a Json,
    sent: Sent,
) -> BoxFuture<'a, (String, Result<Arc<Context>, Problem>)> {
    Box::pin(async move { (key, call.context_of(item, sent).await) })
}

fn read(contexts: &BatchContexts, item: &Json) -> Result<Fragment, Problem> {
    let context = contexts.of(item)?;
    expanded_size(context, item)?;
    Ok(Reader {
        context,
        nulls: Nulls::Refused,
    }
    .entity(item)?)
}

struct Upsert {
    given: HashMap<String, Vec<Fragment>>,
    update: bool,
    now: Timestamp,
}

impl Decide for Upsert {
    /// Applies all fragments of an id in order.
    fn decide(&self, id: &str, there: Option<Entity>) -> Option<Entity> {
        let mut current = there;
        for fragment in self.given.get(id)? {
            let fragment = fragment.clone();
            current = Some(match current {
                None => {
                    let mut entity = change::create(fragment, self.now);
                    id.clone_into(&mut entity.id);
                    entity
                }
                Some(mut before) if self.update => {
                    change::append(&mut before, fragment, Existing::Overwritten, self.now);
                    before
                }
                Some(before) => {
                    let mut entity = change::replace(&before, fragment, self.now);
                    id.clone_into(&mut entity.id);
                    entity
                }
            });
        }
        current
    }
}
