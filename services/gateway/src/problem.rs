//! Errors as NGSI-LD tells them (GS CIM 009 clauses 5.5.3 and 6.3.2), in the media type of RFC 7807.

use crate::answer::{Answer, AnswerBody};
use bytes::Bytes;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

/// An answer of our own that says no. Its words quote nothing of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    /// Why, in a word, for metrics and the audit trail.
    cause: &'static str,
    field: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem; `cause` is one word of a fixed list, `detail` a sentence.
    #[must_use]
    pub fn new(status: StatusCode, cause: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            cause,
            field: None,
        }
    }

    /// Not now; it is worth to try again.
    #[must_use]
    pub fn unavailable(cause: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, cause, detail)
            .with(RETRY_AFTER, HeaderValue::from_static("2"))
    }

    /// Who asks is not known (RFC 6750 §3); the challenge says how to be.
    #[must_use]
    pub fn unauthorized(cause: &'static str, detail: &'static str, challenge: HeaderValue) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, cause, detail).with(WWW_AUTHENTICATE, challenge)
    }

    /// A method that is not served.
    #[must_use]
    pub fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "there is no such method here",
        )
        .with(
            ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        )
    }

    /// With a field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.field = Some((name, value));
        self
    }

    /// Its status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Why, in a word.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        self.cause
    }

    /// The type and title that NGSI-LD has for it, else those of RFC 7807 for what the status says already.
    fn kind(&self) -> (&'static str, &'static str) {
        match self.status {
            StatusCode::BAD_REQUEST => (
                "https://uri.etsi.org/ngsi-ld/errors/InvalidRequest",
                "Invalid request",
            ),
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => (
                "https://uri.etsi.org/ngsi-ld/errors/InternalError",
                "Internal error",
            ),
            status => ("about:blank", status.canonical_reason().unwrap_or("Error")),
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(self) -> Answer {
        let (kind, title) = self.kind();
        let body = serde_json::json!({
            "type": kind,
            "title": title,
            "detail": self.detail,
            "status": self.status.as_u16(),
        });
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.field {
            fields.insert(name, value);
        }
        Answer {
            status: self.status,
            fields,
            body: AnswerBody::Whole(Bytes::from(body.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_the_words_of_ngsi_ld() {
        let answer = Problem::unavailable("x", "not \"now\"").answer();
        assert_eq!(answer.fields[RETRY_AFTER], "2");
        let AnswerBody::Whole(body) = answer.body else {
            panic!("a problem has a body");
        };
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "https://uri.etsi.org/ngsi-ld/errors/InternalError");
        assert_eq!(
            (body["status"].as_u64(), body["detail"].as_str()),
            (Some(503), Some("not \"now\""))
        );
    }
}
