//! `/openapi.json`: the API as a document of OpenAPI 3.1, made of the [list of operations](crate::api::operations).
//!
//! * [`parameters`]: what is said of parameters, by name;
//! * [`answers`]: what answers every operation has, beside its own;
//! * `schemas.json`: the shapes of bodies, by name.

pub mod answers;
pub mod parameters;

use crate::api::accept::{Media, negotiate};
use crate::api::openapi::answers::{problems, responses};
use crate::api::openapi::parameters::{of_path, of_query};
use crate::api::operations::{BASE, Operation, Verb, table};
use crate::api::params::{Known, Limited, Params};
use crate::api::problem::Problem;
use crate::api::reply;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

pub(in crate::api) const DOCUMENT: Known = Known {
    names: &[],
    later: &[],
    options: &[],
    limited: Limited::Open,
};

/// The shapes of bodies: JSON Schema 2020-12, by name.
pub const SCHEMAS: &str = include_str!("schemas.json");

const DESCRIPTION: &str = "NGSI-LD as this broker serves it: ETSI GS CIM 009 v1.8.1, and orderBy and purge of v1.9.1. \
    Every operation is one tenant's: NGSILD-Tenant names it and is echoed on the answer. Names in bodies and URLs are those \
    of an @context: of a JSON-LD body its own, else that of the Link header. Distributed operations (context source \
    registrations and their subscriptions, entity maps) and snapshots answer 422 OperationNotSupported.";

/// The document never changes while the process runs.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(made().to_string()));

/// Serves the document. It is the same for every tenant, and there without a database.
pub async fn document(request: Request<Body>) -> Result<Response, Problem> {
    Params::read(request.uri().query(), &DOCUMENT)?;
    negotiate(request.headers(), &[Media::Json])?;
    Ok(reply::plain(StatusCode::OK, TEXT.clone()))
}

/// The document.
#[must_use]
pub fn made() -> Value {
    let mut paths = Map::new();
    for operation in table::operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.entry("parameters")
                .or_insert_with(|| of_path(operation.path));
            path.insert(operation.verb.name().to_owned(), described(&operation));
        }
    }
    // A document with broken schemas would be found by the first test; an empty set is no reason to fail a client.
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "mim-broker",
            "summary": "The native NGSI-LD context broker",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems(),
            "headers": answers::headers(),
            "parameters": parameters::headers(),
        },
    })
}

/// Adds a member to an object.
fn put(object: &mut Value, name: &str, member: impl Into<Value>) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), member.into());
    }
}

fn described(operation: &Operation) -> Value {
    let mut members = json!({
        "operationId": operation.id,
        "tags": [tag(operation.path)],
        "summary": operation.summary,
        "parameters": parameters_of(operation),
        "responses": responses(operation),
    });
    if !operation.clause.is_empty() {
        let clause = format!("ETSI GS CIM 009, clause {}", operation.clause);
        put(&mut members, "description", clause);
    }
    if let Some(schema) = operation.takes {
        put(&mut members, "requestBody", body(operation.verb, schema));
    }
    members
}

/// The first part of the path that says what it is about.
fn tag(path: &str) -> &str {
    let path = path.strip_prefix(BASE).unwrap_or(path);
    path.split('/').find(|part| !part.is_empty()).unwrap_or_default()
}

fn parameters_of(operation: &Operation) -> Value {
    let mut all = Vec::new();
    if operation.path.starts_with(BASE) {
        all.push(json!({"$ref": "#/components/parameters/NGSILD-Tenant"}));
        if uses_link(operation) {
            all.push(json!({"$ref": "#/components/parameters/Link"}));
        }
    }
    let names = operation.known.names.iter();
    all.extend(names.filter_map(|name| of_query(name, operation.known)));
    Value::Array(all)
}

/// Whether names are read or told in an @context. Of contexts themselves they are not.
fn uses_link(operation: &Operation) -> bool {
    operation.path.starts_with(BASE) && tag(operation.path) != "jsonldContexts"
}

fn body(verb: Verb, schema: &str) -> Value {
    let content = json!({"schema": {"$ref": format!("#/components/schemas/{schema}")}});
    let mut media = json!({"application/json": content, "application/ld+json": content});
    if verb == Verb::Patch {
        put(&mut media, "application/merge-patch+json", content);
    }
    json!({"required": true, "content": media})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::query;
    use crate::api::temporal::read;
    use std::collections::BTreeSet;

    fn schemas() -> Value {
        serde_json::from_str(SCHEMAS).unwrap()
    }

    fn members(schema: &str) -> BTreeSet<String> {
        let schemas = schemas();
        schemas[schema]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
        let mut ids = BTreeSet::new();
        for operation in table::operations() {
            assert!(ids.insert(operation.id), "{}", operation.id);
            assert!(!operation.summary.is_empty(), "{}", operation.id);
            assert!(
                operation.clause.starts_with("5.") || operation.path == "/openapi.json",
                "{}",
                operation.id
            );
        }
    }

    #[test]
    fn every_operation_stands_in_the_page_about_what_is_served() {
        let page = include_str!("../../../../../docs/broker.md");
        for operation in table::operations().iter().filter(|one| !one.clause.is_empty()) {
            for words in [operation.id, operation.path.strip_prefix(BASE).unwrap()] {
                assert!(page.contains(words), "docs/broker.md does not tell of {words}");
            }
        }
    }

    #[test]
    fn every_parameter_of_every_operation_is_described() {
        for operation in table::operations() {
            let described = parameters_of(&operation);
            let described: Vec<&str> = described
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            assert_eq!(described, operation.known.names, "{}", operation.id);
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there_and_none_is_named_by_nobody() {
        let schemas = schemas();
        let there: BTreeSet<String> = schemas.as_object().unwrap().keys().cloned().collect();
        let text = made().to_string();
        let named: BTreeSet<String> = text
            .split("#/components/schemas/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next().map(str::to_owned))
            .collect();
        assert_eq!(named, there);
    }

    #[test]
    fn queries_by_body_are_described_with_the_members_that_are_served() {
        assert_eq!(members("Query"), query::MEMBERS.map(str::to_owned).into());
        assert_eq!(members("TemporalQuery"), read::MEMBERS.map(str::to_owned).into());
    }
}
