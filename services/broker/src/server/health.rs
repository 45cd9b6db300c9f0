//! `/healthz`, `/readyz`, `/metrics`.

use crate::api::App;
use crate::server::listen::FromHere;
use crate::store::StoreError;
use crate::store::pool::DOWN;
use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The status of a broker on its way out (`docs/operands.md`): none of those that speak of the database.
const LEAVING: u16 = 531;

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

/// Why it is not ready is for who may look into the pod: the sentence has host and role of the database. Every pod of the
/// cluster may ask this port, for its metrics; others than the pod itself learn by the status of what sort the trouble is.
async fn ready(
    State(health): State<Health>,
    Extension(FromHere(from_here)): Extension<FromHere>,
) -> (StatusCode, String) {
    if health.draining.load(Ordering::Relaxed) {
        return not_ready(LEAVING, "the broker is shutting down");
    }
    let Some(trouble) = health.app.store.pool().trouble() else {
        return (StatusCode::OK, served(&health, from_here));
    };
    let words = if from_here {
        trouble.to_string()
    } else {
        StoreError::Unavailable(DOWN.to_owned()).to_string()
    };
    not_ready(trouble.status(), &words)
}

fn not_ready(status: u16, words: &str) -> (StatusCode, String) {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, format!("{words}\n"))
}

/// The broker serves. That it only reads is told to everybody: a kubelet that took it for not ready would end the reads too. What of the read-only contract
/// is not as it is to be keeps it from nothing, and is told to who may know why something does not work.
fn served(health: &Health, from_here: bool) -> String {
    if health.app.store.pool().is_read_only() {
        return "ok; the database is read-only: reads are answered, writes get 503 until it takes them\n"
            .to_owned();
    }
    let troubles = health.app.store.contract().troubles();
    if troubles.is_empty() || !from_here {
        return "ok\n".to_owned();
    }
    format!("ok; of the read-only contract: {}\n", troubles.join("; "))
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
