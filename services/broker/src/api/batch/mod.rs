//! `/entityOperations/create`, `upsert`, `update`, `merge` and `delete` (clauses 5.6.7 to 5.6.10, 5.6.20).
//!
//! * [`items`]: what a batch brings; [`contexts`]: in which contexts;
//! * [`decide`]: what becomes of each entity.

pub mod contexts;
pub mod decide;
pub mod items;

use crate::api::App;
use crate::api::batch::contexts::BatchContexts;
use crate::api::batch::decide::{Create, Delete, Merge, Update, Upsert};
use crate::api::batch::items::Given;
use crate::api::call::Call;
use crate::api::params::Known;
use crate::api::problem::{Problem, batch_result};
use crate::api::reply;
use crate::model::change::Existing;
use crate::model::entity::Fragment;
use crate::model::json::Json;
use crate::model::read::{Nulls, Reader};
use crate::model::values;
use crate::store::StoreError;
use crate::store::batch::{BatchOutcome, Decide};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

const PLAIN: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
};
const UPSERT: Known = Known {
    names: &["options", "local"],
    later: &[],
    options: &["replace", "update"],
};
const UPDATE: Known = Known {
    names: &["options", "local"],
    later: &[],
    options: &["noOverwrite"],
};

/// Create: what is there already is an error of its own.
pub async fn create(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &PLAIN)?;
    let (ids, given, errors) = fragments(&mut call, body, whole).await?;
    let counts = counts(&given);
    let create = Create {
        given,
        now: Timestamp::now(),
    };
    let outcome = write(&call, &ids, &create).await?;
    let told = Told { ids, counts, errors };
    Ok(told.answer(&mut call, outcome))
}

/// Upsert: creates what is not there; replaces, or with `options=update` appends to, what is.
pub async fn upsert(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &UPSERT)?;
    let update = call.params.option("update");
    if update && call.params.option("replace") {
        return Err(Problem::bad_data("options replace and update exclude each other"));
    }
    let (ids, given, errors) = fragments(&mut call, body, whole).await?;
    let counts = counts(&given);
    let upsert = Upsert {
        given,
        update,
        now: Timestamp::now(),
    };
    let outcome = write(&call, &ids, &upsert).await?;
    let told = Told { ids, counts, errors };
    Ok(told.answer(&mut call, outcome))
}

/// Update: attributes of entities that are there are written, nulls delete them.
pub async fn update(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &UPDATE)?;
    let existing = Existing::of(call.params.option("noOverwrite"));
    let (ids, given, errors) = fragments(&mut call, body, part).await?;
    let counts = counts(&given);
    let update = Update {
        given,
        existing,
        now: Timestamp::now(),
    };
    let outcome = write(&call, &ids, &update).await?;
    let told = Told { ids, counts, errors };
    Ok(told.answer(&mut call, outcome))
}

/// Merge: what is sent changes what it names, as deep as it goes.
pub async fn merge(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &PLAIN)?;
    let (items, contexts) = items::entities(&mut call, body).await?;
    let given = Given::read(&items, |item| {
        contexts.of(item)?;
        Ok((id_of(item)?, item))
    });
    let (ids, errors, counts) = (given.ids, given.errors, counts(&given.items));
    let merge = Merge {
        given: given.items,
        contexts: &contexts,
        now: Timestamp::now(),
    };
    let outcome = write(&call, &ids, &merge).await?;
    let told = Told { ids, counts, errors };
    Ok(told.answer(&mut call, outcome))
}

/// Delete: the body is an array of ids.
pub async fn delete(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &PLAIN)?;
    let (items, _) = items::array(&mut call, body).await?;
    let given = Given::read(&items, |item| Ok((values::id(item)?, ())));
    drop(items);
    let (ids, errors, counts) = (given.ids, given.errors, counts(&given.items));
    let delete = Delete { given: given.items };
    let outcome = write(&call, &ids, &delete).await?;
    let told = Told { ids, counts, errors };
    Ok(told.answer(&mut call, outcome))
}

type Fragments = (
    Vec<String>,
    HashMap<String, Vec<Fragment>>,
    Vec<(String, Problem)>,
);

/// Receives and reads entities; what they were read from is dropped.
async fn fragments(
    call: &mut Call,
    body: Body,
    read: fn(&BatchContexts, &Json) -> Result<Fragment, Problem>,
) -> Result<Fragments, Problem> {
    let (items, contexts) = items::entities(call, body).await?;
    let given = Given::read(&items, |item| {
        let mut fragment = read(&contexts, item)?;
        Ok((fragment.id.take().unwrap_or_default(), fragment))
    });
    Ok((given.ids, given.items, given.errors))
}

fn whole(contexts: &BatchContexts, item: &Json) -> Result<Fragment, Problem> {
    let reader = Reader {
        context: contexts.of(item)?,
        nulls: Nulls::Refused,
    };
    Ok(reader.entity(item)?)
}

fn part(contexts: &BatchContexts, item: &Json) -> Result<Fragment, Problem> {
    let reader = Reader {
        context: contexts.of(item)?,
        nulls: Nulls::Delete,
    };
    let fragment = reader.fragment(item)?;
    id_of(item)?;
    Ok(fragment)
}

fn id_of(item: &Json) -> Result<String, Problem> {
    let id = item.get("id").or_else(|| item.get("@id"));
    Ok(values::id(
        id.ok_or_else(|| Problem::bad_data("the entity has no id"))?,
    )?)
}

fn counts<T>(given: &HashMap<String, Vec<T>>) -> HashMap<String, usize> {
    let several = given.iter().filter(|(_, items)| items.len() > 1);
    several.map(|(id, items)| (id.clone(), items.len())).collect()
}

async fn write<D: Decide<Reason = Problem>>(
    call: &Call,
    ids: &[String],
    decide: &D,
) -> Result<BatchOutcome<Problem>, Problem> {
    let written = call.app.store.write_batch(call.tenant, ids, decide).await;
    written.map_err(too_slow)
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

/// What the answer tells of.
struct Told {
    /// Ids that could be read, in order.
    ids: Vec<String>,
    /// How often those came that came more than once.
    counts: HashMap<String, usize>,
    /// What could not be read.
    errors: Vec<(String, Problem)>,
}

impl Told {
    /// 207 when anything failed; 201 with the ids that are new; 204 (clause 6.14 and following).
    fn answer(self, call: &mut Call, outcome: BatchOutcome<Problem>) -> Response {
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
            let body = call.echo(batch_result(&success, &errors));
            return reply::plain(StatusCode::MULTI_STATUS, body);
        }
        if outcome.created.is_empty() {
            return reply::no_content();
        }
        let created = ids.iter().filter(|id| outcome.created.contains(*id));
        let created = call.echo(Json::Array(created.map(Json::string).collect()).to_text());
        reply::plain(StatusCode::CREATED, created)
    }
}
