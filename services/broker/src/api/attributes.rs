//! `/entities/{id}/attrs` and `/entities/{id}/attrs/{attr}` (clauses 6.6 and 6.7).

use crate::api::App;
use crate::api::call::Call;
use crate::api::entities::{self, Meant, checked_id};
use crate::api::params::{Known, Limited};
use crate::api::problem::Problem;
use crate::api::reply;
use crate::context::Context;
use crate::model::change::{self, Existing, UpdateResult, Which};
use crate::model::entity::{Entity, Fragment};
use crate::model::json::{Json, write_string};
use crate::model::names::{NONE, is_uri};
use crate::model::read::{Nulls, Reader, expanded_name};
use crate::permissions::change::Extent;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{Request, StatusCode};
use jiff::Timestamp;

pub(in crate::api) const APPEND: Known = Known {
    names: &["options", "type", "local"],
    later: &[],
    options: &["noOverwrite"],
    limited: Limited::Obeyed,
};
pub(in crate::api) const CHANGE: Known = Known {
    names: &["type", "local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const DELETE: Known = Known {
    names: &["datasetId", "deleteAll", "type", "local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};

/// Append (5.6.3).
pub async fn append(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &APPEND)?;
    let existing = Existing::of(call.params.option("noOverwrite"));
    let (fragment, meant) = fragment(&mut call, body, &id, Nulls::Refused).await?;
    let now = Timestamp::now();
    change_many(call, &id, meant, |entity| {
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
    let (fragment, meant) = fragment(&mut call, body, &id, Nulls::Delete).await?;
    let now = Timestamp::now();
    change_many(call, &id, meant, |entity| change::update(entity, fragment, now)).await
}

async fn fragment(call: &mut Call, body: Body, id: &str, nulls: Nulls) -> Result<(Fragment, Meant), Problem> {
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
    Ok((fragment, Meant::of(call, &context)?))
}

async fn change_many(
    mut call: Call,
    id: &str,
    meant: Meant,
    by: impl FnOnce(&mut Entity) -> UpdateResult + Send,
) -> Result<Response, Problem> {
    let result = entities::change(&call, id, meant, Extent::Parts, |entity| Ok(by(entity))).await?;
    if result.not_updated.is_empty() {
        return Ok(reply::no_content());
    }
    let body = call.echo(update_result(&result));
    Ok(reply::plain(StatusCode::MULTI_STATUS, body))
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

pub(super) fn attribute_iri(context: &Context, name: &str) -> Result<String, Problem> {
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
    let meant = Meant::of(&call, &context)?;
    let now = Timestamp::now();
    entities::change(&call, &id, meant, Extent::Parts, |entity| {
        Ok(change::update_partially(entity, &iri, &json, &reader, now)?)
    })
    .await?;
    Ok(reply::no_content())
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
    let meant = Meant::of(&call, &context)?;
    let now = Timestamp::now();
    entities::change(&call, &id, meant, Extent::Parts, |entity| {
        Ok(change::replace_attribute(entity, &iri, instances, now)?)
    })
    .await?;
    Ok(reply::no_content())
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
    let meant = Meant::of(&call, &context)?;
    let now = Timestamp::now();
    if attr == "scope" {
        entities::change(&call, &id, meant, Extent::Parts, |entity| {
            Ok(change::delete_scope(entity, now)?)
        })
        .await?;
        return Ok(reply::no_content());
    }
    let iri = attribute_iri(&context, &attr)?;
    entities::change(&call, &id, meant, Extent::Parts, |entity| {
        Ok(change::delete_attribute(entity, &iri, &which, now)?)
    })
    .await?;
    Ok(reply::no_content())
}
