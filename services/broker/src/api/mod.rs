//! NGSI-LD over HTTP: from requests to calls of the model and the store, and back. ETSI GS CIM 009, clause 6.

pub mod accept;
pub mod attributes;
pub mod batch;
pub mod body;
pub mod call;
pub mod compatibility;
pub mod contexts;
pub mod entities;
pub mod front;
pub mod linked;
pub mod page;
pub mod params;
pub mod problem;
pub mod purge;
pub mod query;
pub mod reply;
pub mod subscriptions;
pub mod temporal;
pub mod types;

use crate::api::compatibility::Compatibility;
use crate::api::problem::{ErrorType, Problem};
use crate::context::cache::Contexts;
use crate::memory::Rooms;
use crate::server::metrics::Metrics;
use crate::store::Store;
use axum::Router;
use axum::extract::MatchedPath;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, patch, post};
use http::Request;
use std::sync::Arc;
use tokio::sync::watch;

/// What every operation needs. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Where entities are.
    pub store: Store,
    /// What names mean.
    pub contexts: Arc<Contexts>,
    /// Memory that requests share.
    pub rooms: Arc<Rooms>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// What editions of the standard disagree on.
    pub compatibility: watch::Receiver<Compatibility>,
}

impl App {
    /// Puts the parts together.
    pub fn new(
        store: Store,
        contexts: Arc<Contexts>,
        rooms: Arc<Rooms>,
        metrics: Arc<Metrics>,
        compatibility: watch::Receiver<Compatibility>,
    ) -> Self {
        Self {
            store,
            contexts,
            rooms,
            metrics,
            compatibility,
        }
    }
}

/// The routes. What the standard has and this version has not says so.
pub fn router(app: App) -> Router {
    const BASE: &str = "/ngsi-ld/v1";
    let mut router = Router::new()
        .route(
            "/ngsi-ld/v1/entities",
            get(query::query).post(entities::create).delete(purge::purge),
        )
        .route(
            "/ngsi-ld/v1/entities/{id}",
            get(entities::retrieve)
                .put(entities::replace)
                .delete(entities::delete)
                .patch(entities::merge),
        )
        .route(
            "/ngsi-ld/v1/entities/{id}/attrs",
            post(attributes::append).patch(attributes::update),
        )
        .route(
            "/ngsi-ld/v1/entities/{id}/attrs/{attr}",
            patch(attributes::update_one)
                .put(attributes::replace_one)
                .delete(attributes::delete_one),
        )
        .route("/ngsi-ld/v1/entityOperations/create", post(batch::create))
        .route("/ngsi-ld/v1/entityOperations/upsert", post(batch::upsert))
        .route("/ngsi-ld/v1/entityOperations/update", post(batch::update))
        .route("/ngsi-ld/v1/entityOperations/merge", post(batch::merge))
        .route("/ngsi-ld/v1/entityOperations/delete", post(batch::delete))
        .route("/ngsi-ld/v1/entityOperations/query", post(query::query_by_body))
        .route(
            "/ngsi-ld/v1/subscriptions",
            get(subscriptions::list).post(subscriptions::create),
        )
        .route(
            "/ngsi-ld/v1/subscriptions/{id}",
            get(subscriptions::retrieve)
                .patch(subscriptions::update)
                .delete(subscriptions::delete),
        )
        .route(
            "/ngsi-ld/v1/jsonldContexts",
            get(contexts::list).post(contexts::add),
        )
        .route(
            "/ngsi-ld/v1/jsonldContexts/{id}",
            get(contexts::serve).delete(contexts::delete),
        )
        .route("/ngsi-ld/v1/types", get(types::list))
        .route("/ngsi-ld/v1/types/{type}", get(types::one))
        .route("/ngsi-ld/v1/attributes", get(types::list_attributes))
        .route("/ngsi-ld/v1/attributes/{attr}", get(types::one_attribute));
    for collection in [
        "csourceRegistrations",
        "csourceSubscriptions",
        "entityMaps",
        "temporal/entityMaps",
        "snapshots",
        "info/sourceIdentity",
    ] {
        router = router.route(&format!("{BASE}/{collection}"), any(later));
        router = router.route(&format!("{BASE}/{collection}/{{*rest}}"), any(later));
    }
    router = temporal::routes(router);
    router
        .fallback(|| async { Problem::not_found("there is no such resource") })
        .method_not_allowed_fallback(|| async { Problem::not_allowed(&http::HeaderMap::new()) })
        .layer(middleware::from_fn(remember_route))
        .with_state(app)
}

/// An operation of the standard that this version does not have.
async fn later() -> Problem {
    Problem::new(
        ErrorType::OperationNotSupported,
        "this version of the broker does not support the operation",
    )
}

/// The template of the route that answered.
#[derive(Clone)]
pub struct Route(pub String);

/// Leaves the template of the route in the answer, for metrics.
async fn remember_route(request: Request<axum::body::Body>, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|p| Route(p.as_str().to_owned()));
    let mut response = next.run(request).await.into_response();
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}
