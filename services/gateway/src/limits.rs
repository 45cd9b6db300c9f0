//! How much one subject may ask: a bucket of tokens each, of this replica.
//!
//! A bucket is one number, the time at which it is full again (the generic cell rate algorithm, ITU-T I.371): what is full again is as good as none,
//! and is forgotten.

use crate::config::{Allowance, Limits};
use crate::identity::subject::Subject;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many buckets there are at most. When all are in use, the one that comes next is of everybody who has none.
const MAX_BUCKETS: usize = 100_000;
/// How often full buckets are looked for when there are so many.
const SWEEP: Duration = Duration::from_secs(1);

/// The buckets.
#[derive(Default)]
pub struct Rates(Mutex<Buckets>);

#[derive(Default)]
struct Buckets {
    full_at: HashMap<String, Instant>,
    swept: Option<Instant>,
}

/// What holds for a subject.
#[must_use]
pub fn of<'a>(limits: &'a Limits, subject: &Subject) -> &'a Allowance {
    if subject.is_anonymous() {
        return limits.anonymous.as_ref().unwrap_or(&limits.everybody);
    }
    let mut roles = limits.roles.iter();
    let own = roles.find(|limits| subject.has_role(&limits.role));
    own.map_or(&limits.everybody, |limits| &limits.may)
}

/// The name of a subject's bucket: who is not known is counted by address, of IPv6 by the network that one client has.
#[must_use]
pub fn bucket(subject: &Subject, client: IpAddr) -> String {
    if !subject.is_anonymous() {
        return subject.id.clone();
    }
    match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

impl Rates {
    /// Takes one request out of a bucket; if there is none in it, when there is one again.
    pub fn take(
        &self,
        bucket: impl FnOnce() -> String,
        may: &Allowance,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(rate) = may.requests_per_second else {
            return Ok(());
        };
        let each = Duration::from_secs(1) / rate.get();
        let depth = each * may.burst.unwrap_or(rate).get();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.make_room(now);
        let mut name = bucket();
        if buckets.full_at.len() >= MAX_BUCKETS && !buckets.full_at.contains_key(&name) {
            name.clear();
        }
        let full_at = buckets.full_at.entry(name).or_insert(now);
        let after = (*full_at).max(now) + each;
        let wait = after.saturating_duration_since(now + depth);
        if !wait.is_zero() {
            return Err(wait);
        }
        *full_at = after;
        Ok(())
    }
}

impl Buckets {
    fn make_room(&mut self, now: Instant) {
        let is_due = self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) > SWEEP);
        if self.full_at.len() >= MAX_BUCKETS && is_due {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RoleLimits;
    use std::num::NonZeroU32;

    fn may(rate: u32, burst: u32) -> Allowance {
        Allowance {
            requests_per_second: NonZeroU32::new(rate),
            burst: NonZeroU32::new(burst),
            ..Allowance::default()
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (rates, may, start) = (Rates::default(), may(10, 3), Instant::now());
        let take = |at: u64| rates.take(|| "a".to_owned(), &may, start + Duration::from_millis(at));
        assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
        assert_eq!(take(0), Err(Duration::from_millis(100)));
        assert_eq!(take(60), Err(Duration::from_millis(40)));
        assert_eq!([take(100), take(200)], [Ok(()); 2]);
        assert!(take(201).is_err());
        assert_eq!((0..100).filter(|_| take(10_000).is_ok()).count(), 3);
    }

    #[test]
    fn one_subject_does_not_use_up_what_another_may_have() {
        let (rates, may, now) = (Rates::default(), may(1, 1), Instant::now());
        for name in ["a", "b"] {
            assert!(rates.take(|| name.to_owned(), &may, now).is_ok());
            assert!(rates.take(|| name.to_owned(), &may, now).is_err());
        }
    }

    #[test]
    fn many_names_fill_no_memory_and_give_nobody_more() {
        let (rates, may, now) = (Rates::default(), may(1, 1), Instant::now());
        let taken = (0..MAX_BUCKETS + 50)
            .filter(|n| rates.take(|| n.to_string(), &may, now).is_ok())
            .count();
        assert_eq!(taken, MAX_BUCKETS + 1);
        let later = now + Duration::from_secs(3);
        assert!(rates.take(|| "new".to_owned(), &may, later).is_ok());
        assert_eq!(rates.0.lock().unwrap().full_at.len(), 1);
    }

    #[test]
    fn what_holds_depends_on_who_it_is() {
        let limits = Limits {
            everybody: may(1, 1),
            anonymous: Some(may(2, 2)),
            roles: vec![RoleLimits {
                role: "device".to_owned(),
                may: may(3, 3),
            }],
        };
        let device = Subject::of_key("a", vec!["device".to_owned()], Vec::new());
        assert_eq!(of(&limits, &device), &may(3, 3));
        assert_eq!(
            of(&limits, &Subject::of_key("a", Vec::new(), Vec::new())),
            &may(1, 1)
        );
        assert_eq!(of(&limits, &Subject::nobody()), &may(2, 2));
        let address = "2001:db8:1:2:3::4".parse().unwrap();
        assert_eq!(bucket(&Subject::nobody(), address), "2001:db8:1:2::/64");
    }
}
