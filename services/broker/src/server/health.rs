//! `/healthz`, `/readyz`, `/metrics`.

use crate::api::App;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the health port knows.
#[derive(Clone)]
pub struct Health {
    /// The broker.
    pub app: App,
    /// Whether the process is on its way out.
    pub draining: Arc<AtomicBool>,
}

/// The routes of the health port.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    if health.draining.load(Ordering::Relaxed) {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the broker is shutting down\n".to_owned(),
        );
    }
    match health.app.store.pool().trouble() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
    }
}

async fn metrics(
    State(health): State<Health>,
) -> Result<([(http::HeaderName, &'static str); 1], String), StatusCode> {
    let text = health
        .app
        .metrics
        .text(&health.app.store)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((
        [(
            CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    ))
}
