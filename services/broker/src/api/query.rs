//! `GET /entities` (clause 5.7.2).

use crate::api::App;
use crate::api::call::Call;
use crate::api::entities::{READ_OPTIONS, Showing};
use crate::api::page::PageWriter;
use crate::api::params::Known;
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply;
use crate::context::Context;
use crate::model::Refusal;
use crate::model::entity::Entity;
use crate::query::{Selection, geo, pattern, q, scope, sql, types};
use crate::store::rows::Sizes;
use crate::store::search::Page;
use crate::store::{StoreError, weight};
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
        "scopeQ",
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

/// Query.
pub async fn query(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &QUERY)?;
    let context = call.link_context().await?;
    let showing = Showing::of(&call, &context)?;
    let view = showing.view(&call.params, &context)?;
    let attrs = showing.only.iter().flatten().cloned().collect();
    let (selection, restricted) = selection(&call, &context, attrs)?;
    if !restricted {
        return Err(Problem::bad_data(
            "the query is too wide: it needs type, attrs, q or georel, or local=true",
        ));
    }
    let counted = call.params.flag("count")?;
    let (limit, offset) = (call.params.limit(counted)?, call.params.offset()?);
    let count = counted.then(|| sql::count(call.tenant, &selection));
    let store = &call.app.store;
    let answers = &call.app.rooms.answers;
    let mut writer = PageWriter::new(view, &showing, answers);
    let page = match &count {
        Some(count) if limit == 0 => {
            let count = store.count(count).await.map_err(too_slow)?;
            Page {
                more: false,
                count: Some(count),
                whole: true,
                large: 0,
            }
        }
        count => {
            let page = |sizes| sql::page(call.tenant, &selection, limit, offset, sizes);
            let take = |entity: &Entity| writer.add(entity);
            let found = store
                .search(&page(Sizes::Small), limit, count.as_ref(), take)
                .await;
            let found = found.map_err(too_slow)?;
            if found.large == 0 {
                found
            } else {
                // Again, with room for the largest: they come one by one.
                writer = PageWriter::new(view, &showing, answers);
                let room = store.room(weight::of_size(found.large)).await?;
                let take = |entity: &Entity| writer.add(entity);
                let found = store.search(&page(Sizes::Any), limit, count.as_ref(), take).await;
                drop(room);
                found.map_err(too_slow)?
            }
        }
    };
    let body = writer.finish(page.whole)?;
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
pub fn selection(call: &Call, context: &Context, attrs: Vec<String>) -> Result<(Selection, bool), Problem> {
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
    // A plus that was not percent-encoded comes as a blank, which no scope has.
    let scope = params
        .get("scopeQ")
        .map(|text| scope::parse(&text.replace(' ', "+")));
    let scope = scope.transpose()?;
    let local = params.flag("local")?;
    let names_attribute = q.as_ref().is_some_and(q::Query::names_an_attribute);
    let restricted = types.is_some() || local || geo.is_some() || names_attribute || !attrs.is_empty();
    let selection = Selection {
        types,
        ids: params.uris("id")?,
        id_pattern: id_pattern.map(str::to_owned),
        attrs,
        q,
        geo,
        scope,
    };
    Ok((selection, restricted))
}
