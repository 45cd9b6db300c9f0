//! Until when this process may act as the leader, by its own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

const NOT_HELD: u64 = 0;
const ALWAYS: u64 = u64::MAX;

/// The expiry of the lease on the monotonic clock of this process. The election moves it; the request layer reads it
/// last before every change. A clone is the same clock.
///
/// The monotonic clock stands still while a virtual machine is suspended (`CLOCK_MONOTONIC`), as it does for client-go: a
/// machine that sleeps in the middle of a request may send it late. The resource version in the lease then tells the process at
/// its next renewal that it leads no more.
#[derive(Clone, Debug)]
pub struct LeaseClock {
    origin: Instant,
    /// Nanoseconds since `origin`, plus one; or one of the two constants.
    expiry: Arc<AtomicU64>,
}

impl LeaseClock {
    /// A lease that is not held yet.
    #[must_use]
    pub fn not_held() -> Self {
        Self {
            origin: Instant::now(),
            expiry: Arc::new(AtomicU64::new(NOT_HELD)),
        }
    }

    /// No election: there is one operator, and somebody else sees to that.
    #[must_use]
    pub fn always() -> Self {
        Self {
            origin: Instant::now(),
            expiry: Arc::new(AtomicU64::new(ALWAYS)),
        }
    }

    /// The lease was renewed and may be relied upon until then. Never moves an expiry back.
    pub fn extend(&self, until: Instant) {
        self.expiry.fetch_max(self.ticks(until), Ordering::AcqRel);
    }

    /// The lease was lost or given back: nothing may be sent from now on.
    pub fn expire(&self) {
        self.expiry.store(NOT_HELD, Ordering::Release);
    }

    /// Whether the lease is held at `now`.
    #[must_use]
    pub fn is_held(&self, now: Instant) -> bool {
        match self.expiry.load(Ordering::Acquire) {
            NOT_HELD => false,
            ALWAYS => true,
            expiry => self.ticks(now) < expiry,
        }
    }

    /// Waits until the lease is no longer held. Returns at once when it is not.
    pub async fn expired(&self) {
        loop {
            match self.expiry.load(Ordering::Acquire) {
                NOT_HELD => return,
                ALWAYS => std::future::pending().await,
                expiry if self.ticks(Instant::now()) >= expiry => return,
                expiry => {
                    // Renewals may move the expiry meanwhile, hence the loop.
                    tokio::time::sleep_until(self.origin + Duration::from_nanos(expiry - 1)).await;
                }
            }
        }
    }

    fn ticks(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.origin).as_nanos();
        // 584 years; a process does not live that long.
        u64::try_from(nanos)
            .unwrap_or(ALWAYS - 2)
            .saturating_add(1)
            .min(ALWAYS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_held_until_its_expiry_and_not_one_tick_longer() {
        let clock = LeaseClock::not_held();
        assert!(!clock.is_held(Instant::now()));
        let until = Instant::now() + Duration::from_secs(10);
        clock.extend(until);
        assert!(clock.is_held(until - Duration::from_nanos(1)));
        assert!(!clock.is_held(until));
    }

    #[tokio::test(start_paused = true)]
    async fn an_expiry_never_moves_back_but_by_loss() {
        let clock = LeaseClock::not_held();
        let until = Instant::now() + Duration::from_secs(10);
        clock.extend(until);
        clock.extend(until - Duration::from_secs(5));
        assert!(clock.is_held(until - Duration::from_secs(1)));
        clock.expire();
        assert!(!clock.is_held(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_follows_renewals() {
        let clock = LeaseClock::not_held();
        let start = Instant::now();
        clock.extend(start + Duration::from_secs(10));
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.expired().await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        clock.extend(start + Duration::from_secs(20));
        waiting.await.unwrap();
        assert!(Instant::now() >= start + Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn without_election_the_lease_is_always_held() {
        let clock = LeaseClock::always();
        clock.extend(Instant::now());
        assert!(clock.is_held(Instant::now() + Duration::from_secs(1 << 32)));
        let waited = tokio::time::timeout(Duration::from_secs(1 << 20), clock.expired()).await;
        assert!(waited.is_err());
    }
}
