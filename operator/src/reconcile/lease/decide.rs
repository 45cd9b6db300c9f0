//! What a candidate does next: a function of what it has seen, for how long, and its own clock.
//!
//! Times written in the lease are never compared with anybody's clock (clocks of machines differ). A lease counts as
//! expired when this candidate has seen it unchanged for the lease's duration on its own monotonic clock, as in client-go's
//! `leaderelection`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// Factor by which the wait of a candidate is stretched at most, so that candidates do not try in step; client-go's.
pub const JITTER_FACTOR: f64 = 1.2;

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
    renew: Duration,
    retry: Duration,
}

/// Times that would let two operators act at once, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The lease must outlast the time in which its holder gives up.
    #[error("the lease duration ({duration:?}) must be longer than the renew deadline ({renew:?})")]
    Duration {
        /// As given.
        duration: Duration,
        /// As given.
        renew: Duration,
    },
    /// The holder must be able to try more than once.
    #[error(
        "the renew deadline ({renew:?}) must be longer than {JITTER_FACTOR} times the retry period ({retry:?})"
    )]
    Renew {
        /// As given.
        renew: Duration,
        /// As given.
        retry: Duration,
    },
    /// Zero would be a busy loop.
    #[error("the retry period must be longer than zero")]
    Retry,
}

impl Timing {
    /// * `duration`: how long others leave the lease alone after they last saw it change; whole seconds, rounded up.
    /// * `renew`: how long the holder goes on without a renewal; counted from before the last successful one was sent.
    /// * `retry`: time between two tries.
    pub fn new(duration: Duration, renew: Duration, retry: Duration) -> Result<Self, TimingError> {
        let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        let duration = Duration::from_secs(whole);
        if duration <= renew {
            return Err(TimingError::Duration { duration, renew });
        }
        if retry.is_zero() {
            return Err(TimingError::Retry);
        }
        if renew <= retry.mul_f64(JITTER_FACTOR) {
            return Err(TimingError::Renew { renew, retry });
        }
        Ok(Self {
            duration,
            renew,
            retry,
        })
    }

    /// How long the holder goes on without a renewal.
    #[must_use]
    pub const fn renew(&self) -> Duration {
        self.renew
    }

    /// Time between two tries of the holder.
    #[must_use]
    pub const fn retry(&self) -> Duration {
        self.retry
    }

    /// Time between two tries of a candidate; `jitter` in `0.0..1.0`.
    #[must_use]
    pub fn wait(&self, jitter: f64) -> Duration {
        self.retry.mul_f64(1.0 + JITTER_FACTOR * jitter.clamp(0.0, 1.0))
    }

    /// How long one try may take, so that a connection that hangs leaves time for another try.
    #[must_use]
    pub fn attempt(&self) -> Duration {
        self.renew / 2
    }

    fn seconds(&self) -> i32 {
        i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)
    }
}

impl Default for Timing {
    /// 15 s, 10 s, 2 s: those of client-go's users.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A lease as it was last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its spec.
    pub spec: LeaseSpec,
    /// Since when this candidate has seen exactly this spec.
    pub since: Instant,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Write this spec: the lease is free.
    Take(LeaseSpec),
    /// Write this spec: the lease is ours and stays so.
    Renew(LeaseSpec),
    /// Somebody else holds it.
    Wait {
        /// Who.
        holder: String,
    },
}

/// Decides. `seen` is `None` when there is no lease. `wall` only ends up in the lease, for people to read.
#[must_use]
pub fn next(me: &str, timing: &Timing, seen: Option<&Seen>, now: Instant, wall: Timestamp) -> Decision {
    let wall = Some(MicroTime(wall));
    let spec = seen.map(|seen| seen.spec.clone()).unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let mine = LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(timing.seconds()),
        renew_time: wall.clone(),
        ..spec.clone()
    };
    if holder == me {
        return Decision::Renew(mine);
    }
    let is_free = holder.is_empty() || seen.is_none_or(|seen| has_expired(seen, timing, now));
    if !is_free {
        return Decision::Wait { holder };
    }
    // The first holder of a new lease is no transition.
    let transitions = seen.map_or(0, |_| spec.lease_transitions.unwrap_or(0).saturating_add(1));
    Decision::Take(LeaseSpec {
        acquire_time: wall,
        lease_transitions: Some(transitions),
        ..mine
    })
}

/// What the holder writes when it goes: nobody holds the lease, and nobody needs to wait.
#[must_use]
pub fn released(spec: &LeaseSpec, wall: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        // The API refuses 0.
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(wall)),
        ..spec.clone()
    }
}

