//! How answers look: media type, Link header, @context (clauses 6.3.4 to 6.3.6).

use crate::api::accept::Media;
use crate::api::problem::Problem;
use crate::context::Context;
use crate::memory::room::{Held, Room};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LINK, LOCATION};
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is escaped in a segment of a path; colons are left, as ids have them.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b':')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Success without a body.
#[must_use]
pub fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Something of this collection was created.
#[must_use]
pub fn created(collection: &str, id: &str) -> Response {
    created_at(format!(
        "/ngsi-ld/v1/{collection}/{}",
        utf8_percent_encode(id, SEGMENT)
    ))
}

/// Something was created, and is at this path.
pub fn created_at(location: String) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A body of `application/json`, without context: results of writes.
pub fn plain(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Answers up to so many bytes are not counted: the number of connections bounds them.
pub const UNCOUNTED: usize = 64 * 1024;

/// A text with the room that it takes until it is sent.
pub struct Roomed {
    /// The text.
    pub text: String,
    /// Its room.
    pub room: Held,
}

/// Takes room for an answer that is large.
pub async fn roomed(text: String, answers: &Room) -> Result<Roomed, Problem> {
    let mut room = Held::default();
    if text.len() > UNCOUNTED {
        let taken = answers.take(text.len()).await;
        room =
            taken.map_err(|_| Problem::unavailable("too many large answers are being sent at the moment"))?;
    }
    Ok(Roomed { text, room })
}

impl AsRef<[u8]> for Roomed {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl From<Roomed> for Body {
    fn from(text: Roomed) -> Self {
        Self::from(Bytes::from_owner(text))
    }
}

/// What was read. `link`: the context is told by a Link header; else it is in the body.
pub fn read(media: Media, body: impl Into<Body>, context: &Context, link: bool) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.name()));
    if link {
        append(headers, LINK, context.link_header());
    }
    response
}

/// Adds a header whose value came from a client and may not be one.
pub fn append(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.append(name, value);
    }
}

/// Whether the client wants a GeoJSON body without `@context` (clause 6.3.6).
#[must_use]
pub fn prefers_plain_body(headers: &HeaderMap) -> bool {
    headers.get_all("prefer").iter().any(|v| {
        v.to_str()
            .is_ok_and(|v| v.split(',').any(|p| p.trim() == "body=json"))
    })
}
