//! The temporal evolution of entities: `/temporal/entities` and what is below it, and `/temporal/entityOperations/query`
//! (clauses 6.18 to 6.22 and 6.24).
//!
//! * [`asked`]: what a client asks to see of the past;
//! * [`read`]: retrieve and query;
//! * [`answer`]: instances as they become an answer; [`aggregated`]: values as they do;
//! * [`write`]: create, append, correct and delete.

pub mod aggregated;
pub mod answer;
pub mod asked;
pub mod read;
pub mod write;

use crate::api::App;
use axum::Router;
use axum::routing::{delete, get, patch, post};

/// Adds the routes.
pub fn routes(router: Router<App>) -> Router<App> {
    router
        .route(
            "/ngsi-ld/v1/temporal/entities",
            get(read::query).post(write::create),
        )
        .route(
            "/ngsi-ld/v1/temporal/entities/{id}",
            get(read::retrieve).delete(write::delete),
        )
        .route("/ngsi-ld/v1/temporal/entities/{id}/attrs", post(write::append))
        .route(
            "/ngsi-ld/v1/temporal/entities/{id}/attrs/{attr}",
            delete(write::delete_attribute),
        )
        .route(
            "/ngsi-ld/v1/temporal/entities/{id}/attrs/{attr}/{instance}",
            patch(write::replace_instance).delete(write::delete_instance),
        )
        .route(
            "/ngsi-ld/v1/temporal/entityOperations/query",
            post(read::query_by_body),
        )
}
