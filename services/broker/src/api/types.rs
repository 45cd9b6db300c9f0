//! `/types` and `/types/{type}` (clauses 5.7.5 to 5.7.7).

use crate::api::App;
use crate::api::accept::{Media, OFFERED, negotiate};
use crate::api::call::Call;
use crate::api::params::{Known, MAX_LIMIT};
use crate::api::problem::Problem;
use crate::api::query::too_slow;
use crate::api::reply;
use crate::context::Context;
use crate::model::json::Json;
use crate::model::read::expanded_name;
use crate::store::types::TypeDetails;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::Request;
use http::header::LINK;

const LIST: Known = Known {
    names: &["details", "limit", "offset", "local"],
    later: &[],
    options: &[],
};
const ONE: Known = Known {
    names: &["local"],
    later: &[],
    options: &[],
};

/// The types, or with `details=true` what entities of them have.
pub async fn list(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &LIST)?;
    let context = call.link_context().await?;
    let media = negotiate(&call.head.headers, &OFFERED)?;
    let offset = call.params.offset()?;
    let limit = if call.params.get("limit").is_some() {
        call.params.limit(false)?
    } else {
        MAX_LIMIT
    };
    // One more tells whether there is a page after this one.
    let of_page = (
        i64::try_from(offset).unwrap_or(i64::MAX),
        i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1,
    );
    let (body, found) = if call.params.flag("details")? {
        let types = call
            .app
            .store
            .types_with_attributes(call.tenant, of_page.0, of_page.1);
        let types = types.await.map_err(too_slow)?;
        let shown = types
            .iter()
            .take(limit)
            .map(|(iri, attributes)| with_context(entity_type(iri, attributes, &context), media, &context));
        (Json::Array(shown.collect()), types.len())
    } else {
        let types = call
            .app
            .store
            .type_names(call.tenant, of_page.0, of_page.1)
            .await?;
        let names = types.iter().take(limit).map(|iri| name(iri, &context)).collect();
        (with_context(type_list(names), media, &context), types.len())
    };
    let body = reply::roomed(body.to_text(), &call.app.rooms.answers).await?;
    let mut response = reply::read(media, body, &context, media == Media::Json);
    if found > limit {
        let next = call
            .params
            .page(limit, offset + u64::try_from(limit).unwrap_or(u64::MAX));
        let text = format!(
            "<{}?{next}>;rel=\"next\";type=\"{}\"",
            call.head.uri.path(),
            media.name()
        );
        reply::append(response.headers_mut(), LINK, text);
    }
    Ok(response)
}

/// One type.
pub async fn one(
    State(app): State<App>,
    Path(type_name): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &ONE)?;
    let context = call.link_context().await?;
    let media = negotiate(&call.head.headers, &OFFERED)?;
    let iri = expanded_name(&context, &type_name)?;
    let details = call
        .app
        .store
        .type_details(call.tenant, &iri)
        .await
        .map_err(too_slow)?;
    let details = details.ok_or_else(|| Problem::not_found(format!("no entity has the type {iri}")))?;
    let body = with_context(type_info(&iri, &details, &context), media, &context);
    let body = reply::roomed(body.to_text(), &call.app.rooms.answers).await?;
    Ok(reply::read(media, body, &context, media == Media::Json))
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn name(iri: &str, context: &Context) -> Json {
    Json::string(context.compact(iri))
}

fn with_context(mut body: Json, media: Media, context: &Context) -> Json {
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

fn entity_type(iri: &str, attributes: &[String], context: &Context) -> Json {
    object([
        ("id", Json::string(iri)),
        ("type", Json::string("EntityType")),
        ("typeName", name(iri, context)),
        (
            "attributeNames",
            Json::Array(attributes.iter().map(|a| name(a, context)).collect()),
        ),
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
