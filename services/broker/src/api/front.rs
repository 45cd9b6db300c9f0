//! What stands before the routes: who asks is told apart, paths are made regular, the tenant is echoed on every answer,
//! requests are measured.

use crate::api::admin::ADMIN;
use crate::api::call::{TENANT, tenant_name};
use crate::api::identity::Identities;
use crate::api::problem::Problem;
use crate::api::{App, Route, router};
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::HeaderName;
use http::{Method, Request, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;
use tower::ServiceExt as _;

/// The whole API as one service. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    router: Router,
    app: App,
    identities: Arc<Identities>,
}

impl Front {
    /// Puts the front before the routes.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self {
            router: router(app.clone()),
            identities: Arc::default(),
            app,
        }
    }

    /// Answers one request.
    pub async fn answer(&self, mut request: Request<Body>) -> Response {
        let started = Instant::now();
        let method = request.method().clone();
        let mut tenants = request.headers().get_all(TENANT).iter();
        // Of several none is told: the request is refused.
        let tenant = tenants.next().filter(|_| tenants.next().is_none()).cloned();
        let mut response = if let Err(problem) = self.prepare(&mut request).await {
            problem.into_response()
        } else {
            let answered: Result<Response, Infallible> = self.router.clone().oneshot(request).await;
            answered.unwrap_or_else(|never| match never {})
        };
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            response = Problem::not_allowed(response.headers()).into_response_with(response);
        }
        if let Some(tenant) = tenant {
            response
                .headers_mut()
                .insert(HeaderName::from_static(TENANT), tenant);
        }
        let route = response.extensions_mut().remove::<Route>();
        let route = route.as_ref().map_or("none", |r| r.0.as_str());
        self.app
            .metrics
            .answered(route, &method, response.status(), started.elapsed());
        response
    }

    /// Makes the path regular, and learns of a tenant that another replica has made.
    async fn prepare(&self, request: &mut Request<Body>) -> Result<(), Problem> {
        let who = self.identities.of(request).map_err(|refused| {
            self.app.metrics.permissions_refused(refused.cause());
            Problem::forbidden()
        })?;
        request.extensions_mut().insert(who);
        if request.uri().path().starts_with(ADMIN) {
            self.app.metrics.administrator_refused("another_port");
            return Err(Problem::forbidden());
        }
        regular(request)?;
        // A name that is none is refused by the operation.
        if let Ok(tenant) = tenant_name(request.headers()) {
            self.app.store.learn_tenant(tenant).await?;
        }
        Ok(())
    }
}

impl Problem {
    /// This problem in place of another answer, whose route it keeps.
    fn into_response_with(self, mut other: Response) -> Response {
        let mut response = self.into_response();
        if let Some(route) = other.extensions_mut().remove::<Route>() {
            response.extensions_mut().insert(route);
        }
        response
    }
}

/// Takes a slash off the end of a collection, and refuses paths that no route should see.
fn regular(request: &mut Request<Body>) -> Result<(), Problem> {
    let path = request.uri().path();
    match percent_decode_str(path).decode_utf8() {
        Ok(decoded) if decoded.contains('\0') => {
            return Err(Problem::bad_data("the path has the character U+0000"));
        }
        Ok(_) => {}
        Err(_) => return Err(Problem::bad_data("the path is not UTF-8")),
    }
    // Empty ids: `PATCH /entities/`, `DELETE /entities//attrs/x`.
    if path.contains("/attrs//") && *request.method() == Method::PATCH && path.contains("/temporal/") {
        return Err(Problem::not_allowed(&http::HeaderMap::new()));
    }
    if path.contains("//") {
        return Err(Problem::bad_data("a part of the path is empty"));
    }
    if path == "/ngsi-ld/v1/entities/" && matches!(*request.method(), Method::PUT | Method::PATCH) {
        return Err(Problem::bad_data("the id of the entity is empty"));
    }
    let Some(shorter) = path.strip_suffix('/').filter(|p| !p.is_empty()) else {
        return Ok(());
    };
    let target = match request.uri().query() {
        Some(query) => format!("{shorter}?{query}"),
        None => shorter.to_owned(),
    };
    *request.uri_mut() = target
        .parse::<Uri>()
        .map_err(|_| Problem::bad_data("the path cannot be read"))?;
    Ok(())
}
