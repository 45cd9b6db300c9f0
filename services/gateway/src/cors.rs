//! Web pages of other origins (Fetch Standard, CORS protocol). Only those that the configuration names may read answers; a preflight is answered
//! here, before anybody is asked who it is, as browsers send no credentials with it.

use crate::answer::{Answer, AnswerBody};
use crate::config::Cors;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What clients of NGSI-LD send and a browser asks for, and what they read.
const SENT: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Link, NGSILD-Tenant, X-Api-Key, If-None-Match, If-Match, Prefer",
);
const READ: HeaderValue = HeaderValue::from_static(
    "Location, Link, NGSILD-Results-Count, NGSILD-Tenant, NGSILD-Warning, ETag, X-Request-Id",
);

/// The origin that a request names, if pages of it may call.
#[must_use]
pub fn origin(cors: Option<&Cors>, fields: &HeaderMap) -> Option<HeaderValue> {
    let (cors, origin) = (cors?, fields.get(ORIGIN)?);
    if cors.origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    cors.origins
        .iter()
        .any(|allowed| origin == allowed.as_str())
        .then(|| origin.clone())
}

/// The answer to a preflight of an origin that may call.
#[must_use]
pub fn preflight(cors: Option<&Cors>, method: &Method, fields: &HeaderMap) -> Option<Answer> {
    let is_preflight = method == Method::OPTIONS && fields.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight || origin(cors, fields).is_none() {
        return None;
    }
    let mut answer = HeaderMap::new();
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    answer.insert(ACCESS_CONTROL_MAX_AGE, cors?.max_age.into());
    Some(Answer {
        status: StatusCode::NO_CONTENT,
        fields: answer,
        body: AnswerBody::None,
    })
}

/// Says in an answer that pages of the origin may read it; what the broker has said of that is not passed on.
pub fn dress(fields: &mut HeaderMap, cors: Option<&Cors>, origin: Option<HeaderValue>) {
    let Some(cors) = cors else {
        return;
    };
    fields.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    if cors.origins.iter().all(|origin| origin != "*") {
        fields.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = origin {
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
    }
}
