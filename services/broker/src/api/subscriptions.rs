//! `/subscriptions` and `/subscriptions/{id}` (clauses 5.8.1 to 5.8.5).

use crate::api::App;
use crate::api::accept::{Media, OFFERED, negotiate};
use crate::api::call::Call;
use crate::api::contexts::make_implicitly;
use crate::api::entities::checked_id;
use crate::api::params::{Known, Limited};
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply;
use crate::context::Context;
use crate::model::json::Json;
use crate::store::StoreError;
use crate::store::subscriptions::{Kept, Made};
use crate::subscription::Subscription;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use http::header::{HeaderName, LINK};
use jiff::Timestamp;
use uuid::Uuid;

pub(in crate::api) const WRITE: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const READ: Known = Known {
    names: &["options", "local"],
    later: &[],
    options: &["sysAttrs"],
    limited: Limited::Obeyed,
};
pub(in crate::api) const LIST: Known = Known {
    names: &["limit", "offset", "count", "options", "local"],
    later: &[],
    options: &["sysAttrs"],
    limited: Limited::Obeyed,
};

/// Members of a subscription that this version does not serve.
const LATER_MEMBERS: [&str; 2] = ["csf", "splitEntities"];

fn no_subscription(id: &str) -> Problem {
    Problem::not_found(format!("there is no subscription {id}"))
}

/// Refuses what is said to other context sources: there are none.
fn check_members(json: &Json) -> Result<(), Problem> {
    match LATER_MEMBERS.iter().find(|name| json.get(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(Problem::new(
            ErrorType::OperationNotSupported,
            format!("the member {name} of a subscription is not served by this version"),
        )),
    }
}

/// Create (5.8.1).
pub async fn create(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut arrival, body) = Call::begin_creating(app, request, &WRITE)?;
    let (json, context) = arrival.json_and_context(body).await?;
    check_members(&json)?;
    let new_id = format!("urn:ngsi-ld:Subscription:{}", Uuid::from_u128(rand::random()));
    let now = Timestamp::now();
    let mut subscription = Subscription::read(&json, &context, &new_id, now)?;
    subscription.owner = arrival.who.owner();
    let call = arrival.making_tenant().await?;
    has_context(&call, subscription.jsonld_context.as_deref()).await?;
    keep_context(&call, &mut subscription, json.get("@context")).await?;
    let made = call
        .app
        .store
        .create_subscription(call.tenant, &subscription, now)
        .await;
    if matches!(made, Ok(Made::Exists | Made::TooMany) | Err(StoreError::Quota(_)))
        && let Some(context) = &subscription.own_context
    {
        call.app.store.delete_context(call.tenant, context).await?;
    }
    match made? {
        Made::Created => Ok(reply::created("subscriptions", &subscription.id)),
        Made::Exists => Err(Problem::new(
            ErrorType::AlreadyExists,
            format!("there is a subscription {}", subscription.id),
        )),
        Made::TooMany => Err(Problem::new(
            ErrorType::TooManyResults,
            "the tenant has as many subscriptions as it may have; delete some",
        )),
    }
}

/// A context that came as a document is kept, so that notifications can name it; it ends with the subscription.
async fn keep_context(
    call: &Call,
    subscription: &mut Subscription,
    sent: Option<&Json>,
) -> Result<(), Problem> {
    let is_named = subscription.jsonld_context.is_some() || subscription.context.is_some();
    if let Some(sent @ (Json::Object(_) | Json::Array(_))) = sent.filter(|_| !is_named) {
        let (id, url) = make_implicitly(call, sent).await?;
        subscription.jsonld_context = Some(url);
        subscription.own_context = Some(id);
    }
    Ok(())
}

/// A context in which nobody could tell the notifications is refused when it is named, not when the first one is due.
async fn has_context(call: &Call, url: Option<&str>) -> Result<(), Problem> {
    if url.is_some() {
        let context = call.app.contexts.of_link(call.tenant, url).await;
        context.map_err(|error| call.problem(error))?;
    }
    Ok(())
}

