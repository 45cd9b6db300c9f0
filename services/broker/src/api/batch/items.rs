//! What a batch brings: read item by item, so that a bad one loses nobody else, and kept in order.

use crate::api::batch::contexts::{BatchContexts, contexts};
use crate::api::call::{Call, Sent, context_link};
use crate::api::problem::Problem;
use crate::model::json::Json;
use axum::body::Body;
use std::collections::HashMap;

/// How many entities a batch may have. So many are written within the time that a statement may take, also by a slow
/// database.
const MAX_ITEMS: usize = 10_000;

/// What a batch brings, by id, each id once in the order in which it first came; and what could not be read.
pub struct Given<T> {
    /// The ids.
    pub ids: Vec<String>,
    /// What is brought for each, in order.
    pub items: HashMap<String, Vec<T>>,
    /// What could not be read, with the id where there was one.
    pub errors: Vec<(String, Problem)>,
}

impl<T> Given<T> {
    /// Reads every item.
    pub fn read<'i>(items: &'i [Json], read: impl Fn(&'i Json) -> Result<(String, T), Problem>) -> Self {
        let mut given = Self {
            ids: Vec::new(),
            items: HashMap::new(),
            errors: Vec::new(),
        };
        for item in items {
            match read(item) {
                Ok((id, brought)) => {
                    let of_id = given.items.entry(id.clone()).or_default();
                    if of_id.is_empty() {
                        given.ids.push(id);
                    }
                    of_id.push(brought);
                }
                Err(problem) => {
                    let id = item.as_str().or_else(|| item.get("id").and_then(Json::as_str));
                    given.errors.push((id.unwrap_or_default().to_owned(), problem));
                }
            }
        }
        given
    }
}

/// Receives the array of a batch. Anything but single items that are wrong is refused.
pub async fn array(call: &mut Call, body: Body) -> Result<(Vec<Json>, Sent), Problem> {
    let (json, sent) = call.json(body).await?;
    let items = match json {
        Json::Array(items) if !items.is_empty() => items,
        Json::Array(_) => return Err(Problem::bad_data("the array of the batch is empty")),
        other => {
            return Err(Problem::bad_data(format!(
                "a batch is an array, not {}",
                other.kind()
            )));
        }
    };
    if items.contains(&Json::Null) {
        return Err(Problem::bad_data("an item of the batch is null"));
    }
    if items.len() > MAX_ITEMS {
        return Err(Problem::bad_data(format!(
            "a batch has at most {MAX_ITEMS} entities, this one has {}",
            items.len()
        )));
    }
    Ok((items, sent))
}

/// Receives the entities of a batch, with their contexts.
pub async fn entities(call: &mut Call, body: Body) -> Result<(Vec<Json>, BatchContexts), Problem> {
    let (items, sent) = array(call, body).await?;
    if sent == Sent::LdJson && context_link(&call.head.headers)?.is_some() {
        return Err(Problem::bad_data(
            "entities of application/ld+json carry their context; a Link header must not have one",
        ));
    }
    let contexts = contexts(call, &items, sent).await;
    call.expand(contexts.expanded(&items)).await?;
    Ok((items, contexts))
}