/// The holder's own duration counts, since its times may differ from ours; ours where it wrote none.
fn has_expired(seen: &Seen, timing: &Timing, now: Instant) -> bool {
    let written = seen
        .spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    let duration = written
        .filter(|seconds| *seconds > 0)
        .map_or(timing.duration, Duration::from_secs);
    now.saturating_duration_since(seen.since) >= duration
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, since: Instant) -> Seen {
        let spec = LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            // Years off: a clock that nobody may believe.
            renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        };
        Seen { spec, since }
    }

    fn decide(seen: Option<&Seen>, now: Instant) -> Decision {
        next(
            "me",
            &Timing::default(),
            seen,
            now,
            Timestamp::from_second(100).unwrap(),
        )
    }

    #[test]
    fn a_lease_that_does_not_exist_is_taken_without_a_transition() {
        let Decision::Take(spec) = decide(None, Instant::now()) else {
            panic!("must take")
        };
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_duration_seconds, Some(15));
        assert_eq!(spec.lease_transitions, Some(0));
        assert_eq!(spec.acquire_time, spec.renew_time);
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let now = Instant::now();
        let free = released(&held_by("other", now).spec, Timestamp::now());
        let Decision::Take(spec) = decide(
            Some(&Seen {
                spec: free,
                since: now,
            }),
            now,
        ) else {
            panic!("must take")
        };
        assert_eq!(spec.lease_transitions, Some(4));
    }

    #[test]
    fn expiry_is_the_time_of_having_seen_no_change_and_not_what_the_lease_says() {
        let since = Instant::now();
        let seen = held_by("other", since);
        let almost = since + Duration::from_millis(14_999);
        assert_eq!(
            decide(Some(&seen), almost),
            Decision::Wait {
                holder: "other".into()
            }
        );
        let Decision::Take(spec) = decide(Some(&seen), since + Duration::from_secs(15)) else {
            panic!("must take")
        };
        assert_eq!(spec.lease_transitions, Some(4));
        assert_eq!(
            spec.acquire_time,
            Some(MicroTime(Timestamp::from_second(100).unwrap()))
        );
    }

    #[test]
    fn the_duration_of_the_holder_counts() {
        let since = Instant::now();
        let mut seen = held_by("other", since);
        seen.spec.lease_duration_seconds = Some(60);
        assert!(matches!(
            decide(Some(&seen), since + Duration::from_secs(59)),
            Decision::Wait { .. }
        ));
        assert!(matches!(
            decide(Some(&seen), since + Duration::from_mins(1)),
            Decision::Take(_)
        ));
        seen.spec.lease_duration_seconds = Some(0);
        assert!(matches!(
            decide(Some(&seen), since + Duration::from_secs(14)),
            Decision::Wait { .. }
        ));
    }

    #[test]
    fn a_renewal_keeps_since_when_and_how_often_it_changed_hands() {
        let now = Instant::now();
        let seen = held_by("me", now);
        let Decision::Renew(spec) = decide(Some(&seen), now + Duration::from_hours(1)) else {
            panic!("must renew")
        };
        assert_eq!(spec.lease_transitions, Some(3));
        assert_eq!(spec.acquire_time, seen.spec.acquire_time);
        assert_eq!(
            spec.renew_time,
            Some(MicroTime(Timestamp::from_second(100).unwrap()))
        );
    }

    #[test]
    fn times_that_let_two_lead_are_refused() {
        let seconds = Duration::from_secs;
        assert!(matches!(
            Timing::new(seconds(10), seconds(10), seconds(2)),
            Err(TimingError::Duration { .. })
        ));
        assert!(matches!(
            Timing::new(seconds(15), seconds(2), seconds(2)),
            Err(TimingError::Renew { .. })
        ));
        assert_eq!(
            Timing::new(seconds(15), seconds(10), Duration::ZERO),
            Err(TimingError::Retry)
        );
        assert_eq!(
            Timing::new(seconds(15), seconds(10), seconds(2)),
            Ok(Timing::default())
        );
        let rounded = Timing::new(
            Duration::from_millis(900),
            Duration::from_millis(600),
            Duration::from_millis(100),
        );
        assert_eq!(rounded.unwrap().seconds(), 1);
    }

    #[test]
    fn candidates_do_not_try_in_step() {
        let timing = Timing::default();
        assert_eq!(timing.wait(0.0), Duration::from_secs(2));
        assert_eq!(timing.wait(0.5), Duration::from_millis(3_200));
        assert!(timing.wait(9.0) <= Duration::from_millis(4_400));
    }
}
