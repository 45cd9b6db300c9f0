//! What comes next: one effect, from what is wanted, what is there, and what was written last.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LINK};
use http::{HeaderMap, Method};
use mim_crds::EventReason;
use mim_egress::Request;
use serde_json::{Map, Value};

use super::{Found, Wanted};
use crate::kinds::context_subscription::plan::Body;
use crate::reconcile::child::digest;
use crate::reconcile::event::Note;
use crate::reconcile::remote::{Step, Written};

/// The next step.
///
/// What a broker shows is never compared with what was sent, member by member: brokers write names, defaults and queries in their own ways, and
/// each of these would look like an edit for ever. Instead: what was written last is known by its digest; what the broker showed then, by another;
/// what differs from that later was changed by somebody else.
#[must_use]
pub(super) fn next(wanted: &Wanted, found: &Found, written: &Written) -> Option<Step> {
    let Some(body) = &wanted.body else {
        return found.is_there().then(|| delete(wanted, None));
    };
    if wanted.expired {
        return None;
    }
    if !found.is_there() {
        let note = written.shown.as_ref().map(|_| {
            let message = format!(
                "subscription {} was not in the broker any more, and is there again",
                wanted.id
            );
            Note::warning(EventReason::Repaired, message)
        });
        return Some(create(wanted, body, note));
    }
    let before = written
        .applied
        .as_deref()
        .and_then(|applied| applied.split_once('.'));
    match before {
        Some((digest, context)) if digest == body.digest => {
            if context != context_digest(body) {
                return Some(delete(wanted, None));
            }
        }
        _ => {
            return Some(update(
                wanted,
                body,
                found,
                before.map(|(_, context)| context),
                None,
            ));
        }
    }
    match (&written.shown, found.digest(wanted)) {
        // Written just now: what a merge has left there goes only with the whole.
        (None, _) if !found.left_over(wanted).is_empty() => Some(delete(wanted, None)),
        (Some(before), Some(now)) if *before != now => {
            let message = format!(
                "subscription {} was changed in the broker, and is set back",
                wanted.id
            );
            let note = Note::warning(EventReason::Repaired, message);
            let context = context_digest(body);
            Some(update(wanted, body, found, Some(&context), Some(note)))
        }
        _ => None,
    }
}

/// What stands in the status of a body that was written: its digest and that of its context. By another context the names of the old body mean
/// something else, which no merge tells a broker.
#[must_use]
pub(super) fn applied(body: &Body) -> String {
    format!("{}.{}", body.digest, context_digest(body))
}

fn context_digest(body: &Body) -> String {
    let context = Value::from(body.context.clone().unwrap_or_default());
    digest(&context).chars().take(11).collect()
}

fn create(wanted: &Wanted, body: &Body, note: Option<Note>) -> Step {
    Step {
        request: with_body(wanted.request(Method::POST, wanted.all()), &body.sent, body),
        then: Written {
            applied: Some(applied(body)),
            ..Written::default()
        },
        note,
    }
}

/// A merge: counters and times of the subscription stay. Id and type are not part of it, and what is not wanted any more is null. `context`: the one
/// that it was made with, where that is known.
fn update(wanted: &Wanted, body: &Body, found: &Found, context: Option<&str>, note: Option<Note>) -> Step {
    let mut patch = body.sent.clone();
    patch.retain(|name, _| !["id", "type"].contains(&name.as_str()));
    let gone = found.left_over_on_top(wanted).into_iter();
    patch.extend(gone.map(|name| (name.to_owned(), Value::Null)));
    let context = context.map_or_else(|| context_digest(body), str::to_owned);
    Step {
        request: with_body(wanted.request(Method::PATCH, wanted.url()), &patch, body),
        then: Written {
            applied: Some(format!("{}.{context}", body.digest)),
            ..Written::default()
        },
        note,
    }
}

fn delete(wanted: &Wanted, note: Option<Note>) -> Step {
    Step {
        request: wanted.request(Method::DELETE, wanted.url()),
        then: Written::default(),
        note,
    }
}

fn with_body(mut request: Request, members: &Map<String, Value>, body: &Body) -> Request {
    request.body = serde_json::to_vec(members).map(Bytes::from).unwrap_or_default();
    add_types(&mut request.headers, body.context.as_deref());
    request
}

fn add_types(headers: &mut HeaderMap, context: Option<&str>) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let link = context.and_then(|url| {
        let link =
            format!(r#"<{url}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json""#);
        HeaderValue::from_str(&link).ok()
    });
    if let Some(link) = link {
        headers.insert(LINK, link);
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
