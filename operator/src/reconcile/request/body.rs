//! The body of an answer: bounded in time, cut when the process is meant to be dead.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use tower::BoxError;

use super::layer::Interrupted;
use super::{Chunk, Observer, Record};

/// An answer's body.
pub struct AnswerBody {
    inner: UnsyncBoxBody<Bytes, BoxError>,
    stop: Option<BoxFuture<'static, Interrupted>>,
    watched: Option<(Arc<dyn Observer>, Record)>,
}

impl AnswerBody {
    /// A body that comes from the wire. When `stop` resolves before its end, it ends with that error. With `watched`,
    /// an observer sees each piece.
    pub(super) fn stream<B>(
        body: B,
        stop: Option<BoxFuture<'static, Interrupted>>,
        watched: Option<(Arc<dyn Observer>, Record)>,
    ) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            inner: body.map_err(Into::into).boxed_unsync(),
            stop,
            watched,
        }
    }

    /// A body made here.
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        let inner = Full::new(Bytes::from(bytes))
            .map_err(|never| match never {})
            .boxed_unsync();
        Self {
            inner,
            stop: None,
            watched: None,
        }
    }

    fn end(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.stop = None;
        self.inner = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(stop) = &mut this.stop
            && let Poll::Ready(reason) = stop.as_mut().poll(context)
        {
            return this.end(reason.into());
        }
        loop {
            let polled = Pin::new(&mut this.inner).poll_frame(context);
            let Some((observer, record)) = &this.watched else {
                return polled;
            };
            let Poll::Ready(Some(Ok(frame))) = polled else {
                return polled;
            };
            match frame.into_data() {
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                Ok(bytes) => match observer.chunk(record, bytes) {
                    Chunk::Pass(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Chunk::Drop => {}
                    Chunk::Break => {
                        let broken = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                        return this.end(broken.into());
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // An observer may change the length of a watch.
        if self.watched.is_some() {
            SizeHint::default()
        } else {
            self.inner.size_hint()
        }
    }
}
