//! What a broker's answer means, in words of ours: of its own only those that the standard has go into a status.

use http::{Method, StatusCode};
use mim_crds::Reason;
use mim_egress::{Error, Response};
use serde_json::Value;

use super::{Found, Wanted};
use crate::reconcile::kind::Complaint;
use crate::reconcile::remote::Unsent;

/// Types of errors of the standard (ETSI GS CIM 009, 5.5.2); anything else that a broker calls an error is not repeated.
const TYPES: [&str; 12] = [
    "AlreadyExists",
    "BadRequestData",
    "Conflict",
    "InternalError",
    "InvalidRequest",
    "LdContextNotAvailable",
    "NoMultiTenantSupport",
    "NonexistentTenant",
    "OperationNotSupported",
    "ResourceNotFound",
    "TooComplexQuery",
    "TooManyResults",
];

/// What a look found.
pub(super) fn of_read(wanted: &Wanted, answer: Result<Response, Unsent>) -> Result<Found, Complaint> {
    let response = answer.map_err(|why| unsent(wanted, &why))?;
    match response.status {
        StatusCode::OK => match serde_json::from_slice(&response.body) {
            Ok(Value::Object(body)) if body.get("type").and_then(Value::as_str) == Some("Subscription") => {
                Ok(Found::read(body))
            }
            _ => Err(complaint(
                wanted,
                Reason::BrokerRefused,
                "answers 200, but not with a subscription; check the address of the broker",
                false,
            )),
        },
        // A proxy before a broker that is away says so too, and would make an orphan of what is deleted.
        StatusCode::NOT_FOUND
            if matches!(
                error_type(&response.body),
                Some("ResourceNotFound" | "NonexistentTenant")
            ) =>
        {
            Ok(Found::nothing())
        }
        _ => Err(refused(wanted, &Method::GET, &response)),
    }
}

/// What a step came to. What is there already, or gone already, is the next look's to tell.
pub(super) fn of_step(
    wanted: &Wanted,
    method: &Method,
    answer: Result<Response, Unsent>,
) -> Result<(), Complaint> {
    let response = answer.map_err(|why| unsent(wanted, &why))?;
    let status = response.status;
    let done = status.is_success()
        || (*method == Method::POST && status == StatusCode::CONFLICT)
        || (*method != Method::POST && status == StatusCode::NOT_FOUND);
    if done {
        Ok(())
    } else {
        Err(refused(wanted, method, &response))
    }
}

fn complaint(wanted: &Wanted, reason: Reason, words: &str, terminal: bool) -> Complaint {
    Complaint {
        reason,
        message: format!("{} ({}) {words}", wanted.broker.name, wanted.broker.endpoint),
        terminal,
    }
}

/// No answer.
fn unsent(wanted: &Wanted, why: &Unsent) -> Complaint {
    let (reason, terminal) = match why {
        Unsent::Call(Error::TokenNotSendable { .. }) => (Reason::BrokerUnauthorised, false),
        Unsent::Call(Error::CaNotReadable { .. } | Error::NoTrustStore { .. }) | Unsent::NoLease => {
            (Reason::BrokerUnreachable, false)
        }
        // Neither time nor the other side heals an address that must not be called.
        Unsent::Call(error) if error.by_guard() => (Reason::ExternalRefused, true),
        Unsent::Call(_) => (Reason::BrokerUnreachable, false),
    };
    let words = match why {
        Unsent::Call(Error::NotConnected { .. } | Error::Timeout { .. }) => format!(
            "does not answer: {why}; the operator's own policy lets it call the ports of networkPolicy.probePorts, a value of its chart"
        ),
        _ => format!("cannot be asked: {why}"),
    };
    complaint(wanted, reason, &words, terminal)
}

/// An answer that says no.
fn refused(wanted: &Wanted, method: &Method, response: &Response) -> Complaint {
    let status = response.status;
    let r#type = error_type(&response.body);
    let said = r#type.map_or_else(|| status.to_string(), |of| format!("{} {of}", status.as_u16()));
    let asked = format!("answers {said} to {method} of the subscription");
    let no = |reason, what: &str, terminal| complaint(wanted, reason, &format!("{asked}{what}"), terminal);
    match (status.as_u16(), r#type) {
        (_, Some("LdContextNotAvailable")) => no(
            Reason::BrokerRefused,
            ": it cannot fetch spec.jsonldContext; check the URL, and that the broker is let out to it",
            false,
        ),
        (_, Some("NonexistentTenant")) => no(
            Reason::BrokerRefused,
            ": it has no such tenant; add spec.tenant to the tenants of the broker",
            false,
        ),
        (_, Some("NoMultiTenantSupport")) => no(
            Reason::BrokerRefused,
            ": it has no tenants; make a new ContextSubscription without spec.tenant",
            true,
        ),
        (401 | 403, _) => no(
            Reason::BrokerUnauthorised,
            "; check the token in external.tokenSecretRef and what it may write",
            false,
        ),
        (429 | 500..=599, _) if status != StatusCode::NOT_IMPLEMENTED => {
            no(Reason::BrokerUnreachable, "", false)
        }
        (404 | 405 | 501, _) => no(
            Reason::BrokerRefused,
            ", as a broker does that keeps no subscriptions; check the address of the broker",
            false,
        ),
        _ => no(
            Reason::BrokerRefused,
            "; check q, geoQ, scopeQ, names and patterns of the spec, and what the broker supports",
            true,
        ),
    }
}

/// The type of a problem (RFC 7807), where it is one of the standard's.
fn error_type(body: &[u8]) -> Option<&'static str> {
    let problem: Value = serde_json::from_slice(body).ok()?;
    let named = problem.get("type")?.as_str()?.rsplit('/').next()?;
    TYPES.into_iter().find(|known| *known == named)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
