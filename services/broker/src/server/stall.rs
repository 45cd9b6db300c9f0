//! A stream that ends when its other side takes too little, so that a client that asks for much and reads slowly does not
//! hold memory for ever.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Writes fail with `TimedOut` once the other side has not taken what waits for it within `patience` and the time that
/// it needs at `rate` bytes a second.
pub struct Stalling<S> {
    inner: S,
    patience: Duration,
    rate: usize,
    waiting: Option<Waiting>,
}

/// From the first write that had to wait until everything is taken.
struct Waiting {
    since: Instant,
    taken: usize,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Stalling<S> {
    /// Wraps a stream.
    pub fn new(inner: S, patience: Duration, rate: usize) -> Self {
        Self {
            inner,
            patience,
            rate,
            waiting: None,
        }
    }

    /// Counts what was taken, and judges a wait.
    fn judge(&mut self, polled: Poll<Result<usize>>, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        if let (Poll::Ready(Ok(bytes)), Some(waiting)) = (&polled, &mut self.waiting) {
            waiting.taken = waiting.taken.saturating_add(*bytes);
        }
        if polled.is_ready() {
            return polled;
        }
        self.alarmed(cx)
    }

    fn alarmed<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let now = Instant::now();
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            since: now,
            taken: 0,
            alarm: Box::pin(sleep_until(now)),
        });
        let needed = Duration::from_millis((waiting.taken.saturating_mul(1000) / self.rate.max(1)) as u64);
        waiting
            .alarm
            .as_mut()
            .reset(waiting.since + self.patience + needed);
        waiting
            .alarm
            .as_mut()
            .poll(cx)
            .map(|()| Err(Error::new(ErrorKind::TimedOut, "the client takes too little")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.judge(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Comes after all that waits was written, so a flush that succeeds ends the wait.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        self.alarmed(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::sleep;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (near, far) = tokio::io::duplex(16);
        let mut near = Stalling::new(near, Duration::from_millis(50), 1);
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test]
    async fn a_reader_that_takes_a_byte_at_a_time_is_given_up() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Stalling::new(near, Duration::from_millis(100), 1_000_000);
        let reading = tokio::spawn(async move {
            let mut taken = 0;
            while far.read_exact(&mut [0]).await.is_ok() {
                taken += 1;
                sleep(Duration::from_millis(5)).await;
            }
            taken
        });
        let error = near.write_all(&[0; 10_000]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(near);
        assert!(reading.await.unwrap() < 5000);
    }

    #[tokio::test]
    async fn a_slow_reader_is_served_and_each_answer_has_its_own_time() {
        let (near, mut far) = tokio::io::duplex(16);
        // 64 bytes at 200 a second are 320 ms more than the patience.
        let mut near = Stalling::new(near, Duration::from_millis(200), 200);
        let writing = tokio::spawn(async move {
            for _ in 0..2 {
                near.write_all(&[0; 64]).await?;
                near.flush().await?;
            }
            Ok::<_, Error>(())
        });
        let mut buffer = [0; 16];
        for _ in 0..8 {
            sleep(Duration::from_millis(60)).await;
            far.read_exact(&mut buffer).await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }
}
