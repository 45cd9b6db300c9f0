//! The broker's side: connections that are kept, and requests that are tried again only where that is safe.
//!
//! Each worker has its own connections; a task that answers a request owns one until the answer's last byte, so nothing is handed
//! between tasks.

pub mod answer;
pub mod link;
pub mod way;

use crate::body::{Body, BodyError};
use crate::message::body::Framing;
use crate::message::head::AnswerHead;
use crate::message::{Malformed, encode};
use answer::UpstreamBody;
use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use link::Link;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use way::Way;

/// How many connections a worker keeps while they are idle.
const MAX_IDLE: usize = 256;
/// How long one is kept. The broker closes them after 75 s.
const IDLE: Duration = Duration::from_mins(1);
/// A request that cannot be sent twice goes over a connection that was used within this time, or over a new one. A broker that leaves says so
/// in its answers for 3 s before it closes connections, so it never closes one under such a request.
const FRESH: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection could be had.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// The connection ended before an answer had come.
    #[error("the broker closed the connection before it answered")]
    Broken,
    /// No answer came in time.
    #[error("the broker did not answer in time")]
    Slow,
    /// The answer is no HTTP.
    #[error("the broker's answer cannot be read: {0}")]
    Answer(Malformed),
    /// It is the client's body that is wrong.
    #[error(transparent)]
    Client(#[from] BodyError),
}

/// A request as it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// The fields, without framing.
    pub fields: &'a HeaderMap,
}

/// An answer whose head has come.
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The fields, without framing.
    pub fields: HeaderMap,
    /// How its body is found.
    pub framing: Framing,
    /// The body.
    pub body: UpstreamBody,
}

/// The connections of one worker.
#[derive(Default)]
pub struct Upstream {
    idle: RefCell<VecDeque<Link>>,
}

impl Upstream {
    /// Sends a request and waits for the head of its answer.
    pub async fn send(
        self: &Rc<Self>,
        way: &Arc<Way>,
        outgoing: Outgoing<'_>,
        mut body: Body<'_>,
    ) -> Result<Answered, Failure> {
        let small = body.small().await?;
        let framing = body.framing();
        let mut message = BytesMut::with_capacity(1024 + small.as_ref().map_or(0, bytes::Bytes::len));
        encode::request(
            &mut message,
            outgoing.method,
            outgoing.target,
            outgoing.fields,
            framing,
        );
        message.extend_from_slice(small.as_deref().unwrap_or_default());
        let is_whole = small.is_some() || framing == Framing::Empty;
        let is_repeatable = is_whole && outgoing.method.is_idempotent();
        if let Some(mut link) = self.kept(way, if is_repeatable { IDLE } else { FRESH }) {
            let rest = (!is_whole).then_some(&mut body);
            match link.exchange(&message, rest, outgoing.method).await {
                Err(Failure::Broken) if is_whole && (is_repeatable || !link.has_sent()) => {}
                done => return done.map(|head| self.answered(link, head)),
            }
        }
        let mut link = Link::open(way).await?;
        let rest = (!is_whole).then_some(&mut body);
        let head = link.exchange(&message, rest, outgoing.method).await?;
        Ok(self.answered(link, head))
    }

    fn answered(self: &Rc<Self>, link: Link, head: AnswerHead) -> Answered {
        Answered {
            status: head.status,
            fields: head.fields,
            framing: head.framing,
            body: UpstreamBody::new(link, head.framing, head.keep_alive, self),
        }
    }

    /// A connection that was used within that time and is still there.
    fn kept(&self, way: &Arc<Way>, within: Duration) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut link) = idle.pop_back() {
            if link.age() > within {
                // Those before it are older still.
                idle.push_back(link);
                return None;
            }
            if link.is_of(way) && link.is_quiet() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    fn keep(&self, mut link: Link) {
        link.used();
        let mut idle = self.idle.borrow_mut();
        while idle.len() >= MAX_IDLE || idle.front().is_some_and(|oldest| oldest.age() > IDLE) {
            idle.pop_front();
        }
        idle.push_back(link);
    }
}
