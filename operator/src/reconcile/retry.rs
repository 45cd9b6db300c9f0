//! When an object is looked at again. Jitter is an argument in `0.0..1.0`: nothing here draws or waits.

use std::time::Duration;

/// What can heal a pass that did not reach its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Only a new generation of the spec: nothing is tried before, but for the resync.
    Spec,
    /// Another object, whose watch may not exist: tried from 5 s to 5 min.
    Other,
    /// Time: the API server is away, slow or full. Tried from 1 s to 2 min.
    Time,
}

/// Settled objects are looked at again after 40 to 60 minutes, so that what no watch shows (a deleted Secret, an expiring
/// certificate) is found, and so that a thousand objects never come at once.
#[must_use]
pub fn resync(jitter: f64) -> Duration {
    Duration::from_mins(40).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// The delay before the next pass after `failures` passes (1 for the first) that needed this remedy. Doubles each time; the
/// jitter takes up to a quarter off, so the upper bound holds.
#[must_use]
pub fn delay(remedy: Remedy, failures: u32, jitter: f64) -> Duration {
    let (first, last) = match remedy {
        Remedy::Spec => return resync(jitter),
        Remedy::Other => (5, 300),
        Remedy::Time => (1, 120),
    };
    let doubled = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    let seconds = doubled.saturating_mul(first).clamp(first, last);
    Duration::from_secs(seconds).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_object_is_asked_after_between_5_seconds_and_5_minutes() {
        assert_eq!(delay(Remedy::Other, 1, 0.0), Duration::from_secs(5));
        assert_eq!(delay(Remedy::Other, 3, 0.0), Duration::from_secs(20));
        assert_eq!(delay(Remedy::Other, 200, 0.0), Duration::from_mins(5));
    }

    #[test]
    fn jitter_only_shortens() {
        for failures in 1..40 {
            let (low, high) = (
                delay(Remedy::Time, failures, 1.0),
                delay(Remedy::Time, failures, 0.0),
            );
            assert!(low < high && low >= high.mul_f64(0.74));
        }
    }

    #[test]
    fn a_settled_object_rests_40_to_60_minutes() {
        assert_eq!(resync(0.0), Duration::from_mins(40));
        assert_eq!(resync(1.0), Duration::from_hours(1));
    }
}
