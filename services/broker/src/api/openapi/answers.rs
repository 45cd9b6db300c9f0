//! The answers of operations: their own, and those that follow from what an operation is.

use crate::api::openapi::{put, uses_link};
use crate::api::operations::{BASE, Body, Operation};
use serde_json::{Map, Value, json};

/// Problems that several operations have: name, status, when.
const PROBLEMS: [(&str, u16, &str); 11] = [
    (
        "BadRequest",
        400,
        "The request or its data is wrong (InvalidRequest, BadRequestData)",
    ),
    (
        "Forbidden",
        403,
        "The answer would cost or hold too much (TooComplexQuery, TooManyResults), the tenant has as much as it may have (QuotaExceeded), or who asks may not do that (about:blank)",
    ),
    (
        "NotFound",
        404,
        "There is no such thing (ResourceNotFound), or no such tenant (NonexistentTenant)",
    ),
    ("NotAcceptable", 406, "Nothing that Accept asks for is available"),
    ("LengthRequired", 411, "The body came without Content-Length"),
    ("TooLarge", 413, "The body is larger than it may be"),
    (
        "UnsupportedMediaType",
        415,
        "The body is of another media type, or encoded",
    ),
    (
        "NotSupported",
        422,
        "This version or configuration of the broker does not do that (OperationNotSupported)",
    ),
    ("Unavailable", 503, "Not now; Retry-After says when to try again"),
    (
        "ContextNotAvailable",
        504,
        "An @context could not be fetched (LdContextNotAvailable); a setting makes it 503",
    ),
    ("Problem", 0, "Any other problem"),
];

/// Descriptions of [`PROBLEMS`], by name.
#[must_use]
pub fn problems() -> Value {
    let described = PROBLEMS.iter().map(|(name, status, when)| {
        let mut response =
            json!({"description": when, "content": content(&["application/json"], "ProblemDetails")});
        if *status == 503 {
            put(&mut response, "headers", named(&["Retry-After"]));
        }
        ((*name).to_owned(), response)
    });
    Value::Object(described.collect())
}

/// Headers of answers, by name.
#[must_use]
pub fn headers() -> Value {
    let header = |what: &str, kind: &str| json!({"description": what, "schema": {"type": kind}});
    json!({
        "Location": header("The path of what was created", "string"),
        "Link": header("The @context of an answer of application/json, and the pages before and after this one", "string"),
        "NGSILD-Results-Count": header("How many there are on all pages; with count=true", "integer"),
        "Content-Range": header("Of which times this part is", "string"),
        "Retry-After": header("In how many seconds it is worth to try again", "integer"),
    })
}

/// The answers of an operation.
#[must_use]
pub fn responses(operation: &Operation) -> Value {
    let mut all = Map::new();
    for gives in &operation.gives {
        let mut response = json!({"description": gives.when});
        let content = match gives.body {
            Body::Empty => None,
            Body::Plain(schema) => Some(content(&["application/json"], schema)),
            Body::Negotiated(schema) => Some(content(&["application/json", "application/ld+json"], schema)),
            Body::Entities(schema, features) => Some(entities(schema, features)),
        };
        if let Some(content) = content {
            put(&mut response, "content", content);
        }
        let headers = headers_of(operation, gives.status);
        if !headers.is_empty() {
            put(&mut response, "headers", named(&headers));
        }
        all.insert(gives.status.to_string(), response);
    }
    for (name, status, _) in PROBLEMS
        .iter()
        .filter(|(_, status, _)| can_have(operation, *status))
    {
        let status = if *status == 0 {
            "default".to_owned()
        } else {
            status.to_string()
        };
        all.entry(status)
            .or_insert_with(|| json!({"$ref": format!("#/components/responses/{name}")}));
    }
    Value::Object(all)
}

fn entities(schema: &str, features: &str) -> Value {
    let mut content = content(&["application/json", "application/ld+json"], schema);
    put(
        &mut content,
        "application/geo+json",
        json!({"schema": reference(features)}),
    );
    content
}

fn content(media: &[&str], schema: &str) -> Value {
    let of = media
        .iter()
        .map(|media| ((*media).to_owned(), json!({"schema": reference(schema)})));
    Value::Object(of.collect())
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn named(headers: &[&str]) -> Value {
    let of = headers.iter().map(|name| {
        (
            (*name).to_owned(),
            json!({"$ref": format!("#/components/headers/{name}")}),
        )
    });
    Value::Object(of.collect())
}

fn headers_of(operation: &Operation, status: u16) -> Vec<&'static str> {
    let mut headers = Vec::new();
    if status == 201
        && operation
            .gives
            .iter()
            .any(|gives| gives.status == 201 && matches!(gives.body, Body::Empty))
    {
        headers.push("Location");
    }
    if matches!(status, 200 | 206) {
        if uses_link(operation) {
            headers.push("Link");
        }
        if operation.known.names.contains(&"count") {
            headers.push("NGSILD-Results-Count");
        }
    }
    if status == 206 {
        headers.push("Content-Range");
    }
    headers
}

/// Whether a problem of this status can come of the operation.
fn can_have(operation: &Operation, status: u16) -> bool {
    let ours = !operation.path.starts_with(BASE);
    let has_body = operation.takes.is_some();
    let reads = operation.gives.iter().any(|gives| gives.status == 200);
    match status {
        0 | 400 => true,
        406 => reads,
        411 | 413 | 415 => has_body,
        504 => uses_link(operation),
        _ => !ours,
    }
}
