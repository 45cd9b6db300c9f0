//! The administrators' API: what of a tenant others than the broker may read. On a port of its own, over mutual TLS; it is no part of NGSI-LD,
//! and of no document that clients see.

use crate::api::call::{Call, TENANT};
use crate::api::params::{Known, Limited};
use crate::api::problem::{ErrorType, Problem};
use crate::api::{App, Route, remember_route, reply};
use crate::contract::names;
use crate::contract::view::{Definition, PLACES, is_name};
use crate::model::Refusal;
use crate::model::json::Json;
use crate::permissions::Who;
use crate::store::contract::views::{MAX_VIEWS, Outcome};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::HeaderValue;
use http::{Request, StatusCode};
use mim_grammar::names::is_tenant_name;
use std::convert::Infallible;
use std::time::Instant;
use tower::ServiceExt as _;

/// Where its paths begin.
pub const ADMIN: &str = "/admin/";
/// The default tenant in a path: no tenant has this name.
const DEFAULT: &str = "@default";
/// The version of the contract, as in the names of schemas.
const VERSION: &str = "1";

const KNOWN: Known = Known {
    names: &[],
    later: &[],
    options: &[],
    limited: Limited::Administrators,
};

/// An extension of requests that came by the door of administrators: whether one sent it; if not, why not in a word.
#[derive(Clone, Copy, Debug)]
pub struct Administrator(pub Result<(), &'static str>);

/// The administrators' API as one service. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    router: Router,
    app: App,
}

impl Admin {
    /// Puts the routes together.
    #[must_use]
    pub fn new(app: App) -> Self {
        let router = Router::new()
            .route("/admin/v1/tenants/{tenant}/views", get(list))
            .route(
                "/admin/v1/tenants/{tenant}/views/{name}",
                get(retrieve).put(put).delete(delete),
            )
            .fallback(|| async { Problem::not_found("there is no such resource") })
            .method_not_allowed_fallback(|| async { Problem::not_allowed(&http::HeaderMap::new()) })
            .layer(middleware::from_fn(remember_route))
            .with_state(app.clone());
        Self { router, app }
    }

    /// Answers one request.
    pub async fn answer(&self, mut request: Request<Body>) -> Response {
        let (started, method) = (Instant::now(), request.method().clone());
        let who = request.extensions_mut().remove::<Administrator>();
        let who = who.map_or(Err("another_port"), |Administrator(who)| who);
        let mut response = match who {
            Ok(()) => {
                request.extensions_mut().insert(Who::Platform);
                let answered: Result<Response, Infallible> = self.router.clone().oneshot(request).await;
                answered.unwrap_or_else(|never| match never {})
            }
            Err(cause) => {
                self.app.metrics.administrator_refused(cause);
                Problem::forbidden().into_response()
            }
        };
        let route = response.extensions_mut().remove::<Route>();
        let route = route.as_ref().map_or("none", |route| route.0.as_str());
        self.app
            .metrics
            .answered(route, &method, response.status(), started.elapsed());
        response
    }
}

/// A request about a tenant that is there, and the tenant's name.
fn begin(app: App, tenant: &str, mut request: Request<Body>) -> Result<(Call, Body, String), Problem> {
    let name = if tenant == DEFAULT { "" } else { tenant };
    let headers = request.headers_mut();
    headers.remove(TENANT);
    if !name.is_empty() {
        let value = HeaderValue::from_str(name).ok().filter(|_| is_tenant_name(name));
        let value = value.ok_or_else(|| {
            Problem::bad_data(format!(
                "a tenant is a name of at most 63 letters, digits, - and _, or {DEFAULT}"
            ))
        })?;
        headers.insert(TENANT, value);
    }
    if !app.store.contract().is_configured() {
        return Err(Problem::new(
            ErrorType::OperationNotSupported,
            "the configuration of the broker has no contract",
        ));
    }
    let (call, body) = Call::begin(app, request, &KNOWN)?;
    Ok((call, body, name.to_owned()))
}

fn named(name: &str) -> Result<&str, Problem> {
    if name == PLACES {
        return Err(Problem::bad_data(format!("the view {PLACES} is always there")));
    }
    if is_name(name) {
        return Ok(name);
    }
    Err(Problem::bad_data(
        "a view is a name of at most 63 of a-z, 0-9 and _, the first a letter",
    ))
}

fn no_view(name: &str) -> Problem {
    Problem::not_found(format!("there is no view {name}"))
}

/// A view as it is shown: its definition, and where it stands.
fn shown(tenant: &str, name: &str, definition: Json) -> Json {
    let mut members = vec![
        ("name".to_owned(), Json::string(name)),
        ("schema".to_owned(), Json::string(names::schema(tenant))),
    ];
    if let Json::Object(rest) = definition {
        members.extend(rest);
    }
    Json::Object(members)
}

async fn list(
    State(app): State<App>,
    Path(tenant): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _, tenant) = begin(app, &tenant, request)?;
    let views = call.app.store.contract_views(call.tenant).await?;
    let views = views
        .into_iter()
        .map(|(name, definition)| shown(&tenant, &name, definition));
    let body = Json::Object(vec![
        ("version".to_owned(), Json::string(VERSION)),
        ("schema".to_owned(), Json::string(names::schema(&tenant))),
        ("views".to_owned(), Json::Array(views.collect())),
    ]);
    let body = reply::roomed(body.to_text(), &call.app.rooms.answers).await?;
    Ok(reply::plain(StatusCode::OK, body))
}

async fn retrieve(
    State(app): State<App>,
    Path((tenant, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _, tenant) = begin(app, &tenant, request)?;
    let name = named(&name)?;
    let found = call.app.store.contract_view(call.tenant, name).await?;
    let definition = found.ok_or_else(|| no_view(name))?;
    let body = shown(&tenant, name, definition).to_text();
    let body = reply::roomed(body, &call.app.rooms.answers).await?;
    Ok(reply::plain(StatusCode::OK, body))
}

async fn put(
    State(app): State<App>,
    Path((tenant, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (mut call, body, tenant) = begin(app, &tenant, request)?;
    let name = named(&name)?;
    let (json, context) = call.json_and_context(body).await?;
    let wanted = Definition::read(&json, &context)?;
    let store = &call.app.store;
    let outcome = store
        .put_contract_view((&tenant, call.tenant), name, wanted)
        .await?;
    let (status, definition) = match outcome {
        Outcome::Created(definition) => (StatusCode::CREATED, definition),
        Outcome::Kept(definition) => (StatusCode::OK, definition),
        Outcome::Breaks(Refusal(why)) => return Err(Problem::bad_data(why).with_status(StatusCode::CONFLICT)),
        Outcome::TooMany => {
            return Err(Problem::bad_data(format!(
                "a tenant has at most {MAX_VIEWS} views"
            )));
        }
        Outcome::NotYet => {
            return Err(Problem::unavailable("the schema of the tenant is not made yet"));
        }
    };
    let body = shown(&tenant, name, definition.to_json()).to_text();
    Ok(reply::plain(status, body))
}

async fn delete(
    State(app): State<App>,
    Path((tenant, name)): Path<(String, String)>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _, tenant) = begin(app, &tenant, request)?;
    let name = named(&name)?;
    let store = &call.app.store;
    if store.delete_contract_view((&tenant, call.tenant), name).await? {
        Ok(reply::no_content())
    } else {
        Err(no_view(name))
    }
}
