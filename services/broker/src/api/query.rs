//! `GET /entities` and `POST /entityOperations/query` (clauses 5.7.2, 6.4 and 6.23).

use crate::api::App;
use crate::api::call::Call;
use crate::api::entities::{READ_OPTIONS, Showing};
use crate::api::linked::add_linked;
use crate::api::named::told_in;
use crate::api::page::PageWriter;
use crate::api::params::{Known, Limited, Params};
use crate::api::parts::{self, Head};
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply;
use crate::context::Context;
use crate::model::entity::Entity;
use crate::model::json::Json;
use crate::model::view::asked::{Asked, text, texts};
use crate::model::{Refusal, refuse};
use crate::permissions::reach::Reach;
use crate::query::Selection;
use crate::query::order::{self, Ordering, Texts};
use crate::query::sought::{Selector, Sought};
use crate::query::sql::{self, Window};
use crate::store::rows::Sizes;
use crate::store::{StoreError, weight};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use http::header::{HeaderName, LINK};
use std::sync::Arc;

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
        "join",
        "joinLevel",
        "containedBy",
        "q",
        "scopeQ",
        "expandValues",
        "jsonKeys",
        "georel",
        "geometry",
        "coordinates",
        "geoproperty",
        "geometryProperty",
        "orderBy",
        "orderFrom",
        "orderGeometry",
        "collation",
        "limit",
        "offset",
        "count",
        "options",
        "format",
        "local",
    ],
    later: &["csf", "entityMap", "entityMapLifetime", "splitEntities"],
    options: READ_OPTIONS,
    limited: Limited::Obeyed,
};
pub(in crate::api) const QUERY_BY_BODY: Known = Known {
    names: &[
        "geometryProperty",
        "limit",
        "offset",
        "count",
        "options",
        "format",
        "local",
    ],
    later: &["entityMap", "entityMapLifetime", "splitEntities"],
    options: READ_OPTIONS,
    limited: Limited::Obeyed,
};

/// Members of the body of a query, and those that this version does not serve.
pub(in crate::api) const MEMBERS: [&str; 18] = [
    "@context",
    "type",
    "entities",
    "q",
    "geoQ",
    "scopeQ",
    "attrs",
    "pick",
    "omit",
    "lang",
    "datasetId",
    "join",
    "joinLevel",
    "containedBy",
    "expandValues",
    "jsonKeys",
    "ordering",
    "geometryProperty",
];
const LATER_MEMBERS: [&str; 4] = ["csf", "entityMap", "entityMapLifetime", "splitEntities"];

/// What a query is, wherever its parts came from.
pub struct Query {
    /// What names mean.
    pub context: Arc<Context>,
    /// How entities are shown.
    pub showing: Showing,
    /// Which they are.
    pub selection: Selection,
    /// In which order.
    pub ordering: Option<Ordering>,
}

impl Query {
    /// Whether something of entities may be left out of the answer: how large they are as stored then says little of how large it is.
    #[must_use]
    pub fn leaves_out(&self, reach: Reach<'_>) -> bool {
        self.showing.shape.leaves_out() || reach.rules().is_some()
    }
}

/// A query with the request that it came with.
pub struct Question {
    /// The request.
    pub call: Call,
    /// The query.
    pub query: Query,
}

/// Query by URL.
pub async fn query(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &QUERY)?;
    let context = call.link_context().await?;
    let params = &call.params;
    let showing = Showing::of(&call, &params.asked()?, &context)?;
    let selection = sought(params).read(&showing.shape, &context)?;
    let ordering = order::parse(&ordering(params), &context)?;
    let query = Query {
        context,
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
    let params = &call.params;
    let mut asked = Asked {
        representation: params.representation()?,
        sys_attrs: params.option("sysAttrs"),
        ..Asked::of_query(&json)?
    };
    asked.geometry_property = asked.geometry_property.or(params.get("geometryProperty"));
    let showing = Showing::of(&call, &asked, &context)?;
    let selection = Sought::of_json(&json)?.read(&showing.shape, &context)?;
    let ordering = order::parse(&ordering_of_json(&json)?, &context)?;
    let context = told_in(&call, context, &json).await;
    drop(json);
    let query = Query {
        context,
        showing,
        selection,
        ordering,
    };
    answer(call, query).await
}

/// What a URL searches.
pub fn sought(params: &Params) -> Sought<'_> {
    let selector = Selector {
        types: params.get("type"),
        ids: params.items("id"),
        id_pattern: params.get("idPattern"),
    };
    Sought {
        entities: vec![selector],
        q: params.get("q"),
        expand_values: params.items("expandValues"),
        json_keys: params.items("jsonKeys"),
        georel: params.get("georel"),
        geometry: params.get("geometry"),
        coordinates: params.get("coordinates").map(Into::into),
        geoproperty: params.get("geoproperty"),
        // A plus that was not percent-encoded comes as a blank, which no scope has.
        scope_q: params.get("scopeQ").map(|text| text.replace(' ', "+").into()),
    }
}

pub(super) fn ordering(params: &Params) -> Texts<'_> {
    Texts {
        order_by: params.items("orderBy"),
        collation: params.get("collation"),
        from: params.get("orderFrom").map(Into::into),
        geometry: params.get("orderGeometry"),
    }
}

