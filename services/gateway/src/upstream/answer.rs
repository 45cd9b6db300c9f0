//! The body of an answer on its way back. The connection is kept when the last byte has come, and closed when the body is dropped before.

use super::Upstream;
use super::link::Link;
use crate::message::Malformed;
use crate::message::body::{Decoder, Framing, Part};
use crate::wire::{Alarm, poll_fill};
use bytes::Bytes;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// How long the broker may send no byte in the middle of an answer.
const STALL: Duration = Duration::from_mins(1);

/// The rest of an answer.
pub struct UpstreamBody {
    link: Option<Link>,
    decoder: Decoder,
    keep_alive: bool,
    upstream: Rc<Upstream>,
    alarm: Alarm,
    moved: Option<Instant>,
}

impl UpstreamBody {
    pub(super) fn new(link: Link, framing: Framing, keep_alive: bool, upstream: &Rc<Upstream>) -> Self {
        let mut body = Self {
            link: Some(link),
            decoder: Decoder::new(framing),
            keep_alive,
            upstream: Rc::clone(upstream),
            alarm: Alarm::default(),
            moved: None,
        };
        body.let_go_when_done();
        body
    }

    /// Whether all of it has come.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// The next part, never empty; `None`: the end. An error: it ends before its end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Malformed>> {
        loop {
            let Some(link) = &mut self.link else {
                return Poll::Ready(Ok(None));
            };
            match self.decoder.next(&mut link.arrived) {
                Ok(Part::Data(data)) => {
                    self.let_go_when_done();
                    return Poll::Ready(Ok(Some(data)));
                }
                Ok(Part::End) => self.let_go_when_done(),
                Ok(Part::More) => match poll_fill(&mut link.stream, cx, &mut link.arrived) {
                    Poll::Ready(Ok(1..)) => self.moved = None,
                    Poll::Ready(_) => {
                        self.link = None;
                        return Poll::Ready(self.decoder.hung_up().map(|()| None));
                    }
                    Poll::Pending => {
                        let since = *self.moved.get_or_insert_with(Instant::now);
                        ready!(self.alarm.poll(cx, since + STALL));
                        self.link = None;
                        return Poll::Ready(Err(Malformed::Cut));
                    }
                },
                Err(malformed) => {
                    self.link = None;
                    return Poll::Ready(Err(malformed));
                }
            }
        }
    }

    fn let_go_when_done(&mut self) {
        if self.decoder.is_done()
            && let Some(link) = self.link.take()
            && self.keep_alive
        {
            self.upstream.keep(link);
        }
    }
}
