//! HTTP/1.1 as bytes (RFC 9112): heads read and written, bodies found. Pure.
//!
//! The gateway stands between clients that nobody knows and a broker that trusts it, so a message that two readers could read in two ways is
//! refused, never repaired. A library that repairs silently leaves nothing to refuse: why this is ours stands in
//! `docs/decisions/0022-gateway-proxy.md`.

pub mod body;
pub mod encode;
pub mod head;

use http::StatusCode;

/// Why a message is not one. The words never quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The head is longer than [`head::MAX_HEAD`].
    #[error("the head is longer than {} bytes", head::MAX_HEAD)]
    HeadTooLong,
    /// More than [`head::MAX_FIELDS`] fields.
    #[error("the head has more than {} fields", head::MAX_FIELDS)]
    TooManyFields,
    /// A line ends with LF or CR alone (RFC 9112 §2.2 lets a reader repair that, and readers differ).
    #[error("a line of the head does not end with CR LF")]
    LineEnd,
    /// The first line.
    #[error("the first line is not one of HTTP/1.1")]
    FirstLine,
    /// Neither HTTP/1.1 nor HTTP/2.
    #[error("only HTTP/1.1 and HTTP/2 are spoken here")]
    Version,
    /// A field: its name, white space before its colon, a folded line, a control character.
    #[error("a field of the head is not readable")]
    Field,
    /// `Content-Length` is no number, or there are two.
    #[error("Content-Length is to be one number")]
    Length,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.1).
    #[error("a message has Content-Length or Transfer-Encoding, not both")]
    TwoFramings,
    /// `Transfer-Encoding` is something else than `chunked`, once.
    #[error("of transfer codings only chunked is known")]
    Coding,
    /// A chunk or what stands between two.
    #[error("the body is not in readable chunks")]
    Chunk,
    /// What follows the last chunk is too long or no fields.
    #[error("the fields after the body are not readable")]
    Trailer,
    /// The other side hung up in the middle.
    #[error("the message ends before its end")]
    Cut,
}

impl Malformed {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::HeadTooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