/// Retrieve (5.8.3). What came of a notification belongs to its subscription from the receiver's answer on (5.8.6): who
/// reads it at the replica that was answered sees that.
pub async fn retrieve(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &READ)?;
    checked_id(&id)?;
    let context = call.link_context().await?;
    let media = negotiate(&call.head.headers, &OFFERED)?;
    call.app.store.unnoted().until_noted(call.tenant, &id).await;
    let owner = call.who.owns_only();
    let kept = call.app.store.subscription(call.tenant, owner, &id).await?;
    let kept = kept.ok_or_else(|| no_subscription(&id))?;
    let shown = shown(&call, &kept, media, &context);
    let body = reply::roomed(shown.to_text(), &call.app.rooms.answers).await?;
    Ok(reply::read(media, body, &context, media == Media::Json))
}

/// Query (5.8.4).
pub async fn list(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &LIST)?;
    let context = call.link_context().await?;
    let media = negotiate(&call.head.headers, &OFFERED)?;
    let counted = call.params.flag("count")?;
    let (limit, offset) = (call.params.limit(counted)?, call.params.offset()?);
    // One more tells whether there is a page after this one.
    let most = i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1;
    let skipped = i64::try_from(offset).unwrap_or(i64::MAX);
    let owned = call.who.owns_only();
    let store = &call.app.store;
    let (found, count) = store
        .subscriptions(call.tenant, owned, (most, skipped), counted)
        .await?;
    let page = found
        .iter()
        .take(limit)
        .map(|kept| shown(&call, kept, media, &context));
    let body = Json::Array(page.collect()).to_text();
    let body = reply::roomed(body, &call.app.rooms.answers).await?;
    let mut response = reply::read(media, body, &context, media == Media::Json);
    if let Some(count) = count {
        let name = HeaderName::from_static("ngsild-results-count");
        reply::append(response.headers_mut(), name, count.to_string());
    }
    for link in call.neighbours(limit, offset, found.len() > limit, media) {
        reply::append(response.headers_mut(), LINK, link);
    }
    Ok(response)
}

fn shown(call: &Call, kept: &Kept, media: Media, context: &Context) -> Json {
    let sys_attrs = call.params.option("sysAttrs");
    let mut shown = kept
        .subscription
        .shown(context, &kept.outcome, sys_attrs, Timestamp::now());
    if let (Media::LdJson, Json::Object(members)) = (media, &mut shown) {
        members.push(("@context".to_owned(), Json::string(context.link())));
    }
    shown
}

/// Update (5.8.2).
pub async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &WRITE)?;
    checked_id(&id)?;
    let (json, context) = call.json_and_context(body).await?;
    check_members(&json)?;
    has_context(&call, json.get("jsonldContext").and_then(Json::as_str)).await?;
    let now = Timestamp::now();
    let changed = call
        .app
        .store
        .change_subscription(call.tenant, call.who.owns_only(), &id, now, |before| {
            if !call.who.may_change(before.owner.as_ref()) {
                return Err(Problem::forbidden());
            }
            let mut updated = before.updated(&json, &context, now)?;
            // Who writes its own subscription sees from then on what it sees now.
            let own = call.who.owner();
            if let Some(own) =
                own.filter(|own| before.owner.as_ref().is_some_and(|o| o.subject == own.subject))
            {
                updated.owner = Some(own);
            }
            Ok(updated)
        })
        .await?;
    changed.ok_or_else(|| no_subscription(&id))??;
    Ok(reply::no_content())
}

/// Delete (5.8.5).
pub async fn delete(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &WRITE)?;
    checked_id(&id)?;
    let store = &call.app.store;
    let gone = store
        .delete_subscription(call.tenant, call.who.owns_only(), &id)
        .await?;
    let gone = gone.ok_or_else(|| no_subscription(&id))?;
    if let Some(context) = gone.own_context {
        store.delete_context(call.tenant, &context).await?;
        call.app.contexts.spread().await;
    }
    Ok(reply::no_content())
}
