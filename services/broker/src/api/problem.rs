//! Errors as NGSI-LD tells them (clause 5.5.3, 6.3.2): a type, a title, a sentence.

use crate::api::compatibility::Compatibility;
use crate::context::ContextError;
use crate::model::Refusal;
use crate::model::change::AttributeError;
use crate::model::json::{Json, Malformed, write_string};
use crate::store::StoreError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

/// The types of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The request is wrong whatever is stored: not JSON, an unknown parameter, a header.
    InvalidRequest,
    /// The data is wrong.
    BadRequestData,
    /// The id is in use.
    AlreadyExists,
    /// There is no such thing.
    ResourceNotFound,
    /// There is no such tenant.
    NonexistentTenant,
    /// This broker does not do that.
    OperationNotSupported,
    /// The query costs more than it may.
    TooComplexQuery,
    /// The answer would be larger than it may.
    TooManyResults,
    /// The permission set does not allow it.
    Forbidden,
    /// The tenant has as much as it may have.
    QuotaExceeded,
    /// A context could not be had.
    LdContextNotAvailable,
    /// The broker or its database.
    InternalError,
}

impl ErrorType {
    fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequest",
            Self::BadRequestData => "BadRequestData",
            Self::AlreadyExists => "AlreadyExists",
            Self::ResourceNotFound => "ResourceNotFound",
            Self::NonexistentTenant => "NonexistentTenant",
            Self::OperationNotSupported => "OperationNotSupported",
            Self::TooComplexQuery => "TooComplexQuery",
            Self::TooManyResults => "TooManyResults",
            Self::Forbidden => "Forbidden",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::LdContextNotAvailable => "LdContextNotAvailable",
            Self::InternalError => "InternalError",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "Invalid request",
            Self::BadRequestData => "Bad request data",
            Self::AlreadyExists => "Already exists",
            Self::ResourceNotFound => "Resource not found",
            Self::NonexistentTenant => "Nonexistent tenant",
            Self::OperationNotSupported => "Operation not supported",
            Self::TooComplexQuery => "Too complex query",
            Self::TooManyResults => "Too many results",
            Self::Forbidden => "Forbidden",
            Self::QuotaExceeded => "Quota of the tenant exceeded",
            Self::LdContextNotAvailable => "JSON-LD context not available",
            Self::InternalError => "Internal error",
        }
    }

    /// The status that belongs to the type in the newest edition of the standard.
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest | Self::BadRequestData => StatusCode::BAD_REQUEST,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::ResourceNotFound | Self::NonexistentTenant => StatusCode::NOT_FOUND,
            Self::OperationNotSupported => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooComplexQuery | Self::TooManyResults | Self::Forbidden | Self::QuotaExceeded => {
                StatusCode::FORBIDDEN
            }
            Self::LdContextNotAvailable => StatusCode::GATEWAY_TIMEOUT,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The longest sentence of a problem, in characters.
const MAX_DETAIL: usize = 1000;

/// An answer that says no.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    kind: ErrorType,
    detail: String,
    allow: Option<String>,
    retry: bool,
}

