//! `GET /entities` (clause 5.7.2).

use crate::api::App;
use crate::api::accept::Media;
use crate::api::call::Call;
use crate::api::entities::{READ_OPTIONS, Showing};
use crate::api::params::Known;
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply;
use crate::context::Context;
use crate::model::Refusal;
use crate::model::entity::Entity;
use crate::model::json::write_string;
use crate::model::render::View;
use crate::query::{Selection, geo, pattern, q, sql, types};
use crate::store::StoreError;
use crate::store::search::Page;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use http::header::{HeaderName, LINK};

const QUERY: Known = Known {
    names: &[
        "id",
        "type",
        "idPattern",
        "attrs",
        "q",
        "georel",
        "geometry",
        "coordinates",
        "geoproperty",
        "geometryProperty",
        "limit",
        "offset",
        "count",
        "options",
        "format",
        "local",
    ],
    later: &[
        "pick",
        "omit",
        "lang",
        "scopeQ",
        "orderBy",
        "orderFrom",
        "orderGeometry",
        "collation",
        "csf",
        "join",
        "joinLevel",
        "containedBy",
        "datasetId",
        "jsonKeys",
        "expandValues",
        "entityMap",
        "splitEntities",
    ],
    options: READ_OPTIONS,
};

/// The largest page, in bytes.
const MAX_PAGE: usize = 64 * 1024 * 1024;

/// Query.
pub async fn query(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &QUERY)?;
    let context = call.link_context().await?;
    let showing = Showing::of(&call, &context)?;
    let view = showing.view(&call.params, &context)?;
    let (selection, wide_enough) = selection(&call, &context, &showing)?;
    if !wide_enough {
        return Err(Problem::bad_data(
            "the query is too wide: it needs type, attrs, q or georel, or local=true",
        ));
    }
    let counted = call.params.flag("count")?;
    let (limit, offset) = (call.params.limit(counted)?, call.params.offset()?);
    let count = counted.then(|| sql::count(call.tenant, &selection));
    let store = &call.app.store;
    let geo = showing.media == Media::GeoJson;
    let mut body = String::with_capacity(4096);
    body.push_str(if geo {
        "{\"type\":\"FeatureCollection\",\"features\":["
    } else {
        "["
    });
    // In a FeatureCollection the context is told once.
    let view = View {
        with_context: view.with_context && !geo,
        ..view
    };
    let mut first = true;
    let write = |entity: &Entity| {
        if !std::mem::take(&mut first) {
            body.push(',');
        }
        if geo {
            view.feature(entity, &showing.geometry, &mut body);
        } else {
            view.entity(entity, &mut body);
        }
        body.len() <= MAX_PAGE
    };
    let page = match &count {
        Some(count) if limit == 0 => Page {
            more: false,
            count: Some(store.count(count).await.map_err(too_slow)?),
            whole: true,
        },
        count => {
            let statement = sql::page(call.tenant, &selection, limit, offset);
            store
                .search(&statement, limit, count.as_ref(), write)
                .await
                .map_err(too_slow)?
        }
    };
    if !page.whole {
        let detail = format!(
            "the entities of this page are more than {} MiB; ask for a smaller limit",
            MAX_PAGE >> 20
        );
        return Err(Problem::new(ErrorType::TooManyResults, detail));
    }
    body.push(']');
    if geo {
        if !showing.link {
            body.push_str(",\"@context\":");
            write_string(&mut body, context.link());
        }
        body.push('}');
    }
    let mut response = reply::read(showing.media, body, &context, showing.link);
    let headers = response.headers_mut();
    if let Some(count) = page.count {
        reply::append(
            headers,
            HeaderName::from_static("ngsild-results-count"),
            count.to_string(),
        );
    }
    for (relation, offset) in neighbours(&page, limit, offset) {
        let query = call.params.page(limit, offset);
        let text = format!(
            "<{}?{query}>;rel=\"{relation}\";type=\"{}\"",
            call.head.uri.path(),
            showing.media.name()
        );
        reply::append(headers, LINK, text);
    }
    Ok(response)
}

/// A query that took longer than it may is too complex; a write that did is not.
#[must_use]
pub fn too_slow(error: StoreError) -> Problem {
    match error {
        StoreError::TooSlow => Problem::new(ErrorType::TooComplexQuery, "the query took longer than it may"),
        other => other.into(),
    }
}

/// Which pages are before and after this one, with their offsets.
fn neighbours(page: &Page, limit: usize, offset: u64) -> Vec<(&'static str, u64)> {
    let step = u64::try_from(limit).unwrap_or(u64::MAX);
    let mut found = Vec::new();
    if limit > 0 && page.more {
        found.push(("next", offset + step));
    }
    if limit > 0 && offset > 0 {
        found.push(("prev", offset.saturating_sub(step)));
    }
    found
}

/// What the parameters select, and whether they are enough of a restriction (clause 5.7.2).
fn selection(call: &Call, context: &Context, showing: &Showing) -> Result<(Selection, bool), Problem> {
    let params = &call.params;
    let types = params.get("type").map(|t| types::parse(t, context)).transpose()?;
    let id_pattern = params.get("idPattern");
    if let Some(text) = id_pattern {
        pattern::check(text).map_err(|Refusal(why)| Refusal(format!("idPattern: {why}")))?;
    }
    let q = params.get("q").map(|text| q::parse(text, context)).transpose()?;
    let geo = geo::parse(
        params.get("georel"),
        params.get("geometry"),
        params.get("coordinates"),
        params.get("geoproperty"),
        context,
    )?;
    let local = params.flag("local")?;
    let attrs: Vec<String> = showing.only.iter().flatten().cloned().collect();
    let names_attribute = q.as_ref().is_some_and(q::Query::names_an_attribute);
    let restricted = types.is_some() || local || geo.is_some() || names_attribute || !attrs.is_empty();
    let selection = Selection {
        types,
        ids: params.uris("id")?,
        id_pattern: id_pattern.map(str::to_owned),
        attrs,
        q,
        geo,
    };
    Ok((selection, restricted))
}
