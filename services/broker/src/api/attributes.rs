//! `/entities/{id}/attrs` and `/entities/{id}/attrs/{attr}` (clauses 6.6 and 6.7).

use crate::api::App;
use crate::api::call::Call;
use crate::api::entities::{answer, checked_id};
use crate::api::params::Known;
use crate::api::problem::Problem;
use crate::api::reply;
use crate::context::Context;
use crate::model::change::{self, Existing, UpdateResult, Which};
use crate::model::entity::{Entity, Fragment};
use crate::model::json::{Json, write_string};
use crate::model::names::{NONE, is_uri};
use crate::model::read::{Nulls, Reader, expanded_name};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Request, StatusCode};
use jiff::Timestamp;

const APPEND: Known = Known {
    names: &["options", "local"],
    later: &["type"],
    options: &["noOverwrite"],
};
const CHANGE: Known = Known {
    names: &["local"],
    later: &["type"],
    options: &[],
};
const DELETE: Known = Known {
    names: &["datasetId", "deleteAll", "local"],
    later: &["type"],
    options: &[],
};

/// Append (5.6.3).
pub async fn append(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &APPEND)?;
    let existing = if call.params.option("noOverwrite") {
        Existing::Kept
    } else {
        Existing::Overwritten
    };
    let fragment = fragment(&mut call, body, &id, Nulls::Refused).await?;
    let now = Timestamp::now();
    change_many(call, &id, |entity| {
        change::append(entity, fragment, existing, now)
    })
    .await
}

/// Update (5.6.2).
pub async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &CHANGE)?;
    let fragment = fragment(&mut call, body, &id, Nulls::Delete).await?;
    let now = Timestamp::now();
    change_many(call, &id, |entity| change::update(entity, fragment, now)).await
}

async fn fragment(call: &mut Call, body: Body, id: &str, nulls: Nulls) -> Result<Fragment, Problem> {
    checked_id(id)?;
    let (json, context) = call.json_and_context(body).await?;
    let fragment = Reader {
        context: &context,
        nulls,
    }
    .fragment(&json)?;
    if fragment.id.as_ref().is_some_and(|own| own != id) {
        return Err(Problem::bad_data("the id in the body is not that in the path"));
    }
    if fragment.attributes.is_empty() && fragment.types.is_empty() && fragment.scope.is_none() {
        return Err(Problem::bad_data("the body has nothing to write"));
    }
    Ok(fragment)
}

async fn change_many(
    mut call: Call,
    id: &str,
    change: impl FnOnce(&mut Entity) -> UpdateResult + Send,
) -> Result<Response, Problem> {
    let changed = call
        .app
        .store
        .change(call.tenant, id, |entity| Ok::<_, Problem>(change(entity)))
        .await?;
    answer(changed, id, |result| {
        if result.not_updated.is_empty() {
            reply::no_content()
        } else {
            reply::plain(StatusCode::MULTI_STATUS, call.echo(update_result(&result)))
        }
    })
}

/// The body of a 207 of attributes (clause 5.2.18).
fn update_result(result: &UpdateResult) -> String {
    let mut out = String::from("{\"updated\":");
    Json::Array(result.updated.iter().map(Json::string).collect()).write(&mut out);
    out.push_str(",\"notUpdated\":[");
    for (n, (name, reason)) in result.not_updated.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str("{\"attributeName\":");
        write_string(&mut out, name);
        out.push_str(",\"reason\":");
        write_string(&mut out, reason);
        out.push('}');
    }
    out.push_str("]}");
    out
}

fn attribute_iri(context: &Context, name: &str) -> Result<String, Problem> {
    if matches!(name, "id" | "type" | "scope" | "@id" | "@type" | "@context") {
        return Err(Problem::bad_data(format!("{name} is not an attribute")));
    }
    Ok(expanded_name(context, name)?)
}

/// Partial update (5.6.4).
pub async fn update_one(
    State(app): State<App>,
    Path((id, attr)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &CHANGE)?;
    checked_id(&id)?;
    let (json, context) = call.json_and_context(body).await?;
    let json = without_context(json);
    let iri = attribute_iri(&context, &attr)?;
    let reader = Reader {
        context: &context,
        nulls: Nulls::Delete,
    };
    let now = Timestamp::now();
    let change = |entity: &mut Entity| {
        change::update_partially(entity, &iri, &json, &reader, now).map_err(Problem::from)
    };
    let changed = call.app.store.change(call.tenant, &id, change).await?;
    answer(changed, &id, |()| reply::no_content())
}

/// Replace one attribute (5.6.19).
pub async fn replace_one(
    State(app): State<App>,
    Path((id, attr)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &CHANGE)?;
    checked_id(&id)?;
    let (json, context) = call.json_and_context(body).await?;
    let json = without_context(json);
    attribute_iri(&context, &attr)?;
    let (iri, instances) = Reader {
        context: &context,
        nulls: Nulls::Refused,
    }
    .attribute(&attr, &json)?;
    drop(json);
    let now = Timestamp::now();
    let change =
        |entity: &mut Entity| change::replace_attribute(entity, &iri, instances, now).map_err(Problem::from);
    let changed = call.app.store.change(call.tenant, &id, change).await?;
    answer(changed, &id, |()| reply::no_content())
}

/// The body of an attribute carries its context as a member, which is no attribute of it.
fn without_context(json: Json) -> Json {
    match json {
        Json::Object(members) => Json::Object(
            members
                .into_iter()
                .filter(|(name, _)| name != "@context")
                .collect(),
        ),
        other => other,
    }
}

/// Delete one attribute (5.6.5).
pub async fn delete_one(
    State(app): State<App>,
    Path((id, attr)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &DELETE)?;
    checked_id(&id)?;
    let which = match (call.params.flag("deleteAll")?, call.params.get("datasetId")) {
        (true, Some(_)) => return Err(Problem::bad_data("datasetId and deleteAll exclude each other")),
        (true, None) => Which::All,
        (false, None | Some(NONE)) => Which::Default,
        (false, Some(dataset)) if is_uri(dataset) => Which::Dataset(dataset.to_owned()),
        (false, Some(_)) => return Err(Problem::bad_data("datasetId is a URI or @none")),
    };
    let context = call.link_context().await?;
    let iri = attribute_iri(&context, &attr)?;
    let now = Timestamp::now();
    let change =
        |entity: &mut Entity| change::delete_attribute(entity, &iri, &which, now).map_err(Problem::from);
    let changed = call.app.store.change(call.tenant, &id, change).await?;
    answer(changed, &id, |()| reply::no_content())
}
