//! Bytes that come from a socket, and time that runs while none come.

use bytes::BytesMut;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How much is read at once.
const BLOCK: usize = 16 * 1024;

thread_local! {
    /// One block for all connections of a thread: an idle one holds no memory to read into.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BLOCK].into_boxed_slice());
}

/// Appends what has come; 0: the other side has hung up.
pub fn poll_fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    arrived: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut block = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut block))?;
        arrived.extend_from_slice(block.filled());
        Poll::Ready(Ok(block.filled().len()))
    })
}

/// Wakes a task at a time that mostly moves on before it comes: a timer is set once, and again only when it has run out.
#[derive(Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when the time has come.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                self.0 = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// How slow the other side may be: after `patience`, all of what it sends or takes goes at this rate at least.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: Instant,
    patience: Duration,
    rate: u64,
}

impl Pace {
    /// From now on; `rate` in bytes per second.
    #[must_use]
    pub fn new(patience: Duration, rate: u64) -> Self {
        Self {
            start: Instant::now(),
            patience,
            rate: rate.max(1),
        }
    }

    /// Until when the next byte is to move, after so many have.
    #[must_use]
    pub fn deadline(&self, moved: u64) -> Instant {
        self.start + self.patience + Duration::from_millis(moved.saturating_mul(1000) / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_comes_at_the_last_time_that_was_asked_for() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        poll_fn(|cx| {
            assert!(alarm.poll(cx, at(5)).is_pending());
            assert!(alarm.poll(cx, at(9)).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| alarm.poll(cx, at(9))).await;
        assert_eq!(start.elapsed().as_secs(), 9);
        poll_fn(|cx| {
            assert!(alarm.poll(cx, at(30)).is_pending());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| alarm.poll(cx, at(12))).await;
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_bytes_has_more_time() {
        let pace = Pace::new(Duration::from_secs(10), 1000);
        assert_eq!(pace.deadline(0), Instant::now() + Duration::from_secs(10));
        assert_eq!(pace.deadline(5000), Instant::now() + Duration::from_secs(15));
    }
}
