//! `/types` and `/attributes` (clauses 5.7.5 to 5.7.10, 6.25 to 6.28).

use crate::api::App;
use crate::api::accept::{Media, OFFERED, negotiate};
use crate::api::call::Call;
use crate::api::params::{Known, Limited, MAX_LIMIT};
use crate::api::problem::Problem;
use crate::api::query::too_slow;
use crate::api::reply;
use crate::context::Context;
use crate::model::json::Json;
use crate::model::read::expanded_name;
use crate::query::sql::discovery::Range;
use crate::store::names::AttributeDetails;
use crate::store::types::TypeDetails;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use http::header::LINK;
use std::sync::Arc;

pub(in crate::api) const LIST: Known = Known {
    names: &["details", "limit", "offset", "local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};
pub(in crate::api) const ONE: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
    limited: Limited::Obeyed,
};

/// The types, or with `details=true` what entities of them have.
pub async fn list(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let listing = Listing::begin(app, request).await?;
    let (store, reach) = (&listing.call.app.store, listing.call.reach());
    let range = listing.range();
    let names = if listing.details {
        let types = store.types_with_attributes(reach, range).await;
        Names::Detailed(types.map_err(too_slow)?, entity_type)
    } else {
        let names = store.type_names(reach, range).await;
        Names::Plain(names.map_err(too_slow)?, type_list)
    };
    listing.answer(&names).await
}

/// One type.
pub async fn one(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let single = Single::begin(app, request, &name).await?;
    let store = &single.call.app.store;
    let details = store.type_details(single.call.reach(), &single.iri).await;
    let details = details.map_err(too_slow)?;
    let details =
        details.ok_or_else(|| Problem::not_found(format!("no entity has the type {}", single.iri)))?;
    let body = type_info(&single.iri, &details, &single.context);
    single.answer(body).await
}

/// The attributes, or with `details=true` which entities have them.
pub async fn list_attributes(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let listing = Listing::begin(app, request).await?;
    let (store, reach) = (&listing.call.app.store, listing.call.reach());
    let range = listing.range();
    let names = if listing.details {
        let attributes = store.attributes_with_types(reach, range).await;
        Names::Detailed(attributes.map_err(too_slow)?, attribute)
    } else {
        let names = store.attribute_names(reach, range).await;
        Names::Plain(names.map_err(too_slow)?, attribute_list)
    };
    listing.answer(&names).await
}

/// One attribute.
pub async fn one_attribute(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let single = Single::begin(app, request, &name).await?;
    let store = &single.call.app.store;
    let details = store.attribute_details(single.call.reach(), &single.iri).await;
    let details = details.map_err(too_slow)?;
    let details =
        details.ok_or_else(|| Problem::not_found(format!("no entity has the attribute {}", single.iri)))?;
    let body = attribute_info(&single.iri, &details, &single.context);
    single.answer(body).await
}

/// A request for one of them, by its name.
struct Single {
    call: Call,
    context: Arc<Context>,
    media: Media,
    iri: String,
}

impl Single {
    async fn begin(app: App, request: Request<Body>, name: &str) -> Result<Self, Problem> {
        let (call, _) = Call::begin(app, request, &ONE)?;
        call.params.flag("local")?;
        let context = call.link_context().await?;
        let media = negotiate(&call.head.headers, &OFFERED)?;
        let iri = expanded_name(&context, name)?;
        Ok(Self {
            call,
            context,
            media,
            iri,
        })
    }

    async fn answer(&self, body: Json) -> Result<Response, Problem> {
        let body = with_context(body, self.media, &self.context);
        let body = reply::roomed(body.to_text(), &self.call.app.rooms.answers).await?;
        Ok(reply::read(
            self.media,
            body,
            &self.context,
            self.media == Media::Json,
        ))
    }
}

/// A request for a list of them.
struct Listing {
    call: Call,
    context: Arc<Context>,
    media: Media,
    details: bool,
    limit: usize,
    offset: u64,
}

/// What was found, and how it is shown.
enum Names {
    /// IRIs.
    Plain(Vec<String>, fn(Vec<Json>) -> Json),
    /// IRIs, each with those of what belongs to it.
    Detailed(Vec<(String, Vec<String>)>, fn(&str, &[String], &Context) -> Json),
}

impl Listing {
    async fn begin(app: App, request: Request<Body>) -> Result<Self, Problem> {
        let (call, _) = Call::begin(app, request, &LIST)?;
        call.params.flag("local")?;
        let context = call.link_context().await?;
        let media = negotiate(&call.head.headers, &OFFERED)?;
        let offset = call.params.offset()?;
        let limit = if call.params.get("limit").is_some() {
            call.params.limit(false)?
        } else {
            MAX_LIMIT
        };
        let details = call.params.flag("details")?;
        Ok(Self {
            call,
            context,
            media,
            details,
            limit,
            offset,
        })
    }

    /// What to read: one more tells whether there is a page after this one.
    fn range(&self) -> Range {
        Range {
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            limit: i64::try_from(self.limit).unwrap_or(i64::MAX - 1) + 1,
        }
    }

    async fn answer(&self, names: &Names) -> Result<Response, Problem> {
        let (media, context) = (self.media, &self.context);
        let (body, found) = match names {
            Names::Plain(iris, show) => {
                let names = iris.iter().take(self.limit);
                let names = names.map(|iri| name(iri, context)).collect();
                (with_context(show(names), media, context), iris.len())
            }
            Names::Detailed(all, show) => {
                let shown = all.iter().take(self.limit);
                let shown = shown.map(|(iri, of)| with_context(show(iri, of, context), media, context));
                (Json::Array(shown.collect()), all.len())
            }
        };
        let body = reply::roomed(body.to_text(), &self.call.app.rooms.answers).await?;
        let mut response = reply::read(media, body, context, media == Media::Json);
        if found > self.limit {
            let next = self.offset + u64::try_from(self.limit).unwrap_or(u64::MAX);
            let text = format!(
                "<{}?{}>;rel=\"next\";type=\"{}\"",
                self.call.head.uri.path(),
                self.call.params.page(self.limit, next),
                media.name()
            );
            reply::append(response.headers_mut(), LINK, text);
        }
        Ok(response)
    }
}

pub(in crate::api) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn name(iri: &str, context: &Context) -> Json {
    Json::string(context.name(iri))
}

pub(in crate::api) fn with_context(mut body: Json, media: Media, context: &Context) -> Json {
    if let (Media::LdJson, Json::Object(members)) = (media, &mut body) {
        members.push(("@context".to_owned(), Json::string(context.link())));
    }
    body
}

fn type_list(names: Vec<Json>) -> Json {
    object([
        // One list per broker and tenant: there is nothing it could be told apart from.
        ("id", Json::string("urn:ngsi-ld:EntityTypeList:mim")),
        ("type", Json::string("EntityTypeList")),
        ("typeList", Json::Array(names)),
    ])
}

fn attribute_list(names: Vec<Json>) -> Json {
    object([
        ("id", Json::string("urn:ngsi-ld:AttributeList:mim")),
        ("type", Json::string("AttributeList")),
        ("attributeList", Json::Array(names)),
    ])
}

fn names(iris: &[String], context: &Context) -> Json {
    Json::Array(iris.iter().map(|iri| name(iri, context)).collect())
}

fn entity_type(iri: &str, attributes: &[String], context: &Context) -> Json {
    object([
        ("id", Json::string(iri)),
        ("type", Json::string("EntityType")),
        ("typeName", name(iri, context)),
        ("attributeNames", names(attributes, context)),
    ])
}

fn attribute(iri: &str, types: &[String], context: &Context) -> Json {
    object([
        ("id", Json::string(iri)),
        ("type", Json::string("Attribute")),
        ("attributeName", name(iri, context)),
        ("typeNames", names(types, context)),
    ])
}

fn attribute_info(iri: &str, details: &AttributeDetails, context: &Context) -> Json {
    object([
        ("id", Json::string(iri)),
        ("type", Json::string("Attribute")),
        ("attributeName", name(iri, context)),
        ("attributeCount", Json::Number(details.count.to_string().into())),
        (
            "attributeTypes",
            Json::Array(details.kinds.iter().map(Json::string).collect()),
        ),
        ("typeNames", names(&details.types, context)),
    ])
}

fn type_info(iri: &str, details: &TypeDetails, context: &Context) -> Json {
    let attributes = details.attributes.iter().map(|(attribute, kinds)| {
        object([
            ("id", Json::string(attribute)),
            ("type", Json::string("Attribute")),
            ("attributeName", name(attribute, context)),
            (
                "attributeTypes",
                Json::Array(kinds.iter().map(Json::string).collect()),
            ),
        ])
    });
    object([
        ("id", Json::string(iri)),
        ("type", Json::string("EntityTypeInfo")),
        ("typeName", name(iri, context)),
        ("entityCount", Json::Number(details.count.to_string().into())),
        ("attributeDetails", Json::Array(attributes.collect())),
    ])
}
