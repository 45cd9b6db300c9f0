//! One connection to the broker: a request is written, the head of its answer is read.

use super::Failure;
use super::way::Way;
use crate::body::Body;
use crate::message::encode;
use crate::message::head::{self, AnswerHead};
use crate::wire::{Alarm, poll_fill};
use bytes::{Buf as _, BytesMut};
use http::Method;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

pub use mim_egress::Stream;

/// How long the broker may take no byte of what is sent to it.
const STALL: Duration = Duration::from_secs(30);

/// A connection. One request at a time.
pub struct Link {
    pub(super) stream: Stream,
    pub(super) arrived: BytesMut,
    way: Arc<Way>,
    last_used: Instant,
    sent: bool,
}

impl Link {
    /// A new connection.
    pub async fn open(way: &Arc<Way>) -> Result<Self, Failure> {
        Ok(Self {
            stream: way.connect().await?,
            arrived: BytesMut::new(),
            way: Arc::clone(way),
            last_used: Instant::now(),
            sent: false,
        })
    }

    /// Whether it leads where that way leads.
    #[must_use]
    pub fn is_of(&self, way: &Arc<Way>) -> bool {
        Arc::ptr_eq(&self.way, way)
    }

    /// For how long it has been idle.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.last_used.elapsed()
    }

    /// It has just been used.
    pub fn used(&mut self) {
        self.last_used = Instant::now();
        self.sent = false;
    }

    /// Whether a byte of the request was handed to the socket.
    #[must_use]
    pub const fn has_sent(&self) -> bool {
        self.sent
    }

    /// Whether nothing has come since the last answer, not even its end. What nobody asked for is no answer to the next request.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.arrived.is_empty() && poll_fill(&mut self.stream, &mut cx, &mut self.arrived).is_pending()
    }

    /// Sends a message, and the rest of its body where it has one, and reads the head of the answer, which may come before the end of the body.
    pub async fn exchange(
        &mut self,
        message: &[u8],
        rest: Option<&mut Body<'_>>,
        asked: &Method,
    ) -> Result<AnswerHead, Failure> {
        let is_early = match self.write(message).await {
            Ok(()) => match rest {
                Some(body) => self.relay(body).await?,
                None => false,
            },
            // Who refuses a request may answer and hang up while it is still being sent: the answer is looked for, or the end.
            Err(Failure::Broken) => true,
            Err(failure) => return Err(failure),
        };
        let mut answer = self.head(asked).await?;
        // What the broker still reads of this request would be the start of the next one.
        answer.keep_alive &= !is_early;
        Ok(answer)
    }

    async fn write(&mut self, message: &[u8]) -> Result<(), Failure> {
        let (mut written, mut alarm) = (0, Alarm::default());
        poll_fn(|cx| {
            while let Some(left) = message.get(written..).filter(|left| !left.is_empty()) {
                let more = ready!(self.poll_write(cx, left, &mut alarm))?;
                written += more;
            }
            self.poll_flush(cx, &mut alarm)
        })
        .await
    }

    /// Passes a body on; whether an answer came before its end, or is to be looked for as nothing more can be sent.
    async fn relay(&mut self, body: &mut Body<'_>) -> Result<bool, Failure> {
        let framing = body.framing();
        let (mut out, mut has_ended, mut alarm) = (BytesMut::new(), false, Alarm::default());
        poll_fn(|cx| {
            loop {
                match poll_fill(&mut self.stream, cx, &mut self.arrived) {
                    Poll::Ready(Ok(1..)) => return Poll::Ready(Ok(true)),
                    Poll::Ready(_) => return Poll::Ready(Err(Failure::Broken)),
                    Poll::Pending => {}
                }
                if !out.is_empty() {
                    match ready!(self.poll_write(cx, &out, &mut alarm)) {
                        Ok(written) => out.advance(written),
                        Err(Failure::Broken) => return Poll::Ready(Ok(true)),
                        Err(failure) => return Poll::Ready(Err(failure)),
                    }
                } else if has_ended {
                    ready!(self.poll_flush(cx, &mut alarm))?;
                    return Poll::Ready(Ok(false));
                } else if let Poll::Ready(next) = body.poll_next(cx)? {
                    has_ended = next.is_none();
                    match next {
                        Some(data) => encode::data(&mut out, framing, &data),
                        None => encode::end(&mut out, framing),
                    }
                } else {
                    // What was written so far goes out while the client thinks.
                    let _ = self.poll_flush(cx, &mut alarm)?;
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    async fn head(&mut self, asked: &Method) -> Result<AnswerHead, Failure> {
        let (deadline, mut alarm) = (Instant::now() + self.way.patience, Alarm::default());
        let mut seen = 0;
        loop {
            if let Some(end) = head::end(&self.arrived, seen).map_err(Failure::Answer)? {
                let bytes = self.arrived.split_to(end).freeze();
                let answer = head::answer(&bytes, asked).map_err(Failure::Answer)?;
                if !answer.status.is_informational() {
                    return Ok(answer);
                }
                if answer.status == http::StatusCode::SWITCHING_PROTOCOLS {
                    return Err(Failure::Answer(crate::message::Malformed::FirstLine));
                }
                seen = 0;
                continue;
            }
            seen = self.arrived.len();
            poll_fn(|cx| {
                if let Poll::Ready(filled) = poll_fill(&mut self.stream, cx, &mut self.arrived) {
                    return Poll::Ready(match filled {
                        Ok(1..) => Ok(()),
                        Ok(0) | Err(_) if seen == 0 => Err(Failure::Broken),
                        _ => Err(Failure::Answer(crate::message::Malformed::Cut)),
                    });
                }
                alarm.poll(cx, deadline).map(|()| Err(Failure::Slow))
            })
            .await?;
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        alarm: &mut Alarm,
    ) -> Poll<Result<usize, Failure>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(written @ 1..)) => {
                self.sent = true;
                self.last_used = Instant::now();
                Poll::Ready(Ok(written))
            }
            Poll::Ready(_) => Poll::Ready(Err(Failure::Broken)),
            Poll::Pending => self.stalled(cx, alarm),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<Result<(), Failure>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::Broken)),
            Poll::Pending => self.stalled(cx, alarm),
        }
    }

    fn stalled<T>(&self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<Result<T, Failure>> {
        alarm
            .poll(cx, self.last_used + STALL)
            .map(|()| Err(Failure::Slow))
    }
}
