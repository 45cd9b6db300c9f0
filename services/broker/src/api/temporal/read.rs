//! Retrieve and query (clauses 5.7.3 and 5.7.4).

use crate::api::App;
use crate::api::call::Call;
use crate::api::entities::{checked_id, no_entity};
use crate::api::named::told_in;
use crate::api::params::{Known, Limited};
use crate::api::problem::Problem;
use crate::api::query::{check_members, ordering, ordering_of_json, sought, too_slow};
use crate::api::reply::{self, Roomed};
use crate::api::temporal::aggregated;
use crate::api::temporal::answer::{self, Read};
use crate::api::temporal::asked::{Format, OPTIONS, Showing, asked, times};
use crate::model::json::Json;
use crate::model::temporal::evolution::Span;
use crate::model::view::asked::Asked;
use crate::query::order::{self, By, Ordering};
use crate::query::q::Reading;
use crate::query::sought::Sought;
use crate::query::sql::past::{self, Which};
use crate::query::temporal::Texts;
use crate::query::{Selection, temporal::TemporalQuery};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::header::{CONTENT_RANGE, HeaderName, LINK};
use http::{Request, StatusCode};

pub(in crate::api) const RETRIEVE: Known = Known {
    names: &[
        "attrs",
        "pick",
        "omit",
        "lang",
        "datasetId",
        "timerel",
        "timeAt",
        "endTimeAt",
        "timeproperty",
        "lastN",
        "aggrMethods",
        "aggrPeriodDuration",
        "expandValues",
        "jsonKeys",
        "options",
        "format",
        "local",
    ],
    later: &["entityMap", "entityMapLifetime"],
    options: OPTIONS,
    limited: Limited::Obeyed,
};
pub(in crate::api) const QUERY: Known = Known {
    names: &[
        "id",
        "type",
        "idPattern",
        "attrs",
        "pick",
        "omit",
        "lang",
        "datasetId",
        "q",
        "expandValues",
        "jsonKeys",
        "georel",
        "geometry",
        "coordinates",
        "geoproperty",
        "scopeQ",
        "timerel",
        "timeAt",
        "endTimeAt",
        "timeproperty",
        "lastN",
        "aggrMethods",
        "aggrPeriodDuration",
        "orderBy",
        "collation",
        "limit",
        "offset",
        "count",
        "options",
        "format",
        "local",
    ],
    later: &["csf", "entityMap", "entityMapLifetime", "splitEntities"],
    options: OPTIONS,
    limited: Limited::Obeyed,
};
pub(in crate::api) const QUERY_BY_BODY: Known = Known {
    names: &["limit", "offset", "count", "options", "format", "local"],
    later: &["entityMap", "entityMapLifetime", "splitEntities"],
    options: OPTIONS,
    limited: Limited::Obeyed,
};
/// Members of the body of a query, and those that this version does not serve.
pub(in crate::api) const MEMBERS: [&str; 15] = [
    "@context",
    "type",
    "entities",
    "q",
    "geoQ",
    "scopeQ",
    "temporalQ",
    "attrs",
    "pick",
    "omit",
    "lang",
    "datasetId",
    "expandValues",
    "jsonKeys",
    "ordering",
];
const LATER_MEMBERS: [&str; 4] = ["csf", "entityMap", "entityMapLifetime", "splitEntities"];

/// Retrieve.
pub async fn retrieve(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &RETRIEVE)?;
    checked_id(&id)?;
    let context = call.link_context().await?;
    let params = &call.params;
    // Without a q they say nothing, but they may not be wrong.
    let (expand_values, json_keys) = (params.items("expandValues"), params.items("jsonKeys"));
    Reading::of(&context, expand_values.as_deref(), json_keys.as_deref())?;
    let showing = Showing::of(&call, context, asked(params), &times(params))?;
    let (body, found) = read(&call, &showing, Which::One(&id), None).await?;
    check_found(&call, &showing, &id, &body, &found).await?;
    Ok(response(&showing, body, found.cut))
}

/// Refuses what there is nothing of: the entity, the attributes that were named, members to show.
async fn check_found(
    call: &Call,
    showing: &Showing,
    id: &str,
    body: &Roomed,
    found: &Read,
) -> Result<(), Problem> {
    if found.entities.is_empty() {
        return Err(no_entity(id));
    }
    if found.is_empty {
        let (store, attrs) = (&call.app.store, showing.shape.attrs.as_deref());
        let exists = past::exists(call.reach(), id, attrs);
        if !store.finds(&exists).await.map_err(too_slow)? {
            return Err(Problem::not_found(match attrs {
                None => format!("nothing is kept of the past of the entity {id}"),
                Some(_) => format!("nothing is kept of the past of these attributes of the entity {id}"),
            }));
        }
    }
    if body.text.is_empty() {
        return Err(Problem::not_found(format!(
            "the entity {id} has none of the members asked for"
        )));
    }
    Ok(())
}

/// What a query is, wherever its parts came from.
struct Query {
    showing: Showing,
    selection: Selection,
    ordering: Option<Ordering>,
}

