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

/// The delay before the next pass over an object that has needed this remedy for `unsettled`: as long again, so the delay doubles each
/// time, and passes in between, which watches trigger, do not lengthen it. The jitter takes up to a quarter off, so the upper bound holds.
#[must_use]
pub fn delay(remedy: Remedy, unsettled: Duration, jitter: f64) -> Duration {
    let (first, last) = match remedy {
        Remedy::Spec => return resync(jitter),
        Remedy::Other => (5, 300),
        Remedy::Time => (1, 120),
    };
    let seconds = unsettled.as_secs().clamp(first, last);
    Duration::from_secs(seconds).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn another_object_is_asked_after_between_5_seconds_and_5_minutes() {
        assert_eq!(delay(Remedy::Other, after(0), 0.0), after(5));
        assert_eq!(delay(Remedy::Other, after(20), 0.0), after(20));
        assert_eq!(delay(Remedy::Other, after(90_000), 0.0), after(300));
    }

    #[test]
    fn the_delay_doubles() {
        let mut unsettled = after(0);
        let delays: Vec<_> = (0..5)
            .map(|_| {
                let next = delay(Remedy::Time, unsettled, 0.0);
                unsettled += next;
                next.as_secs()
            })
            .collect();
        assert_eq!(delays, [1, 1, 2, 4, 8]);
    }

    #[test]
    fn jitter_only_shortens() {
        for seconds in 0..400 {
            let (low, high) = (
                delay(Remedy::Time, after(seconds), 1.0),
                delay(Remedy::Time, after(seconds), 0.0),
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
