//! The body of a request on its way in: bounded in bytes and in time, whatever it comes over.

use crate::message::Malformed;
use crate::message::body::Framing;
use crate::wire::{Alarm, Pace};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How long a client may take over a body, and how many bytes of it must come each second beyond that.
const PATIENCE: Duration = Duration::from_secs(10);
const SLOWEST: u64 = 256 * 1024;
/// A body of this many bytes is read before the broker is called: it travels with its head in one packet, and may be sent again.
pub const SMALL: u64 = 64 * 1024;

/// Why a body is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It has more bytes than it may have.
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
    /// It comes too slowly.
    #[error("the body comes too slowly")]
    TooSlow,
    /// The client has gone.
    #[error("the client has gone")]
    Gone,
}

/// Where the parts of a body come from.
pub trait Source {
    /// The next part, never empty; `None`: the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>>;
}

/// A body that is read once.
pub struct Body<'a> {
    source: Option<&'a mut dyn Source>,
    framing: Framing,
    most: u64,
    taken: u64,
    pace: Option<Pace>,
    alarm: Alarm,
}

impl<'a> Body<'a> {
    /// A body that comes from there.
    #[must_use]
    pub fn new(framing: Framing, source: &'a mut dyn Source) -> Self {
        Self {
            source: (framing != Framing::Empty).then_some(source),
            framing,
            most: u64::MAX,
            taken: 0,
            pace: None,
            alarm: Alarm::default(),
        }
    }

    /// How its end is found.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// How many bytes of it have come.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// It may have so many bytes and no more; one that says that it has more is refused at once.
    pub fn bound(&mut self, most: u64) -> Result<(), BodyError> {
        self.most = self.most.min(most);
        match self.framing {
            Framing::Length(length) if length > self.most => Err(BodyError::TooLarge(self.most)),
            _ => Ok(()),
        }
    }

    /// The next part, never empty; `None`: the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(Ok(None));
        };
        let Poll::Ready(next) = source.poll_next(cx) else {
            let pace = *self.pace.get_or_insert_with(|| Pace::new(PATIENCE, SLOWEST));
            ready!(self.alarm.poll(cx, pace.deadline(self.taken)));
            return Poll::Ready(Err(BodyError::TooSlow));
        };
        let next = next?;
        match &next {
            Some(data) => self.taken += data.len() as u64,
            None => self.source = None,
        }
        if self.taken > self.most {
            return Poll::Ready(Err(BodyError::TooLarge(self.most)));
        }
        Poll::Ready(Ok(next))
    }

    /// All of it, where it says that it is small.
    pub async fn small(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.framing {
            Framing::Length(length) if length <= SMALL => self.whole().await.map(Some),
            _ => Ok(None),
        }
    }

    /// All of it, within its bound.
    pub async fn whole(&mut self) -> Result<Bytes, BodyError> {
        let Some(first) = poll_fn(|cx| self.poll_next(cx)).await? else {
            return Ok(Bytes::new());
        };
        if self.framing == Framing::Length(first.len() as u64) {
            self.source = None;
            return Ok(first);
        }
        let mut all = BytesMut::from(&*first);
        while let Some(data) = poll_fn(|cx| self.poll_next(cx)).await? {
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }
}
