//! What is said of parameters: those of the query string by their names, which mean the same wherever they are.

use crate::api::openapi::put;
use crate::api::params::{DEFAULT_LIMIT, Known, MAX_LIMIT};
use crate::model::geometry;
use serde_json::{Value, json};

/// A parameter of the query string; `None` where nobody has said what it is.
#[must_use]
pub fn of_query(name: &str, known: &Known) -> Option<Value> {
    let (what, schema) = match name {
        "options" => (
            "Formats and other options; format wins over formats among them",
            options(known),
        ),
        "format" => ("The representation", format(known)),
        other => described(other)?,
    };
    let is_list = schema.get("type").and_then(Value::as_str) == Some("array");
    let mut parameter = json!({"name": name, "in": "query", "description": what, "schema": schema});
    if is_list {
        put(&mut parameter, "style", "form");
        put(&mut parameter, "explode", false);
    }
    Some(parameter)
}

fn options(known: &Known) -> Value {
    json!({"type": "array", "items": {"type": "string", "enum": known.options}})
}

fn format(known: &Known) -> Value {
    let formats = known.options.iter().filter(|option| **option != "sysAttrs");
    json!({"type": "string", "enum": formats.collect::<Vec<_>>(), "default": "normalized"})
}

fn described(name: &str) -> Option<(&'static str, Value)> {
    selecting(name)
        .or_else(|| showing(name))
        .or_else(|| ordering(name))
        .or_else(|| of_times(name))
        .or_else(|| writing(name))
}

fn text() -> Value {
    json!({"type": "string"})
}

