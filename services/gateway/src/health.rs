//! `/livez`, `/readyz`, `/metrics`, on a port of their own.

use crate::metrics::Metrics;
use crate::settings::Settings;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// What the health port knows.
#[derive(Clone)]
pub struct Health {
    /// What holds, once clients are served: there have been settings that could be used.
    pub serving: Arc<OnceLock<watch::Receiver<Arc<Settings>>>>,
    /// Why the files cannot be used.
    pub trouble: watch::Receiver<Option<String>>,
    /// Whether the process is on its way out.
    pub leaving: Arc<AtomicBool>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The routes of the health port.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// A gateway whose files are wrong serves on by what held before, and says so: it is ready.
async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let trouble = health.trouble.borrow().clone();
    let not_ready = |words: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n"));
    if health.leaving.load(Ordering::Relaxed) {
        return not_ready("the gateway is shutting down");
    }
    let lack = health.serving.get().map(|settings| settings.borrow().lack());
    match (lack, trouble) {
        (None, why) => not_ready(&why.unwrap_or_else(|| "the gateway is starting".to_owned())),
        (Some(Some(lack)), _) => not_ready(lack),
        (Some(None), Some(why)) => (
            StatusCode::OK,
            format!("ok; settings from before are in force: {why}\n"),
        ),
        (Some(None), None) => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn metrics(
    State(health): State<Health>,
) -> Result<([(http::HeaderName, &'static str); 1], String), StatusCode> {
    health.metrics.settings_current(health.trouble.borrow().is_none());
    let text = health
        .metrics
        .text()
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text))
}