/// What the body says of the order (clause 5.2.43).
pub(super) fn ordering_of_json(json: &Json) -> Result<Texts<'_>, Refusal> {
    let ordering = match json.get("ordering") {
        None => return Ok(Texts::default()),
        Some(ordering @ Json::Object(members)) => {
            let known = ["orderBy", "collation", "coordinates", "geometry"];
            if let Some((name, _)) = members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
                return refuse(format!("ordering has no member {:?}", start_of(name)));
            }
            ordering
        }
        Some(other) => return refuse(format!("ordering is an object, not {}", other.kind())),
    };
    let order_by = texts(ordering, "orderBy")?;
    if order_by.is_none() {
        return refuse("ordering needs orderBy");
    }
    Ok(Texts {
        order_by,
        collation: text(ordering, "collation")?,
        from: ordering.get("coordinates").map(order::coordinates),
        geometry: text(ordering, "geometry")?,
    })
}

/// Checks that the body is a query and has nothing else.
pub(super) fn check_members(json: &Json, known: &[&str], later: &[&str]) -> Result<(), Problem> {
    let Json::Object(members) = json else {
        return Err(Problem::bad_data(format!(
            "a query is an object, not {}",
            json.kind()
        )));
    };
    for (name, _) in members {
        if later.contains(&name.as_str()) {
            let detail = format!("the member {name} of a query is not served by this version");
            return Err(Problem::new(ErrorType::OperationNotSupported, detail));
        }
        if !known.contains(&name.as_str()) {
            return Err(Problem::bad_data(format!(
                "a query has no member {:?}",
                start_of(name)
            )));
        }
    }
    if json.get("type").and_then(Json::as_str) != Some("Query") {
        return Err(Problem::bad_data("the type of a query is \"Query\""));
    }
    Ok(())
}

fn start_of(name: &str) -> String {
    name.chars().take(60).collect()
}

/// Reads the entities of a query and shows them.
async fn answer(call: Call, query: Query) -> Result<Response, Problem> {
    let local = call.params.flag("local")?;
    if !local && !query.selection.is_restricted() {
        return Err(Problem::bad_data(
            "the query is too wide: it needs type, attrs, q or georel, or local=true",
        ));
    }
    if query.selection.has_all_types() && call.params.get("local") == Some("false") {
        return Err(Problem::bad_data(
            "type=* is for this broker alone: local is not false",
        ));
    }
    let counted = call.params.flag("count")?;
    let (limit, offset) = (call.params.limit(counted)?, call.params.offset()?);
    let window = Window { limit, offset };
    let read = read(&call, &query, window, counted).await?;
    let question = Arc::new(Question { call, query });
    let (head, body) = match read {
        Read::Whole(body, head) => (head, body.into()),
        Read::Large => parts::send(&question, window, counted).await?,
    };
    let (call, query) = (&question.call, &question.query);
    let Showing { media, link, .. } = query.showing;
    let mut response = reply::read(media, body, &query.context, link);
    let headers = response.headers_mut();
    if let Some(count) = head.count {
        reply::append(
            headers,
            HeaderName::from_static("ngsild-results-count"),
            count.to_string(),
        );
    }
    for link in call.neighbours(limit, offset, head.more, media) {
        reply::append(headers, LINK, link);
    }
    Ok(response)
}

/// What came of reading a page at once.
enum Read {
    /// The answer, and what is known of the page.
    Whole(reply::Roomed, Head),
    /// It is too large for that, and can be sent in parts.
    Large,
}

async fn read(call: &Call, query: &Query, window: Window, counted: bool) -> Result<Read, Problem> {
    let Window { limit, .. } = window;
    let (store, answers, reach) = (&call.app.store, &call.app.rooms.answers, call.reach());
    let view = query.showing.view(&query.context);
    let count = counted.then(|| sql::count(reach, &query.selection));
    let mut writer = PageWriter::new(view, &query.showing, answers);
    if let (Some(count), 0) = (&count, limit) {
        let count = store.count(count).await.map_err(too_slow)?;
        let head = Head {
            more: false,
            count: Some(count),
        };
        return Ok(Read::Whole(writer.finish(true)?, head));
    }
    let statement = |sizes| sql::page(reach, &query.selection, query.ordering.as_ref(), window, sizes);
    let take = |entity: &Entity| writer.add(entity);
    let small = statement(Sizes::Small);
    let found = store.search(reach, &small, limit, count.as_ref(), take);
    let mut found = found.await.map_err(too_slow)?;
    // Where not all is shown only what is written tells.
    let left_out = if query.leaves_out(reach) {
        0
    } else {
        found.left_out
    };
    if writer.is_for_parts(left_out) {
        return Ok(Read::Large);
    }
    if found.large > 0 {
        // Again, with room for the largest: they come one by one.
        writer = PageWriter::new(view, &query.showing, answers);
        let room = store.room(weight::of_size(found.large)).await?;
        let take = |entity: &Entity| writer.add(entity);
        let any = statement(Sizes::Any);
        let again = store.search(reach, &any, limit, count.as_ref(), take);
        found = again.await.map_err(too_slow)?;
        drop(room);
        if writer.is_for_parts(0) {
            return Ok(Read::Large);
        }
    }
    let whole = found.whole && add_linked(store, reach, &mut writer).await?;
    let head = Head {
        more: found.more,
        count: found.count,
    };
    Ok(Read::Whole(writer.finish(whole)?, head))
}

/// A query that took longer than it may is too complex; a write that did is not.
#[must_use]
pub fn too_slow(error: StoreError) -> Problem {
    match error {
        StoreError::TooSlow => Problem::new(ErrorType::TooComplexQuery, "the query took longer than it may"),
        other => other.into(),
    }
}
