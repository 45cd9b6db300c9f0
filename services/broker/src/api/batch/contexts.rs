//! The contexts of a batch: each item may have its own.

use crate::api::call::{Arrival, Sent};
use crate::api::problem::{ErrorType, Problem};
use crate::context::Context;
use crate::model::expansion::expanded_size;
use crate::model::json::Json;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How many contexts of a batch are fetched at once, and how long all of them may take.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(15);
/// How much memory the contexts of a batch may take, in bytes: somewhat more than the largest one does.
const MAX_CONTEXTS: usize = 24 * 1024 * 1024;

/// What came of the contexts of a batch.
pub struct BatchContexts {
    /// By the text of `@context`; empty for items without one.
    found: HashMap<String, Result<Arc<Context>, Problem>>,
    /// Whether some were left out because the others take all the memory they may.
    too_many: bool,
    /// What is told of those that did not come in time.
    late: Problem,
}

impl BatchContexts {
    /// The context of an item, in which its names are not too long.
    pub fn of(&self, item: &Json) -> Result<&Context, Problem> {
        match self.found.get(&context_key(item)) {
            Some(Ok(context)) => {
                expanded_size(context, item)?;
                Ok(context)
            }
            Some(Err(problem)) => Err(problem.clone()),
            None if self.too_many => Err(Problem::bad_data(
                "the contexts of this batch are larger than those of one batch may be; send entities with the same context together",
            )),
            None => Err(self.late.clone()),
        }
    }

    /// How many bytes the names of all items become, those of items that cannot be read left out.
    #[must_use]
    pub fn expanded(&self, items: &[Json]) -> usize {
        let of_item = |item| match self.found.get(&context_key(item)) {
            Some(Ok(context)) => expanded_size(context, item).ok(),
            _ => None,
        };
        items.iter().filter_map(of_item).sum()
    }
}

fn context_key(item: &Json) -> String {
    item.get("@context").map(Json::to_text).unwrap_or_default()
}

/// Resolves each context once, several at a time, and all of them within a time that a client can wait.
pub async fn contexts(call: &Arrival, items: &[Json], sent: Sent) -> BatchContexts {
    let distinct: HashMap<String, &Json> = items.iter().map(|item| (context_key(item), item)).collect();
    let mut contexts = BatchContexts {
        found: HashMap::new(),
        too_many: false,
        late: call.problem(Problem::new(
            ErrorType::LdContextNotAvailable,
            "the contexts of this batch did not all come in time",
        )),
    };
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
    call: &'a Arrival,
    key: String,
    item: &'a Json,
    sent: Sent,
) -> BoxFuture<'a, (String, Result<Arc<Context>, Problem>)> {
    Box::pin(async move { (key, call.context_of(item, sent).await) })
}
