//! `/entities` and `/entities/{id}` (clauses 6.4 and 6.5).

use crate::api::App;
use crate::api::accept::{Media, OFFERED_ENTITIES, negotiate};
use crate::api::call::Call;
use crate::api::linked::add_linked;
use crate::api::page::PageWriter;
use crate::api::params::{Known, Limited};
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply;
use crate::context::Context;
use crate::model::change;
use crate::model::entity::Entity;
use crate::model::expansion::expanded_size;
use crate::model::linked::Unlinked;
use crate::model::merge::{self, Manner};
use crate::model::names::is_uri;
use crate::model::read::{Nulls, Reader};
use crate::model::render::View;
use crate::model::view::asked::Asked;
use crate::model::view::{Representation, Shape};
use crate::permissions::change::{Denied, Extent};
use crate::query::q::Reading;
use crate::query::types::{self, TypeSelection};
use crate::store::entities::Changed;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use jiff::Timestamp;

/// Options of reads.
pub const READ_OPTIONS: &[&str] = &["normalized", "concise", "keyValues", "simplified", "sysAttrs"];

pub(in crate::api) const CREATE: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const CHANGE: Known = Known {
    names: &["type", "local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const MERGE: Known = Known {
    names: &["options", "format", "observedAt", "lang", "type", "local"],
    later: &[],
    options: &["normalized", "concise", "keyValues", "simplified"],
    limited: Limited::Obeyed,
};
pub(in crate::api) const RETRIEVE: Known = Known {
    names: &[
        "attrs",
        "pick",
        "omit",
        "lang",
        "datasetId",
        "join",
        "joinLevel",
        "containedBy",
        "type",
        "options",
        "format",
        "geometryProperty",
        "jsonKeys",
        "expandValues",
        "local",
    ],
    later: &["entityMap", "entityMapLifetime"],
    options: READ_OPTIONS,
    limited: Limited::Obeyed,
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
    let (mut arrival, body) = Call::begin_creating(app, request, &CREATE)?;
    let (json, sent) = arrival.json(body).await?;
    if !matches!(json, crate::model::json::Json::Object(_)) {
        return Err(Problem::invalid(format!(
            "an entity is an object, not {}",
            json.kind()
        )));
    }
    let context = arrival.context_of(&json, sent).await?;
    arrival.expand(expanded_size(&context, &json)?).await?;
    let fragment = Reader {
        context: &context,
        nulls: Nulls::Refused,
    }
    .entity(&json)?;
    drop(json);
    let entity = change::create(fragment, Timestamp::now());
    arrival.who.may_create(&entity).map_err(denied(&entity.id))?;
    let call = arrival.making_tenant().await?;
    if call.app.store.create(call.tenant, &entity).await? {
        Ok(reply::created("entities", &entity.id))
    } else {
        Err(Problem::new(
            ErrorType::AlreadyExists,
            format!("there is an entity {}", entity.id),
        ))
    }
}

/// What is said of an entity that may not be written; one that is not seen is not there.
pub fn denied(id: &str) -> impl Fn(Denied) -> Problem {
    move |denied| match denied {
        Denied::NotSeen => no_entity(id),
        Denied::NotAllowed => Problem::forbidden(),
    }
}

/// How entities are to be shown: everything that reads of one and of many have in common.
pub struct Showing {
    /// The media type.
    pub media: Media,
    /// What the client wishes of their shape.
    pub shape: Shape,
    /// Whether the context is told in a Link header.
    pub link: bool,
}

impl Showing {
    /// Reads `Accept`, and the wishes of the client.
    pub fn of(call: &Call, asked: &Asked<'_>, context: &Context) -> Result<Self, Problem> {
        let media = negotiate(&call.head.headers, &OFFERED_ENTITIES)?;
        if asked.geometry_property.is_some() && media != Media::GeoJson {
            return Err(Problem::bad_data(
                "geometryProperty is for application/geo+json only",
            ));
        }
        let link = media == Media::Json
            || (media == Media::GeoJson && reply::prefers_plain_body(&call.head.headers));
        Ok(Self {
            media,
            shape: Shape::of(asked, context)?,
            link,
        })
    }

    /// The view for the renderer.
    #[must_use]
    pub fn view<'a>(&'a self, context: &'a Context) -> View<'a> {
        View::new(context, &self.shape, !self.link)
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
    let showing = Showing::of(&call, &call.params.asked()?, &context)?;
    // Without a q they say nothing, but they may not be wrong.
    let (expand_values, json_keys) = (call.params.items("expandValues"), call.params.items("jsonKeys"));
    Reading::of(&context, expand_values.as_deref(), json_keys.as_deref())?;
    call.params.flag("local")?;
    let types = Meant::of(&call, &context)?;
    let found = call.app.store.retrieve(call.reach(), &id).await?;
    let (entity, room) = found.ok_or_else(|| no_entity(&id))?;
    if !types.is(&entity.types) {
        return Err(no_entity(&id));
    }
    let attrs = showing.shape.attrs.as_ref();
    let view = showing.view(&context);
    if attrs.is_some_and(|attrs| !attrs.iter().any(|iri| entity.attributes.contains_key(iri)))
        || !view.shows_something(&entity, &[showing.shape.shown()])
    {
        return Err(Problem::not_found(format!(
            "the entity {id} has nothing of what was asked for"
        )));
    }
    let answers = &call.app.rooms.answers;
    let body = if showing.shape.join.is_some() {
        let mut writer = PageWriter::single(view, &showing, answers);
        let mut whole = writer.add(&entity);
        drop((entity, room));
        if whole {
            whole = add_linked(&call.app.store, call.reach(), &mut writer).await?;
        }
        writer.finish(whole)?
    } else {
        let mut body = String::with_capacity(1024);
        let shown = [showing.shape.shown()];
        match showing.media {
            Media::GeoJson => view.feature(&entity, &shown, &mut body, &mut Unlinked),
            _ => view.entity(&entity, &shown, &mut body, &mut Unlinked),
        }
        drop(entity);
        let body = reply::roomed(body, answers).await?;
        drop(room);
        body
    };
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
    let meant = Meant::of(&call, &context)?;
    let now = Timestamp::now();
    change(&call, &id, meant, Extent::Whole, |entity| {
        let id = std::mem::take(&mut entity.id);
        *entity = change::replace(entity, fragment, now);
        entity.id = id;
        Ok(())
    })
    .await?;
    Ok(reply::no_content())
}

/// Merge (5.6.17).
pub async fn merge(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &MERGE)?;
    checked_id(&id)?;
    let params = &call.params;
    let simplified = params.representation()? == Representation::Simplified;
    let manner = Manner::new(simplified, params.get("observedAt"), params.get("lang"))?;
    let (json, context) = call.json_and_context(body).await?;
    let meant = Meant::of(&call, &context)?;
    let reader = Reader {
        context: &context,
        nulls: Nulls::Deep,
    };
    let now = Timestamp::now();
    change(&call, &id, meant, Extent::Parts, |entity| {
        Ok(merge::merge(entity, &json, &reader, &manner, now)?)
    })
    .await?;
    Ok(reply::no_content())
}

/// Delete (5.6.6).
pub async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &CHANGE)?;
    checked_id(&id)?;
    let meant = Meant::of_link(&call).await?;
    let allow = |entity: &Entity| {
        if meant.is(&entity.types) {
            call.who.may_delete(entity).map_err(denied(&id))
        } else {
            Err(no_entity(&id))
        }
    };
    let deleted = call
        .app
        .store
        .delete(call.tenant, &id, Timestamp::now(), allow)
        .await?;
    done(deleted, &id)?;
    Ok(reply::no_content())
}

