//! What a request does, by its method and its path (GS CIM 009 clause 6.2): the words that rules and the audit trail use.

use crate::checks::target::Target;
use http::Method;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Operation {
    /// Entities, types and attributes are read.
    Read,
    /// Entities are made.
    Create,
    /// Entities are changed; those that are not there may be made.
    Update,
    /// Entities are deleted.
    Delete,
    /// Subscriptions are kept or read.
    Subscribe,
    /// The past is read or written.
    Temporal,
    /// What belongs to the broker: registrations, hosted contexts, snapshots.
    Admin,
    /// Nothing that NGSI-LD knows.
    Other,
}

/// What a request does, and the id in its path.
#[must_use]
pub fn of(method: &Method, target: &Target) -> (Operation, Option<String>) {
    let mut segments = target.segments();
    if (segments.next().as_deref(), segments.next().as_deref()) != (Some("ngsi-ld"), Some("v1")) {
        return (Operation::Other, None);
    }
    let (resource, id) = (segments.next().unwrap_or_default(), segments.next());
    let id = id.filter(|id| !id.is_empty()).map(std::borrow::Cow::into_owned);
    match &*resource {
        "entities" => (
            on_entities(
                method,
                id.is_some(),
                segments.next().is_some_and(|next| !next.is_empty()),
            ),
            id,
        ),
        "entityOperations" => (on_batches(id.as_deref()), None),
        "types" | "attributes" => (Operation::Read, None),
        "subscriptions" => (Operation::Subscribe, id),
        "temporal" => {
            let past = segments
                .next()
                .filter(|past| !past.is_empty() && id.as_deref() == Some("entities"));
            (Operation::Temporal, past.map(std::borrow::Cow::into_owned))
        }
        "csourceRegistrations"
        | "csourceSubscriptions"
        | "jsonldContexts"
        | "snapshots"
        | "entityMaps"
        | "info" => (Operation::Admin, id),
        _ => (Operation::Other, None),
    }
}

/// Whoever deletes an attribute changes its entity, and so does a POST of attributes; one to the list makes it.
fn on_entities(method: &Method, has_id: bool, is_of_attributes: bool) -> Operation {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Operation::Read,
        Method::DELETE if !is_of_attributes => Operation::Delete,
        Method::POST if !has_id => Operation::Create,
        _ => Operation::Update,
    }
}

fn on_batches(kind: Option<&str>) -> Operation {
    match kind {
        Some("create") => Operation::Create,
        Some("update" | "upsert" | "merge") => Operation::Update,
        Some("delete" | "purge") => Operation::Delete,
        Some("query") => Operation::Read,
        _ => Operation::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_does_what_the_standard_says() {
        for (method, path, operation, id) in [
            ("GET", "/ngsi-ld/v1/entities?type=A", Operation::Read, None),
            ("POST", "/ngsi-ld/v1/entities", Operation::Create, None),
            ("POST", "/ngsi-ld/v1/entities/", Operation::Create, None),
            (
                "DELETE",
                "/ngsi-ld/v1/entities/urn:a%3Ab",
                Operation::Delete,
                Some("urn:a:b"),
            ),
            (
                "POST",
                "/ngsi-ld/v1/entities/urn:a/attrs",
                Operation::Update,
                Some("urn:a"),
            ),
            (
                "DELETE",
                "/ngsi-ld/v1/entities/urn:a/attrs/x",
                Operation::Update,
                Some("urn:a"),
            ),
            (
                "PUT",
                "/ngsi-ld/v1/entities/urn:a",
                Operation::Update,
                Some("urn:a"),
            ),
            (
                "POST",
                "/ngsi-ld/v1/entityOperations/query",
                Operation::Read,
                None,
            ),
            (
                "POST",
                "/ngsi-ld/v1/entityOperations/upsert",
                Operation::Update,
                None,
            ),
            (
                "POST",
                "/ngsi-ld/v1/entityOperations/delete",
                Operation::Delete,
                None,
            ),
            (
                "GET",
                "/ngsi-ld/v1/subscriptions/urn:s",
                Operation::Subscribe,
                Some("urn:s"),
            ),
            (
                "GET",
                "/ngsi-ld/v1/temporal/entities/urn:a",
                Operation::Temporal,
                Some("urn:a"),
            ),
            (
                "POST",
                "/ngsi-ld/v1/temporal/entityOperations/query",
                Operation::Temporal,
                None,
            ),
            ("POST", "/ngsi-ld/v1/jsonldContexts", Operation::Admin, None),
            ("GET", "/ngsi-ld/v2/entities", Operation::Other, None),
            ("GET", "/", Operation::Other, None),
        ] {
            let target = Target::read(path.as_bytes()).unwrap();
            let found = of(&method.parse().unwrap(), &target);
            assert_eq!(found, (operation, id.map(str::to_owned)), "{method} {path}");
        }
    }
}