/// Query by URL.
pub async fn query(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &QUERY)?;
    let context = call.link_context().await?;
    let params = &call.params;
    let times = times(params);
    check_times(&times)?;
    let showing = Showing::of(&call, context, asked(params), &times)?;
    let selection = sought(params).read(&showing.shape, &showing.context)?;
    let ordering = order::parse(&ordering(params), &showing.context)?;
    let query = Query {
        showing,
        selection,
        ordering,
    };
    answer(call, query).await
}

/// Query by body.
pub async fn query_by_body(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (mut call, body) = Call::begin(app, request, &QUERY_BY_BODY)?;
    let (json, context) = call.json_and_context(body).await?;
    check_members(&json, &MEMBERS, &LATER_MEMBERS)?;
    let mut query = of_body(&call, &json, context)?;
    query.showing.context = told_in(&call, query.showing.context, &json).await;
    drop(json);
    answer(call, query).await
}

fn of_body(
    call: &Call,
    json: &Json,
    context: std::sync::Arc<crate::context::Context>,
) -> Result<Query, Problem> {
    let times = Texts::of_json(json)?;
    check_times(&times)?;
    let showing = Showing::of(call, context, Asked::of_query(json)?, &times)?;
    let selection = Sought::of_json(json)?.read(&showing.shape, &showing.context)?;
    let ordering = order::parse(&ordering_of_json(json)?, &showing.context)?;
    Ok(Query {
        showing,
        selection,
        ordering,
    })
}

/// A query of the past is one of an interval (clause 5.7.4.4).
fn check_times(times: &Texts<'_>) -> Result<(), Problem> {
    match times.timerel {
        Some(_) => Ok(()),
        None => Err(Problem::bad_data(
            "a query of the past needs a temporal query: timerel and timeAt",
        )),
    }
}

/// Whether the greatest ids come first. There is no other order of the past (clause 5.7.4.4).
fn is_descending(ordering: Option<&Ordering>) -> Result<bool, Problem> {
    let Some(ordering) = ordering else {
        return Ok(false);
    };
    match ordering.terms.as_slice() {
        [term] if term.by == By::Id => Ok(term.descending),
        _ => Err(Problem::bad_data("a query of the past is ordered by id only")),
    }
}

async fn answer(call: Call, query: Query) -> Result<Response, Problem> {
    let Query {
        showing,
        selection,
        ordering,
    } = query;
    let descending = is_descending(ordering.as_ref())?;
    let local = call.params.flag("local")?;
    if !local && !selection.is_restricted() {
        return Err(Problem::bad_data(
            "the query is too wide: it needs type, attrs, q or georel, or local=true",
        ));
    }
    if selection.has_all_types() && call.params.get("local") == Some("false") {
        return Err(Problem::bad_data(
            "type=* is for this broker alone: local is not false",
        ));
    }
    let counted = call.params.flag("count")?;
    let (limit, offset) = (call.params.limit(counted)?, call.params.offset()?);
    let which = Which::Some {
        selection: &selection,
        limit,
        offset,
        descending,
    };
    let (body, found) = read(&call, &showing, which, counted.then_some(&selection)).await?;
    let mut response = response(&showing, body, found.cut);
    let headers = response.headers_mut();
    if let Some(count) = found.count {
        let name = HeaderName::from_static("ngsild-results-count");
        reply::append(headers, name, count.to_string());
    }
    let more = found.entities.len() > limit;
    for link in call.neighbours(limit, offset, more, showing.media) {
        reply::append(headers, LINK, link);
    }
    Ok(response)
}

async fn read(
    call: &Call,
    showing: &Showing,
    which: Which<'_>,
    counted: Option<&Selection>,
) -> Result<(Roomed, Read), Problem> {
    let (store, rooms) = (&call.app.store, &call.app.rooms);
    let wanted = showing.wanted(0);
    let count = counted.map(|selection| past::count(call.reach(), selection, &wanted));
    let count = count.as_ref();
    if showing.format == Format::Aggregated {
        return aggregated::read(store, call.reach(), showing, which, count, rooms).await;
    }
    answer::read(store, call.reach(), showing, which, count, &rooms.answers).await
}

/// The answer: whole, or a part of it with the times that it is of (clause 6.3.10).
fn response(showing: &Showing, body: Roomed, cut: Option<Span>) -> Response {
    let mut response = reply::read(showing.media, body, &showing.context, showing.link());
    if let Some(span) = cut {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = content_range(&showing.query, span);
        reply::append(response.headers_mut(), CONTENT_RANGE, range);
    }
    response
}

/// From when to when, in the order in which instances were read, and how many of each attribute were asked for.
fn content_range(query: &TemporalQuery, span: Span) -> String {
    let (start, size) = match query.last {
        Some(last) => (query.interval.until, last.to_string()),
        None => (query.interval.from, "*".to_owned()),
    };
    let start = start.unwrap_or(span.first);
    format!("date-time {start}-{}/{size}", span.last)
}