impl Problem {
    /// A problem with the status of its type.
    pub fn new(kind: ErrorType, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        // It may quote what the client sent, whatever its length.
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.truncate(end);
            detail.push('…');
            detail.shrink_to_fit();
        }
        Self {
            status: kind.status(),
            kind,
            detail,
            allow: None,
            retry: false,
        }
    }

    /// With another status: those of HTTP that no type of NGSI-LD has.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// As the edition of the standard has it that the broker is to follow.
    #[must_use]
    pub fn by(self, compatibility: &Compatibility) -> Self {
        match self.kind {
            ErrorType::LdContextNotAvailable => {
                self.with_status(compatibility.context_not_available_status.into())
            }
            _ => self,
        }
    }

    /// A wrong method, with those that are right.
    pub fn not_allowed(allow: &HeaderMap) -> Self {
        let mut problem = Self::new(ErrorType::InvalidRequest, "this resource has no such method")
            .with_status(StatusCode::METHOD_NOT_ALLOWED);
        problem.allow = allow.get(ALLOW).and_then(|v| v.to_str().ok()).map(str::to_owned);
        problem
    }

    /// Not now; it is worth to try again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem =
            Self::new(ErrorType::InternalError, detail).with_status(StatusCode::SERVICE_UNAVAILABLE);
        problem.retry = true;
        problem
    }

    /// What is told of everything that a permission set does not allow, whatever it is: the difference is nobody's business.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(ErrorType::Forbidden, "who asks may not do this")
    }

    /// `BadRequestData`.
    pub fn bad_data(detail: impl Into<String>) -> Self {
        Self::new(ErrorType::BadRequestData, detail)
    }

    /// `InvalidRequest`.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorType::InvalidRequest, detail)
    }

    /// `ResourceNotFound`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorType::ResourceNotFound, detail)
    }

    /// Appends the body.
    pub fn write(&self, out: &mut String) {
        out.push_str("{\"type\":\"");
        match self.kind {
            // The standard has no type for these two. RFC 7807 has one for what the status says already; ours is not
            // under the standard's address.
            ErrorType::Forbidden => out.push_str("about:blank"),
            ErrorType::QuotaExceeded => out.push_str("https://mim.city/errors/QuotaExceeded"),
            kind => {
                out.push_str("https://uri.etsi.org/ngsi-ld/errors/");
                out.push_str(kind.name());
            }
        }
        out.push_str("\",\"title\":");
        write_string(out, self.kind.title());
        out.push_str(",\"detail\":");
        write_string(out, &self.detail);
        out.push_str(",\"status\":");
        out.push_str(self.status.as_str());
        out.push('}');
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = String::new();
        self.write(&mut body);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.retry {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if let Some(allow) = self.allow.and_then(|a| HeaderValue::try_from(a).ok()) {
            headers.insert(ALLOW, allow);
        }
        if self.status.is_server_error()
            && self.status != StatusCode::SERVICE_UNAVAILABLE
            && self.kind != ErrorType::LdContextNotAvailable
        {
            tracing::error!(detail = %self.detail, "a request failed inside the broker");
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(Refusal(why): Refusal) -> Self {
        Self::bad_data(why)
    }
}

impl From<Malformed> for Problem {
    fn from(error: Malformed) -> Self {
        match error {
            Malformed::Syntax { .. } => Self::invalid(format!("the body is {error}")),
            Malformed::Refused { .. } => Self::bad_data(format!("the body has {error}")),
        }
    }
}

impl From<ContextError> for Problem {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Unavailable { .. } => {
                Self::new(ErrorType::LdContextNotAvailable, error.to_string())
            }
            ContextError::Invalid(_) => Self::bad_data(error.to_string()),
            ContextError::Store(error) => error.into(),
        }
    }
}

impl From<AttributeError> for Problem {
    fn from(error: AttributeError) -> Self {
        match error {
            AttributeError::NotFound(why) => Self::not_found(why),
            AttributeError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::TooSlow | StoreError::Crowded => {
                Self::unavailable(error.to_string())
            }
            StoreError::Data(_) | StoreError::TooLarge(_) | StoreError::Pattern(_) => {
                Self::bad_data(error.to_string())
            }
            StoreError::Quota(over) => Self::new(ErrorType::QuotaExceeded, over.to_string()),
            StoreError::Internal(_) => {
                error.tell_if_lasting();
                Self::new(ErrorType::InternalError, "the broker failed; its log says why")
            }
        }
    }
}

/// The body of a 207: what went well and what did not (clause 5.2.16).
pub fn batch_result(success: &[String], errors: &[(String, Problem)]) -> String {
    let mut out = String::from("{\"success\":");
    Json::Array(success.iter().map(Json::string).collect()).write(&mut out);
    out.push_str(",\"errors\":[");
    for (n, (id, problem)) in errors.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str("{\"entityId\":");
        write_string(&mut out, id);
        out.push_str(",\"error\":");
        problem.write(&mut out);
        out.push('}');
    }
    out.push_str("]}");
    out
}
