//! Who may act: one operator at a time.
//!
//! Leader election by a Lease, after client-go's `leaderelection`: expiry is judged by having seen the lease unchanged on
//! one's own monotonic clock, and every write carries the resource version that was read, so of two candidates
//! that see the same expired lease one wins. What makes it more than a courtesy is the [`LeaseClock`]: the request layer reads it
//! last before each change, so a holder that was slow or cut off sends nothing once others may lead.
//!
//! ```text
//! holder     sent──renewed────────────────deadline (10 s after sent): no change any more, the process ends
//! others          seen────────────────────────────────expiry (15 s after seen): the first to write leads
//! ```

mod clock;
mod decide;
mod elect;

pub use clock::LeaseClock;
pub use decide::{Decision, JITTER_FACTOR, Seen, Timing, TimingError, next, released};
pub use elect::{Candidate, Election, Ended, LEASE_NAME, Leader, RELEASE_LIMIT};

#[cfg(test)]
mod tests;
