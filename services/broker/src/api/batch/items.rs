//! What a batch brings: read item by item, so that a bad one loses nobody else, and kept in order.

use crate::api::batch::contexts::{BatchContexts, contexts};
use crate::api::call::{Arrival, Sent, context_link};
use crate::api::problem::{Problem, batch_result};
use crate::api::reply;
use crate::model::json::Json;
use crate::store::batch::BatchOutcome;
use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use std::collections::{HashMap, HashSet};

/// How many entities a batch may have. So many are written within the time that a statement may take, also by a slow
/// database.
const MAX_ITEMS: usize = 10_000;

/// What a batch brings for each id, in order.
pub type Given<T> = HashMap<String, Vec<T>>;

/// What the answer tells of.
pub struct Told {
    /// Ids that could be read, each once in the order in which it first came.
    pub ids: Vec<String>,
    /// How often those came that came more than once.
    counts: HashMap<String, usize>,
    /// What could not be read, with the id where there was one.
    errors: Vec<(String, Problem)>,
}

impl Told {
    /// Reads every item.
    pub fn read<'i, T>(
        items: &'i [Json],
        read: impl Fn(&'i Json) -> Result<(String, T), Problem>,
    ) -> (Given<T>, Self) {
        let (mut given, mut ids, mut errors) = (Given::new(), Vec::new(), Vec::new());
        for item in items {
            match read(item) {
                Ok((id, brought)) => {
                    let of_id: &mut Vec<T> = given.entry(id.clone()).or_default();
                    if of_id.is_empty() {
                        ids.push(id);
                    }
                    of_id.push(brought);
                }
                Err(problem) => {
                    let id = item.as_str().or_else(|| item.get("id").and_then(Json::as_str));
                    errors.push((id.unwrap_or_default().to_owned(), problem));
                }
            }
        }
        let several = given.iter().filter(|(_, items)| items.len() > 1);
        let counts = several.map(|(id, items)| (id.clone(), items.len())).collect();
        (given, Self { ids, counts, errors })
    }

    /// 207 when anything failed; 201 with the ids that are new; 204 (clause 6.14 and following).
    pub fn answer(self, arrival: &mut Arrival, outcome: BatchOutcome<Problem>) -> Response {
        let Self {
            ids,
            counts,
            mut errors,
        } = self;
        let mut lost = HashSet::new();
        for (id, reasons) in outcome.refused {
            if reasons.len() >= counts.get(&id).copied().unwrap_or(1) {
                lost.insert(id.clone());
            }
            errors.extend(reasons.into_iter().map(|reason| (id.clone(), reason)));
        }
        for (id, error) in outcome.failed {
            lost.insert(id.clone());
            errors.push((id, Problem::from(error)));
        }
        if !errors.is_empty() {
            let success: Vec<String> = ids.into_iter().filter(|id| !lost.contains(id)).collect();
            let body = arrival.echo(batch_result(&success, &errors));
            return reply::plain(StatusCode::MULTI_STATUS, body);
        }
        if outcome.created.is_empty() {
            return reply::no_content();
        }
        let created = ids.iter().filter(|id| outcome.created.contains(*id));
        let created = arrival.echo(Json::Array(created.map(Json::string).collect()).to_text());
        reply::plain(StatusCode::CREATED, created)
    }
}

/// Receives the array of a batch. Anything but single items that are wrong is refused.
pub async fn array(call: &mut Arrival, body: Body) -> Result<(Vec<Json>, Sent), Problem> {
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
pub async fn entities(call: &mut Arrival, body: Body) -> Result<(Vec<Json>, BatchContexts), Problem> {
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
