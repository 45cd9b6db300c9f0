//! An answer on its way to the client.

use crate::message::Malformed;
use crate::message::body::Framing;
use crate::upstream::answer::UpstreamBody;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::task::{Context, Poll};

/// A head, and a body that comes.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The fields, without framing.
    pub fields: HeaderMap,
    /// The body.
    pub body: AnswerBody,
}

/// Where the body comes from.
pub enum AnswerBody {
    /// There is none, not even one of no bytes: 204, 304, HEAD.
    None,
    /// Ours.
    Whole(Bytes),
    /// The broker's.
    Upstream(Framing, Box<UpstreamBody>),
}

impl AnswerBody {
    /// How its end is told where lengths and chunks are.
    #[must_use]
    pub fn framing(&self) -> Framing {
        match self {
            Self::None => Framing::Empty,
            Self::Whole(body) => Framing::Length(body.len() as u64),
            // The client's connection is to live on.
            Self::Upstream(Framing::UntilClose, _) => Framing::Chunked,
            Self::Upstream(framing, _) => *framing,
        }
    }

    /// Whether nothing is to come any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::None => true,
            Self::Whole(body) => body.is_empty(),
            Self::Upstream(_, body) => body.is_done(),
        }
    }

    /// The next part, never empty; `None`: the end. An error: it ends before its end, and the client must see that.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Malformed>> {
        match self {
            Self::None => Poll::Ready(Ok(None)),
            Self::Whole(body) => {
                let body = std::mem::take(body);
                Poll::Ready(Ok((!body.is_empty()).then_some(body)))
            }
            Self::Upstream(_, body) => body.poll_next(cx),
        }
    }
}