/// Which entities an operation on one of them means: those whose types the parameter `type` selects, or all.
pub struct Meant(Option<TypeSelection>);

impl Meant {
    /// Reads the parameter.
    pub fn of(call: &Call, context: &Context) -> Result<Self, Problem> {
        let types = call.params.get("type").map(|text| types::parse(text, context));
        Ok(Self(types.transpose()?))
    }

    /// Reads the parameter of a request that needs its context for nothing else.
    pub async fn of_link(call: &Call) -> Result<Self, Problem> {
        match call.params.get("type") {
            None => Ok(Self(None)),
            Some(_) => Self::of(call, &*call.link_context().await?),
        }
    }

    /// Whether an entity of these types is meant.
    #[must_use]
    pub fn is(&self, types: &[String]) -> bool {
        self.0.as_ref().is_none_or(|selection| selection.selects(types))
    }
}

/// Changes an entity that is meant, if who asks may do that.
pub async fn change<T>(
    call: &Call,
    id: &str,
    meant: Meant,
    extent: Extent,
    change: impl FnOnce(&mut Entity) -> Result<T, Problem> + Send,
) -> Result<T, Problem> {
    let change = |entity: &mut Entity| {
        if meant.is(&entity.types) {
            call.who.change(entity, extent, denied(id), change)
        } else {
            Err(no_entity(id))
        }
    };
    done(call.app.store.change(call.tenant, id, change).await?, id)
}

/// What the store says of a change.
fn done<T>(changed: Changed<T, Problem>, id: &str) -> Result<T, Problem> {
    match changed {
        Changed::Done(result) => Ok(result),
        Changed::NotFound => Err(no_entity(id)),
        Changed::Refused(problem) => Err(problem),
    }
}