fn list() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn uris() -> Value {
    json!({"type": "array", "items": {"type": "string", "format": "uri"}})
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn flag() -> Value {
    json!({"type": "boolean", "default": false})
}

fn selecting(name: &str) -> Option<(&'static str, Value)> {
    Some(match name {
        "id" => ("Entities with one of these ids", uris()),
        "type" => (
            "Entities of these types: names or IRIs with , | ; and (); * is every type",
            text(),
        ),
        "idPattern" => ("Entities whose id matches this regular expression", text()),
        "q" => ("Entities whose attributes satisfy this (clause 4.9)", text()),
        "scopeQ" => ("Entities with such a scope (clause 4.19)", text()),
        "expandValues" => ("Attributes whose values in q are names to be expanded", list()),
        "jsonKeys" => ("Attributes whose keys in q are not expanded", list()),
        "georel" => (
            "How the geometry of an entity lies to the given one (clause 4.10), as near;maxDistance==2000",
            text(),
        ),
        "geometry" => ("The kind of the given geometry", one_of(&geometry::NAMES)),
        "coordinates" => ("The coordinates of the given geometry, as JSON", text()),
        "geoproperty" => (
            "The attribute that has the geometry of an entity; location where absent",
            text(),
        ),
        "local" => (
            "Only what this broker keeps itself, which is all that there is",
            flag(),
        ),
        "kind" => (
            "Only @contexts of this kind",
            one_of(&["Hosted", "Cached", "ImplicitlyCreated"]),
        ),
        _ => return None,
    })
}

fn showing(name: &str) -> Option<(&'static str, Value)> {
    Some(match name {
        "attrs" => (
            "Entities that have one of these attributes, and of them these only; better: pick",
            list(),
        ),
        "pick" => (
            "Show these members only: names with , or |, and those of linked entities in {}",
            text(),
        ),
        "omit" => ("Do not show these members", text()),
        "lang" => (
            "Show LanguageProperties in the best of these languages, as Accept-Language has them; where values are merged, their language",
            text(),
        ),
        "datasetId" => (
            "Only instances with these datasetIds; @none is the default one",
            list(),
        ),
        "join" => ("Show linked entities too", one_of(&["inline", "flat", "@none"])),
        "joinLevel" => (
            "How far links are followed",
            json!({"type": "integer", "minimum": 1, "default": 1}),
        ),
        "containedBy" => (
            "Linked entities that are not shown, as they are there already",
            uris(),
        ),
        "geometryProperty" => (
            "The attribute whose geometry a GeoJSON feature has; location where absent",
            text(),
        ),
        "details" => ("More than the names", flag()),
        _ => return None,
    })
}

fn ordering(name: &str) -> Option<(&'static str, Value)> {
    Some(match name {
        "orderBy" => (
            "The order: members, each with ;asc, ;desc, ;dist-asc or ;dist-desc (v1.9.1)",
            list(),
        ),
        "orderFrom" => (
            "Coordinates from which orderBy measures distances, as JSON",
            text(),
        ),
        "orderGeometry" => ("The kind of the geometry of orderFrom", text()),
        "collation" => ("In which language texts are ordered", text()),
        "limit" => (
            "How many at most; 0 with count=true only",
            json!({"type": "integer", "minimum": 0, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
        ),
        "offset" => (
            "How many to leave out before",
            json!({"type": "integer", "minimum": 0, "maximum": u32::MAX, "default": 0}),
        ),
        "count" => ("Tell in NGSILD-Results-Count how many there are", flag()),
        _ => return None,
    })
}

fn of_times(name: &str) -> Option<(&'static str, Value)> {
    let time = || json!({"type": "string", "format": "date-time"});
    Some(match name {
        "timerel" => (
            "How times lie to the given ones",
            one_of(&["before", "after", "between"]),
        ),
        "timeAt" => ("The given time, in UTC", time()),
        "endTimeAt" => ("Where between ends, in UTC", time()),
        "timeproperty" => (
            "Which time of an instance",
            json!({"type": "string", "enum": ["observedAt", "createdAt", "modifiedAt", "deletedAt"], "default": "observedAt"}),
        ),
        "lastN" => (
            "The last instances of each attribute, so many",
            json!({"type": "integer", "minimum": 1}),
        ),
        "aggrMethods" => (
            "What aggregatedValues computes",
            json!({"type": "array", "items": one_of(&["totalCount", "distinctCount", "sum", "avg", "min", "max", "stddev", "sumsq"])}),
        ),
        "aggrPeriodDuration" => (
            "The length of periods that aggregatedValues computes for; PT0S is one for all",
            json!({"type": "string", "format": "duration", "default": "PT0S"}),
        ),
        "observedAt" => ("When values that are merged without a time were observed", time()),
        _ => return None,
    })
}

fn writing(name: &str) -> Option<(&'static str, Value)> {
    Some(match name {
        "deleteAll" => ("All instances of the attribute, not only the default one", flag()),
        "reload" => ("Fetch a Cached @context anew instead of deleting it", flag()),
        "keep" => ("The attributes that stay; all others go", list()),
        "drop" => ("The attributes that go; all others stay", list()),
        _ => return None,
    })
}

/// The parameters of a path.
#[must_use]
pub fn of_path(path: &str) -> Value {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let described = names.map(|name| {
        let what = match name {
            "id" if path.starts_with("/ngsi-ld/v1/jsonldContexts") => "The id of the @context, or its URL",
            "id" => "The id, a URI",
            "attr" => "The name of the attribute, or its IRI",
            "type" => "The name of the type, or its IRI",
            "instance" => "The instanceId, a URI",
            _ => "",
        };
        json!({"name": name, "in": "path", "required": true, "description": what, "schema": {"type": "string"}})
    });
    Value::Array(described.collect())
}

/// Headers of requests, by name.
#[must_use]
pub fn headers() -> Value {
    json!({
        "NGSILD-Tenant": {
            "name": "NGSILD-Tenant",
            "in": "header",
            "description": "Whose data; without it that of the default tenant",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,63}$"},
        },
        "Link": {
            "name": "Link",
            "in": "header",
            "description": format!(
                "The @context of names in the URL, in a body of application/json and in the answer: <URL>; rel=\"{}\"; type=\"application/ld+json\"",
                crate::context::RELATION
            ),
            "schema": {"type": "string"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::table;

    #[test]
    fn every_part_of_a_path_is_described() {
        for operation in table::operations() {
            for parameter in of_path(operation.path).as_array().unwrap() {
                assert_ne!(parameter["description"], "", "{}: {parameter}", operation.path);
            }
        }
    }
}
