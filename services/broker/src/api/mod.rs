//! NGSI-LD over HTTP: from requests to calls of the model and the store, and back. ETSI GS CIM 009, clause 6.

pub mod accept;
pub mod admin;
pub mod attributes;
pub mod batch;
pub mod body;
pub mod call;
pub mod compatibility;
pub mod contexts;
pub mod entities;
pub mod front;
pub mod identity;
pub mod info;
pub mod linked;
pub mod named;
pub mod openapi;
pub mod operations;
pub mod page;
pub mod params;
pub mod parts;
pub mod problem;
pub mod purge;
pub mod query;
pub mod reply;
pub mod subscriptions;
pub mod temporal;
pub mod types;

use crate::api::compatibility::Compatibility;
use crate::api::operations::BASE;
use crate::api::problem::{ErrorType, Problem};
use crate::context::cache::Contexts;
use crate::memory::Rooms;
use crate::server::metrics::Metrics;
use crate::store::Store;
use axum::Router;
use axum::extract::MatchedPath;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::Request;
use std::sync::Arc;
use std::time::Instant;
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
    /// When this replica began to serve.
    pub started: Instant,
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
            started: Instant::now(),
        }
    }
}

/// Resources of the standard that this version does not have: distributed operations and snapshots.
const OUT_OF_SCOPE: [&str; 5] = [
    "csourceRegistrations",
    "csourceSubscriptions",
    "entityMaps",
    "temporal/entityMaps",
    "snapshots",
];

/// The routes. What the standard has and this version has not says so.
pub fn router(app: App) -> Router {
    let mut router = operations::routes(Router::new());
    for collection in OUT_OF_SCOPE {
        router = router.route(&format!("{BASE}/{collection}"), any(later));
        router = router.route(&format!("{BASE}/{collection}/{{*rest}}"), any(later));
    }
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
