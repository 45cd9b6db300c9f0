//! Create, append, correct and delete (clauses 5.6.11 to 5.6.16).

use crate::api::App;
use crate::api::attributes::attribute_iri;
use crate::api::call::Call;
use crate::api::compatibility::TemporalCreate;
use crate::api::entities::{checked_id, denied, no_entity};
use crate::api::params::{Known, Limited};
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply;
use crate::context::Context;
use crate::model::entity::SCOPE;
use crate::model::expansion::expanded_size;
use crate::model::instance_id::InstanceId;
use crate::model::json::Json;
use crate::model::names::{NONE, is_uri};
use crate::model::read::past::PastFragment;
use crate::model::read::{Nulls, Reader};
use crate::permissions::change::Denied;
use crate::store::temporal::correct::{Corrected, OfDataset, Place};
use crate::store::temporal::{Added, Manner};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use jiff::Timestamp;

pub(in crate::api) const WRITE: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const DELETE: Known = Known {
    names: &["datasetId", "deleteAll", "local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};

/// Create, or add to what is there (5.6.11).
pub async fn create(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut arrival, body) = Call::begin_creating(app, request, &WRITE)?;
    let (json, sent) = arrival.json(body).await?;
    if !matches!(json, Json::Object(_)) {
        return Err(Problem::invalid(format!(
            "the past of an entity is an object, not {}",
            json.kind()
        )));
    }
    let context = arrival.context_of(&json, sent).await?;
    arrival.expand(expanded_size(&context, &json)?).await?;
    let mut fragment = reader(&context).past_entity(&json)?;
    drop(json);
    let id = fragment.id.take().unwrap_or_default();
    if !arrival.app.store.keeps_past() {
        return answer(Added::NotKept, &id);
    }
    let call = arrival.making_tenant().await?;
    let manner = Manner {
        creates: true,
        makes_entity: makes_entity(&call),
    };
    let store = &call.app.store;
    match store
        .add_past(call.tenant, &call.who, &id, &fragment, manner, Timestamp::now())
        .await?
    {
        Added::Created => Ok(reply::created("temporal/entities", &id)),
        added => answer(added, &id),
    }
}

/// Whether writing a past makes the current entity as well.
fn makes_entity(call: &Call) -> bool {
    call.app.compatibility.borrow().temporal_create == TemporalCreate::PastAndEntity
}

/// Append (5.6.12).
pub async fn append(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &WRITE)?;
    checked_id(&id)?;
    let (json, context) = call.json_and_context(body).await?;
    let fragment = reader(&context).past_fragment(&json)?;
    drop(json);
    if fragment.id.as_ref().is_some_and(|own| *own != id) {
        return Err(Problem::bad_data("the id in the body is not that in the path"));
    }
    let PastFragment {
        types,
        scopes,
        attributes,
        ..
    } = &fragment;
    if types.is_empty() && scopes.is_empty() && attributes.is_empty() {
        return Err(Problem::bad_data("the body has nothing to add"));
    }
    let manner = Manner {
        creates: false,
        makes_entity: makes_entity(&call),
    };
    let store = &call.app.store;
    let added = store
        .add_past(call.tenant, &call.who, &id, &fragment, manner, Timestamp::now())
        .await?;
    answer(added, &id)
}

fn reader(context: &Context) -> Reader<'_> {
    Reader {
        context,
        nulls: Nulls::Refused,
    }
}

fn answer(added: Added, id: &str) -> Result<Response, Problem> {
    match added {
        Added::Created | Added::Extended => Ok(reply::no_content()),
        Added::NotFound => Err(no_entity(id)),
        Added::Denied(why) => Err(denied(id)(why)),
        Added::NotKept => Err(Problem::new(
            ErrorType::OperationNotSupported,
            "this broker keeps no past of entities; its operator can enable it",
        )),
    }
}

/// Delete the whole past (5.6.16).
pub async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &WRITE)?;
    checked_id(&id)?;
    let forgotten = call.app.store.forget_past(call.tenant, &call.who, &id).await?;
    match forgotten {
        Corrected::Done => Ok(reply::no_content()),
        Corrected::Denied(Denied::NotAllowed) => Err(Problem::forbidden()),
        Corrected::NotFound | Corrected::Denied(Denied::NotSeen) => Err(Problem::not_found(format!(
            "nothing is kept of the past of an entity {id}"
        ))),
    }
}

