//! A client's connection of HTTP/2. Its requests take the same way as those of HTTP/1.1.

use super::{Peer, Stream};
use crate::answer::{Answer, AnswerBody};
use crate::body::{Body, BodyError, Source};
use crate::message::Malformed;
use crate::message::body::Framing;
use crate::pipeline::{self, Arrival};
use crate::problem::Problem;
use crate::worker::Worker;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How many requests a connection may have open.
const STREAMS: u32 = 128;
/// The longest head, in bytes as RFC 9113 §10.5.1 counts them.
const HEAD: u32 = 64 * 1024;
/// How often a silent client is asked whether it is still there, and how long it has to say so.
const ASK: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Puts tasks where those of this worker are.
#[derive(Clone)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

/// Answers what comes over one connection until its end.
pub async fn serve(stream: Stream, peer: &Rc<Peer>, worker: &Rc<Worker>) {
    let service = service_fn(|request| {
        let (worker, peer) = (Rc::clone(worker), Rc::clone(peer));
        async move { Ok::<_, Infallible>(response(answer(request, &peer, &worker).await)) }
    });
    let mut builder = http2::Builder::new(Here);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD)
        .keep_alive_interval(ASK.0)
        .keep_alive_timeout(ASK.1);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stop = worker.ending.stop.clone();
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stop.wait_for(|stop| *stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn answer(request: Request<Incoming>, peer: &Peer, worker: &Rc<Worker>) -> Answer {
    let (mut head, body) = request.into_parts();
    let target = match named(&mut head) {
        Ok(target) => target,
        Err(problem) => return pipeline::refused(worker, peer, problem),
    };
    let framing = framing(&mut head, &body);
    let arrival = Arrival {
        method: head.method,
        target,
        fields: head.headers,
        peer,
    };
    let mut source = Http2Body(body);
    pipeline::answer(worker, arrival, Body::new(framing, &mut source)).await
}

/// The target, with the authority as `Host` (RFC 9113 §8.3.1): if both are there they are the same.
fn named(head: &mut http::request::Parts) -> Result<Bytes, Problem> {
    let refused = |why| Problem::new(StatusCode::BAD_REQUEST, "malformed", why);
    if let Some(authority) = head.uri.authority() {
        let value = HeaderValue::from_str(authority.as_str())
            .map_err(|_| refused("the authority is not readable"))?;
        if head.headers.get_all(HOST).iter().any(|host| host != value) {
            return Err(refused("the authority and Host are to be the same"));
        }
        head.headers.insert(HOST, value);
    }
    let target = head
        .uri
        .path_and_query()
        .map_or("", http::uri::PathAndQuery::as_str);
    Ok(Bytes::copy_from_slice(target.as_bytes()))
}

/// How the end of the body is found when it goes on over HTTP/1.1. That the length is true the library has seen to.
fn framing(head: &mut http::request::Parts, body: &Incoming) -> Framing {
    let length = head.headers.remove(CONTENT_LENGTH);
    let told = length.and_then(|value| value.to_str().ok()?.parse().ok());
    match told {
        _ if body.is_end_stream() => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

struct Http2Body(Incoming);

impl Source for Http2Body {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(_)) => return Poll::Ready(Err(BodyError::Gone)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Some(data))),
                    // Nothing, or trailers, which go no further.
                    _ => {}
                },
            }
        }
    }
}

fn response(answer: Answer) -> Response<AnswerBody> {
    let framing = answer.body.framing();
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.fields;
    if let Framing::Length(length) = framing {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Malformed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Malformed>>> {
        let next = ready!(self.get_mut().poll_next(cx));
        Poll::Ready(next.transpose().map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Self::Upstream(..) => SizeHint::default(),
        }
    }
}
