//! What may stand as a value: of an id, a scope, a time, a geometry, a link, a text. From JSON to JSON, checked.

use crate::model::geometry::Geometry;
use crate::model::json::Json;
use crate::model::names::{MAX_IRI, NONE, NULL, is_date_time, is_scope, is_uri};
use crate::model::{Refusal, refuse};

/// How many items a list of names may have.
const MAX_TEXTS: usize = 1000;

/// Reads the id of an entity.
pub fn id(value: &Json) -> Result<String, Refusal> {
    match value {
        Json::String(text) if is_uri(text) => Ok(text.clone()),
        Json::String(text) => refuse(format!(
            "the id {:?} is not a URI of at most {MAX_IRI} bytes",
            shortened(text)
        )),
        other => refuse(format!("the id is a URI, not {}", other.kind())),
    }
}

/// At most 100 characters of a text, for messages.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

pub(super) fn one_or_more<'a>(value: &'a Json, what: &str) -> Result<Vec<&'a str>, Refusal> {
    let texts: Option<Vec<&str>> = match value {
        Json::String(text) => Some(vec![text]),
        Json::Array(items) if !items.is_empty() => items.iter().map(Json::as_str).collect(),
        _ => None,
    };
    match texts {
        Some(texts) if texts.len() > MAX_TEXTS => refuse(format!("{what} has more than {MAX_TEXTS} items")),
        Some(texts) => Ok(texts),
        None => refuse(format!("{what} is a string or an array of strings")),
    }
}

pub(super) fn scope(value: &Json) -> Result<Vec<String>, Refusal> {
    let scopes = one_or_more(value, "scope")?;
    if let Some(bad) = scopes.iter().find(|s| !is_scope(s)) {
        return refuse(format!(
            "{:?} is not a scope like /Madrid/Gardens",
            shortened(bad)
        ));
    }
    Ok(scopes.into_iter().map(str::to_owned).collect())
}

pub(super) fn date_time(value: &Json) -> Result<String, Refusal> {
    // The typed form of JSON-LD says the same.
    let text = value
        .as_str()
        .or_else(|| value.get("@value").and_then(Json::as_str));
    match text {
        Some(text) if is_date_time(text) => Ok(text.to_owned()),
        _ => {
            refuse("observedAt is a DateTime in UTC like 2024-01-31T12:00:00Z or 2024-01-31T12:00:00.123456Z")
        }
    }
}

/// Reads a dataset id; `@none` is the default instance.
pub fn dataset(value: &Json) -> Result<Option<String>, Refusal> {
    match value.as_str() {
        Some(NONE) => Ok(None),
        Some(text) if is_uri(text) => Ok(Some(text.to_owned())),
        _ => refuse("datasetId is a URI or @none"),
    }
}

pub(super) fn geometry(value: &Json) -> Result<Json, Refusal> {
    if let Json::String(text) = value {
        let parsed =
            Json::parse(text.as_bytes()).map_err(|e| Refusal(format!("the text of a geometry is {e}")))?;
        return Geometry::of(&parsed).map(|_| parsed);
    }
    Geometry::of(value).map(|_| value.clone())
}

pub(super) fn uri(value: &Json) -> Result<Json, Refusal> {
    no_nulls(value)?;
    match value {
        Json::String(text) if is_uri(text) => Ok(value.clone()),
        other => refuse(format!(
            "the object of a relationship is a URI, not {}",
            shortened(&other.to_text())
        )),
    }
}

pub(super) fn relationship(value: &Json) -> Result<Json, Refusal> {
    match value {
        Json::Array(items) if items.is_empty() => refuse("the object of a relationship is an empty array"),
        Json::Array(items) => Ok(Json::Array(items.iter().map(uri).collect::<Result<_, _>>()?)),
        single => uri(single),
    }
}

pub(super) fn object_list(value: &Json) -> Result<Json, Refusal> {
    match value {
        Json::Array(items) => {
            let uris = items.iter().map(|item| uri(item.get("object").unwrap_or(item)));
            Ok(Json::Array(uris.collect::<Result<_, _>>()?))
        }
        other => refuse(format!("objectList is an array, not {}", other.kind())),
    }
}

/// Whether the text is the name of a language in a language map; `@none` is that of no language.
#[must_use]
pub fn is_language_tag(text: &str) -> bool {
    text == NONE || (!text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
}

/// Whether the value is the null of NGSI-LD.
pub(super) fn is_null(value: &Json) -> bool {
    value.as_str() == Some(NULL)
}

pub(super) fn no_nulls(value: &Json) -> Result<(), Refusal> {
    match value {
        Json::String(text) if text == NULL => refuse(format!("{NULL} inside a value is not allowed here")),
        Json::Array(items) => items.iter().try_for_each(no_nulls),
        Json::Object(members) => members.iter().try_for_each(|(_, v)| no_nulls(v)),
        _ => Ok(()),
    }
}
