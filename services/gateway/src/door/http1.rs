//! A client's connection of HTTP/1.1: heads are read strictly, answers written in few packets, and the end is told.

use super::{Peer, Stream};
use crate::answer::Answer;
use crate::body::{Body, BodyError, Source};
use crate::message::body::{Decoder, Framing, Part};
use crate::message::head::{self, RequestHead};
use crate::message::{Malformed, encode};
use crate::pipeline::{self, Arrival};
use crate::problem::Problem;
use crate::wire::{Alarm, Pace, poll_fill};
use crate::worker::Worker;
use bytes::{Buf as _, Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::Instant;

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(75);
/// How long a head may take from its first byte.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client may take over an answer, and how many bytes must be taken each second beyond that.
const PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST: u64 = 256 * 1024;
/// How much of an answer is gathered before it is written.
const GATHERED: usize = 32 * 1024;
/// What is still read of a client that was answered before it had sent all: how much, and for how long. Else the kernel resets the connection,
/// and the answer is lost on its way.
const LINGER: (usize, Duration) = (1024 * 1024, Duration::from_secs(2));

/// The connection.
struct Connection {
    stream: Stream,
    arrived: BytesMut,
    out: BytesMut,
    /// The body of the request that is being answered.
    body: Decoder,
    /// What is still to be written before a body is read: `100 Continue`.
    invitation: &'static [u8],
    alarm: Alarm,
}

/// Why a connection ends.
enum End {
    /// It is idle, or gone.
    Quiet,
    /// The client is told.
    Told(Problem),
}

/// Answers what comes over one connection until its end.
pub async fn serve(stream: Stream, peer: &Peer, worker: &Rc<Worker>) {
    let mut connection = Connection {
        stream,
        arrived: BytesMut::new(),
        out: BytesMut::new(),
        body: Decoder::new(Framing::Empty),
        invitation: &[],
        alarm: Alarm::default(),
    };
    if let Err(error) = connection.run(peer, worker).await {
        tracing::debug!(%error, "a client's connection ended");
    }
}

impl Connection {
    async fn run(&mut self, peer: &Peer, worker: &Rc<Worker>) -> io::Result<()> {
        let mut stop = worker.ending.stop.clone();
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let mut stopped = std::pin::pin!(stopped);
        loop {
            let (answer, keep_alive) = match self.head(stopped.as_mut()).await {
                Ok(head) => {
                    let keep_alive = head.keep_alive;
                    (self.answer(head, peer, worker).await, keep_alive)
                }
                Err(End::Told(problem)) => (pipeline::refused(worker, peer, problem), false),
                Err(End::Quiet) => break,
            };
            self.skip_arrived();
            let last = !keep_alive || !self.body.is_done() || worker.ending.is_leaving();
            self.write(answer, last).await?;
            if last {
                break;
            }
        }
        self.close().await
    }

    async fn answer(&mut self, head: RequestHead, peer: &Peer, worker: &Rc<Worker>) -> Answer {
        self.body = Decoder::new(head.framing);
        self.invitation = if head.expects_continue {
            encode::CONTINUE
        } else {
            &[]
        };
        let arrival = Arrival {
            method: head.method,
            target: head.target,
            fields: head.fields,
            peer,
        };
        pipeline::answer(worker, arrival, Body::new(head.framing, self)).await
    }

    /// Skips what has come of a body that nobody wanted: a small one that was refused does not cost the connection.
    fn skip_arrived(&mut self) {
        while let Ok(Part::Data(_)) = self.body.next(&mut self.arrived) {}
    }

    /// Waits for a head.
    async fn head(&mut self, mut stopped: Pin<&mut impl Future<Output = ()>>) -> Result<RequestHead, End> {
        let told = |malformed: Malformed| {
            End::Told(Problem::new(
                malformed.status(),
                "malformed",
                malformed.to_string(),
            ))
        };
        let (start, mut first, mut seen) = (Instant::now(), None, 0);
        loop {
            if !self.arrived.is_empty() {
                if let Some(end) = head::end(&self.arrived, seen).map_err(told)? {
                    let bytes = self.arrived.split_to(end).freeze();
                    if self.arrived.is_empty() {
                        // The fields hold what was read; an idle connection holds nothing.
                        self.arrived = BytesMut::new();
                    }
                    return head::request(&bytes).map_err(told);
                }
                seen = self.arrived.len();
                first.get_or_insert_with(Instant::now);
            }
            let deadline = first.map_or(start + IDLE, |first| first + HEAD);
            poll_fn(|cx| match poll_fill(&mut self.stream, cx, &mut self.arrived) {
                Poll::Ready(Ok(1..)) => Poll::Ready(Ok(())),
                Poll::Ready(_) => Poll::Ready(Err(End::Quiet)),
                Poll::Pending if first.is_none() && stopped.as_mut().poll(cx).is_ready() => {
                    Poll::Ready(Err(End::Quiet))
                }
                Poll::Pending => self.alarm.poll(cx, deadline).map(|()| Err(too_late(first))),
            })
            .await?;
        }
    }

    /// Writes an answer. `last`: none follows.
    async fn write(&mut self, answer: Answer, last: bool) -> io::Result<()> {
        let framing = answer.body.framing();
        let mut body = answer.body;
        encode::answer(&mut self.out, answer.status, &answer.fields, framing, last);
        let pace = Pace::new(PATIENCE, SLOWEST);
        let (mut written, mut has_ended) = (0, false);
        while !has_ended {
            has_ended = poll_fn(|cx| gather(cx, &mut self.out, &mut body, framing)).await?;
            poll_fn(|cx| self.poll_write(cx, pace, &mut written)).await?;
        }
        if self.out.capacity() > 2 * GATHERED {
            self.out = BytesMut::new();
        }
        Ok(())
    }

    /// Writes and flushes what was gathered.
    fn poll_write(&mut self, cx: &mut Context<'_>, pace: Pace, written: &mut u64) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) => {
                    self.out.advance(more);
                    *written += more as u64;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.too_slow(cx, pace.deadline(*written)),
            }
        }
        self.out.clear();
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.too_slow(cx, pace.deadline(*written)),
            flushed @ Poll::Ready(_) => flushed,
        }
    }

    fn too_slow(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<io::Result<()>> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the client takes too little");
        self.alarm.poll(cx, deadline).map(|()| Err(late()))
    }

    /// Says goodbye, and reads for a while what the client was about to send.
    async fn close(&mut self) -> io::Result<()> {
        let (most, patience) = LINGER;
        let goodbye = async {
            self.stream.shutdown().await?;
            let mut read = 0;
            while read < most {
                self.arrived.clear();
                match poll_fn(|cx| poll_fill(&mut self.stream, cx, &mut self.arrived)).await? {
                    0 => break,
                    more => read += more,
                }
            }
            Ok(())
        };
        tokio::time::timeout(patience, goodbye).await.unwrap_or(Ok(()))
    }
}

