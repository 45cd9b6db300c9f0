//! `/entities` and `/entities/{id}` (clauses 6.4 and 6.5).

use crate::api::App;
use crate::api::accept::{Media, OFFERED_ENTITIES, negotiate};
use crate::api::call::Call;
use crate::api::params::{Known, Params};
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply;
use crate::context::Context;
use crate::model::change;
use crate::model::entity::LOCATION;
use crate::model::expansion::expanded_size;
use crate::model::names::is_uri;
use crate::model::read::{Nulls, Reader, expanded_name};
use crate::model::render::View;
use crate::query::types;
use crate::store::entities::Changed;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Options of reads.
pub const READ_OPTIONS: &[&str] = &["normalized", "concise", "keyValues", "simplified", "sysAttrs"];

const CREATE: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
};
const CHANGE: Known = Known {
    names: &["local"],
    later: &["type"],
    options: &[],
};
const RETRIEVE: Known = Known {
    names: &["attrs", "type", "options", "format", "geometryProperty", "local"],
    later: &[
        "pick",
        "omit",
        "lang",
        "datasetId",
        "join",
        "joinLevel",
        "containedBy",
        "entityMap",
        "jsonKeys",
        "expandValues",
    ],
    options: READ_OPTIONS,
};

/// An id in a path.
pub fn checked_id(id: &str) -> Result<(), Problem> {
    if is_uri(id) {
        Ok(())
    } else {
        Err(Problem::bad_data("the id in the path is not a URI"))
    }
}

/// What is said of an entity that is not there.
#[must_use]
pub fn no_entity(id: &str) -> Problem {
    Problem::not_found(format!("there is no entity {id}"))
}

/// Create (5.6.1).
pub async fn create(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &CREATE)?;
    let (json, sent) = call.json(body).await?;
    if !matches!(json, crate::model::json::Json::Object(_)) {
        return Err(Problem::invalid(format!(
            "an entity is an object, not {}",
            json.kind()
        )));
    }
    let context = call.context_of(&json, sent).await?;
    call.expand(expanded_size(&context, &json)?).await?;
    let fragment = Reader {
        context: &context,
        nulls: Nulls::Refused,
    }
    .entity(&json)?;
    drop(json);
    let entity = change::create(fragment, Timestamp::now());
    if call.app.store.create(call.tenant, &entity).await? {
        Ok(reply::created(&entity.id))
    } else {
        Err(Problem::new(
            ErrorType::AlreadyExists,
            format!("there is an entity {}", entity.id),
        ))
    }
}

/// How entities are to be shown: everything that reads of one and of many have in common.
pub struct Showing {
    /// The media type.
    pub media: Media,
    /// The attributes to show, by IRI.
    pub only: Option<BTreeSet<String>>,
    /// The IRI of the attribute that becomes the geometry of a Feature.
    pub geometry: String,
    /// Whether the context is told in a Link header.
    pub link: bool,
}

impl Showing {
    /// Reads `Accept`, `attrs` and `geometryProperty`.
    pub fn of(call: &Call, context: &Context) -> Result<Self, Problem> {
        let media = negotiate(&call.head.headers, &OFFERED_ENTITIES)?;
        let params = &call.params;
        let only = match params.get("attrs") {
            None => None,
            Some(_) => Some(
                params
                    .list("attrs")
                    .into_iter()
                    .map(|n| expanded_name(context, n))
                    .collect::<Result<BTreeSet<_>, _>>()?,
            ),
        };
        let geometry = match params.get("geometryProperty") {
            None => LOCATION.to_owned(),
            Some(_) if media != Media::GeoJson => {
                return Err(Problem::bad_data(
                    "geometryProperty is for application/geo+json only",
                ));
            }
            Some(name) => expanded_name(context, name)?,
        };
        let link = media == Media::Json
            || (media == Media::GeoJson && reply::prefers_plain_body(&call.head.headers));
        Ok(Self {
            media,
            only,
            geometry,
            link,
        })
    }

    /// The view for the renderer.
    pub fn view<'a>(&'a self, params: &Params, context: &'a Context) -> Result<View<'a>, Problem> {
        Ok(View {
            context,
            representation: params.representation()?,
            sys_attrs: params.option("sysAttrs"),
            only: self.only.as_ref(),
            with_context: !self.link,
        })
    }
}

/// Retrieve (5.7.1).
pub async fn retrieve(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &RETRIEVE)?;
    checked_id(&id)?;
    let context = call.link_context().await?;
    let showing = Showing::of(&call, &context)?;
    let view = showing.view(&call.params, &context)?;
    let types = call
        .params
        .get("type")
        .map(|t| types::parse(t, &context))
        .transpose()?;
    let (entity, room) = call
        .app
        .store
        .retrieve(call.tenant, &id)
        .await?
        .ok_or_else(|| no_entity(&id))?;
    if types.is_some_and(|types| !types.selects(&entity.types)) {
        return Err(no_entity(&id));
    }
    if showing
        .only
        .as_ref()
        .is_some_and(|only| !entity.attributes.keys().any(|iri| only.contains(iri)))
    {
        return Err(Problem::not_found(format!(
            "the entity {id} has none of the attributes asked for"
        )));
    }
    let mut body = String::with_capacity(1024);
    match showing.media {
        Media::GeoJson => view.feature(&entity, &showing.geometry, &mut body),
        _ => view.entity(&entity, &mut body),
    }
    drop(entity);
    let body = reply::roomed(body, &call.app.rooms.answers).await?;
    drop(room);
    Ok(reply::read(showing.media, body, &context, showing.link))
}

/// Replace (5.6.18).
pub async fn replace(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &CHANGE)?;
    checked_id(&id)?;
    let (json, context) = call.json_and_context(body).await?;
    let fragment = Reader {
        context: &context,
        nulls: Nulls::Refused,
    }
    .fragment(&json)?;
    drop(json);
    if fragment.id.as_ref().is_some_and(|own| *own != id) {
        return Err(Problem::bad_data("the id in the body is not that in the path"));
    }
    if fragment.types.is_empty() {
        return Err(Problem::bad_data("the entity has no type"));
    }
    let now = Timestamp::now();
    let changed = call
        .app
        .store
        .change(call.tenant, &id, |entity| {
            let id = std::mem::take(&mut entity.id);
            *entity = change::replace(entity, fragment, now);
            entity.id = id;
            Ok::<(), Problem>(())
        })
        .await?;
    answer(changed, &id, |()| reply::no_content())
}

/// Delete (5.6.6).
pub async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &CHANGE)?;
    checked_id(&id)?;
    if call.app.store.delete(call.tenant, &id).await? {
        Ok(reply::no_content())
    } else {
        Err(no_entity(&id))
    }
}

/// From what the store says of a change to an answer.
pub fn answer<T>(
    changed: Changed<T, Problem>,
    id: &str,
    done: impl FnOnce(T) -> Response,
) -> Result<Response, Problem> {
    match changed {
        Changed::Done(result) => Ok(done(result)),
        Changed::NotFound => Err(no_entity(id)),
        Changed::Refused(problem) => Err(problem),
    }
}
