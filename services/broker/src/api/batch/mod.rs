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
use crate::api::batch::items::{Given, Told};
use crate::api::call::{Arrival, Call};
use crate::api::params::{Known, Limited};
use crate::api::problem::Problem;
use crate::model::change::Existing;
use crate::model::entity::Fragment;
use crate::model::json::Json;
use crate::model::read::{Nulls, Reader};
use crate::model::values;
use crate::store::StoreError;
use crate::store::batch::BatchOutcome;
use crate::store::decide::Decide;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Request, StatusCode};
use jiff::Timestamp;

pub(in crate::api) const PLAIN: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const UPSERT: Known = Known {
    names: &["options", "local"],
    later: &[],
    options: &["replace", "update"],
    limited: Limited::Obeyed,
};
pub(in crate::api) const UPDATE: Known = Known {
    names: &["options", "local"],
    later: &[],
    options: &["noOverwrite"],
    limited: Limited::Obeyed,
};

/// Create: what is there already is an error of its own.
pub async fn create(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut arrival, body) = Call::begin_creating(app, request, &PLAIN)?;
    let (given, told) = fragments(&mut arrival, body, whole).await?;
    let now = Timestamp::now();
    let who = arrival.who.clone();
    create_all(arrival, told, &Create { given, who, now }).await
}

/// Upsert: creates what is not there; replaces, or with `options=update` appends to, what is.
pub async fn upsert(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut arrival, body) = Call::begin_creating(app, request, &UPSERT)?;
    let update = arrival.params.option("update");
    if update && arrival.params.option("replace") {
        return Err(Problem::bad_data("options replace and update exclude each other"));
    }
    let (given, told) = fragments(&mut arrival, body, whole).await?;
    let now = Timestamp::now();
    let who = arrival.who.clone();
    let upsert = Upsert {
        given,
        who,
        update,
        now,
    };
    create_all(arrival, told, &upsert).await
}

/// Update: attributes of entities that are there are written, nulls delete them.
pub async fn update(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &UPDATE)?;
    let existing = Existing::of(call.params.option("noOverwrite"));
    let (given, told) = fragments(&mut call, body, part).await?;
    let now = Timestamp::now();
    let update = Update {
        given,
        who: call.who.clone(),
        existing,
        now,
    };
    write_all(call, told, &update).await
}

/// Merge: what is sent changes what it names, as deep as it goes.
pub async fn merge(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &PLAIN)?;
    let (items, contexts) = items::entities(&mut call, body).await?;
    let (given, told) = Told::read(&items, |item| {
        contexts.of(item)?;
        Ok((id_of(item)?, item))
    });
    let merge = Merge {
        given,
        who: call.who.clone(),
        contexts: &contexts,
        now: Timestamp::now(),
    };
    write_all(call, told, &merge).await
}

/// Delete: the body is an array of ids.
pub async fn delete(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &PLAIN)?;
    let (items, _) = items::array(&mut call, body).await?;
    let (given, told) = Told::read(&items, |item| Ok((values::id(item)?, ())));
    drop(items);
    let now = Timestamp::now();
    let who = call.who.clone();
    write_all(call, told, &Delete { given, who, now }).await
}

/// Receives and reads entities; what they were read from is dropped.
async fn fragments(
    arrival: &mut Arrival,
    body: Body,
    read: fn(&BatchContexts, &Json) -> Result<Fragment, Problem>,
) -> Result<(Given<Fragment>, Told), Problem> {
    let (items, contexts) = items::entities(arrival, body).await?;
    Ok(Told::read(&items, |item| {
        let mut fragment = read(&contexts, item)?;
        Ok((fragment.id.take().unwrap_or_default(), fragment))
    }))
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

/// Writes entities, which may be the first of their tenant.
async fn create_all(
    mut arrival: Arrival,
    told: Told,
    decide: &impl Decide<Reason = Problem>,
) -> Result<Response, Problem> {
    if told.ids.is_empty() {
        return Ok(told.answer(&mut arrival, BatchOutcome::default()));
    }
    write_all(arrival.making_tenant().await?, told, decide).await
}

async fn write_all(
    mut call: Call,
    told: Told,
    decide: &impl Decide<Reason = Problem>,
) -> Result<Response, Problem> {
    let written = call.app.store.write_batch(call.tenant, &told.ids, decide).await;
    Ok(told.answer(&mut call, written.map_err(too_slow)?))
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