/// Delete the past of an attribute (5.6.13).
pub async fn delete_attribute(
    State(app): State<App>,
    Path((id, attr)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &DELETE)?;
    checked_id(&id)?;
    let dataset = match (call.params.flag("deleteAll")?, call.params.get("datasetId")) {
        (true, Some(_)) => return Err(Problem::bad_data("datasetId and deleteAll exclude each other")),
        (true, None) => OfDataset::Any,
        (false, None | Some(NONE)) => OfDataset::One(None),
        (false, Some(dataset)) if is_uri(dataset) => OfDataset::One(Some(dataset.to_owned())),
        (false, Some(_)) => return Err(Problem::bad_data("datasetId is a URI or @none")),
    };
    let context = call.link_context().await?;
    let iri = past_iri(&context, &attr)?;
    let place = place(&call, &id, &iri);
    let found = call.app.store.take_past_away(place, &dataset).await?;
    of_instances(found, &id, &iri)
}

/// Correct an instance (5.6.14).
pub async fn replace_instance(
    State(app): State<App>,
    Path((id, attr, instance)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &WRITE)?;
    let instance = checked_instance(&id, &instance)?;
    let (json, context) = call.json_and_context(body).await?;
    let json = without_context(json);
    attribute_iri(&context, &attr)?;
    let (iri, by) = reader(&context).past_instance(&attr, &json)?;
    drop(json);
    let Some(instance) = instance else {
        return of_instances(Corrected::NotFound, &id, &iri);
    };
    let store = &call.app.store;
    let replaced = store
        .replace_past(place(&call, &id, &iri), instance, &by, Timestamp::now())
        .await?;
    of_instances(replaced, &id, &iri)
}

/// Delete an instance (5.6.15).
pub async fn delete_instance(
    State(app): State<App>,
    Path((id, attr, instance)): Path<(String, String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &WRITE)?;
    let instance = checked_instance(&id, &instance)?;
    let context = call.link_context().await?;
    let iri = past_iri(&context, &attr)?;
    let found = match instance {
        None => Corrected::NotFound,
        Some(instance) => {
            let place = place(&call, &id, &iri);
            call.app.store.take_one_away(place, instance).await?
        }
    };
    of_instances(found, &id, &iri)
}

/// The IRI of an attribute of the past; scopes are one.
fn past_iri(context: &Context, attr: &str) -> Result<String, Problem> {
    match attr {
        "scope" => Ok(SCOPE.to_owned()),
        name => attribute_iri(context, name),
    }
}

/// Checks the ids of a path. `Ok(None)`: an id, but none that this broker gives to instances.
fn checked_instance(id: &str, instance: &str) -> Result<Option<InstanceId>, Problem> {
    checked_id(id)?;
    if is_uri(instance) {
        Ok(InstanceId::parse(instance))
    } else {
        Err(Problem::bad_data(
            "the id of the instance in the path is not a URI",
        ))
    }
}

/// The body of an instance carries its context as a member, which is no attribute of it.
fn without_context(json: Json) -> Json {
    match json {
        Json::Object(mut members) => {
            members.retain(|(name, _)| name != "@context");
            Json::Object(members)
        }
        other => other,
    }
}

fn place<'p>(call: &'p Call, id: &'p str, attr: &'p str) -> Place<'p> {
    Place {
        tenant: call.tenant,
        id,
        attr,
        who: &call.who,
    }
}

fn of_instances(found: Corrected, id: &str, iri: &str) -> Result<Response, Problem> {
    match found {
        Corrected::Done => Ok(reply::no_content()),
        Corrected::Denied(Denied::NotAllowed) => Err(Problem::forbidden()),
        Corrected::NotFound | Corrected::Denied(Denied::NotSeen) => Err(Problem::not_found(format!(
            "no such instance of {iri} is kept of the past of an entity {id}"
        ))),
    }
}
