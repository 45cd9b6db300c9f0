//! `/info/sourceIdentity` (clauses 5.2.40, 5.15.1 and 6.33): who this broker is, so that others who forward to it know it
//! again.
//!
//! All replicas are one broker, and each tenant of it is told apart. The alias comes from the moment in which the database
//! was made, which every replica reads and which a backup keeps, and from the tenant's name. How long it has been there is
//! said by the replica that answers, of itself.

use crate::api::App;
use crate::api::accept::{Media, OFFERED, negotiate};
use crate::api::call::{Call, tenant_name};
use crate::api::params::{Known, Limited};
use crate::api::problem::Problem;
use crate::api::reply;
use crate::api::types::{object, with_context};
use crate::model::json::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use jiff::{SignedDuration, Timestamp};

pub(in crate::api) const IDENTITY: Known = Known {
    names: &[],
    later: &[],
    options: &[],
    limited: Limited::Open,
};

/// Retrieve Context Source Identity Information.
pub async fn identity(State(app): State<App>, request: Request<Body>) -> Result<Response, Problem> {
    let (call, _) = Call::begin(app, request, &IDENTITY)?;
    let context = call.link_context().await?;
    let media = negotiate(&call.head.headers, &OFFERED)?;
    let made = call.app.store.made().await?;
    let alias = alias(made, tenant_name(&call.head.headers)?);
    let up = SignedDuration::try_from(call.app.started.elapsed()).unwrap_or(SignedDuration::MAX);
    let identity = object([
        ("id", Json::String(format!("urn:ngsi-ld:ContextSource:{alias}"))),
        ("type", Json::string("ContextSourceIdentity")),
        ("contextSourceAlias", Json::String(alias)),
        (
            "contextSourceUptime",
            Json::String(SignedDuration::from_secs(up.as_secs()).to_string()),
        ),
        (
            "contextSourceTimeAt",
            Json::String(format!("{:.3}", Timestamp::now())),
        ),
    ]);
    let body = with_context(identity, media, &context).to_text();
    Ok(reply::read(media, body, &context, media == Media::Json))
}

/// A pseudonym as `Via` has them (RFC 9110): one token.
fn alias(made: Timestamp, tenant: &str) -> String {
    let broker = format!("mim-{:x}", made.as_microsecond());
    if tenant.is_empty() {
        broker
    } else {
        format!("{broker}-{tenant}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_and_their_tenants_have_aliases_of_their_own() {
        let made = Timestamp::from_microsecond(0x6_1234_5678_9abc).unwrap();
        assert_eq!(alias(made, ""), "mim-6123456789abc");
        assert_eq!(alias(made, "one"), "mim-6123456789abc-one");
        let later = Timestamp::from_microsecond(0x6_1234_5678_9abd).unwrap();
        assert_ne!(alias(made, "one"), alias(later, "one"));
    }
}