fn too_late(first: Option<Instant>) -> End {
    match first {
        None => End::Quiet,
        Some(_) => End::Told(Problem::new(
            http::StatusCode::REQUEST_TIMEOUT,
            "slow_head",
            "the head of the request comes too slowly",
        )),
    }
}

/// Gathers what is ready of an answer; whether that was its end.
fn gather(
    cx: &mut Context<'_>,
    out: &mut BytesMut,
    body: &mut crate::answer::AnswerBody,
    framing: Framing,
) -> Poll<io::Result<bool>> {
    while out.len() < GATHERED {
        match body.poll_next(cx) {
            Poll::Ready(Ok(Some(data))) => {
                encode::data(out, framing, &data);
                // A length says where the end is: no need to ask for it.
                if framing != Framing::Chunked && body.is_done() {
                    return Poll::Ready(Ok(true));
                }
            }
            Poll::Ready(Ok(None)) => {
                encode::end(out, framing);
                return Poll::Ready(Ok(true));
            }
            // The client sees a body that has no end.
            Poll::Ready(Err(cut)) => {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut)));
            }
            Poll::Pending if out.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(false))
}

impl Source for Connection {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match self.body.next(&mut self.arrived)? {
                Part::Data(data) => return Poll::Ready(Ok(Some(data))),
                Part::End => return Poll::Ready(Ok(None)),
                Part::More => {}
            }
            while !self.invitation.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, self.invitation));
                let written = written.map_err(|_| BodyError::Gone)?;
                self.invitation = self.invitation.get(written..).unwrap_or_default();
                ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(|_| BodyError::Gone)?;
            }
            match ready!(poll_fill(&mut self.stream, cx, &mut self.arrived)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(BodyError::Gone)),
            }
        }
    }
}
