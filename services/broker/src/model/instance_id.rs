//! Ids of instances in the temporal evolution of an attribute (clause 4.5.6): UUIDs of version 7 (RFC 9562, 5.7), which
//! carry when the instance was stored to the microsecond (6.2, method 3). The history is kept in order of these ids, so
//! an id leads to the partition it is in, and a span of time is a span of ids.

use jiff::Timestamp;
use uuid::Uuid;

/// What stands before the UUID.
const URN: &str = "urn:ngsi-ld:instance:";
/// Parts of a millisecond that 12 bits tell.
const PARTS: u128 = 4096;

/// The id of one instance of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub Uuid);

impl InstanceId {
    /// The id of an instance that is stored now. `random` makes it unique; 62 bits of it are used.
    #[must_use]
    pub fn new(at: Timestamp, random: u64) -> Self {
        let first = Self::first_at(at).0.as_u128();
        Self(Uuid::from_u128(first | u128::from(random >> 2)))
    }

    /// The least id that an instance stored at this time, or later, can have. Times before 1970 count as 1970.
    #[must_use]
    pub fn first_at(at: Timestamp) -> Self {
        const VERSION: u128 = 7 << 76;
        const VARIANT: u128 = 2 << 62;
        let micros = u128::try_from(at.as_microsecond()).unwrap_or_default();
        let (millis, rest) = (micros / 1000, micros % 1000);
        Self(Uuid::from_u128(
            millis << 80 | VERSION | (rest * PARTS / 1000) << 64 | VARIANT,
        ))
    }

    /// When the instance was stored, to the microsecond. `None` for a UUID of another version.
    #[must_use]
    pub fn stored_at(self) -> Option<Timestamp> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        let bits = self.0.as_u128();
        let (millis, part) = (bits >> 80, bits >> 64 & (PARTS - 1));
        let micros = millis * 1000 + (part * 1000).div_ceil(PARTS);
        Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()
    }

    /// The id as clients see it.
    #[must_use]
    pub fn urn(self) -> String {
        format!("{URN}{}", self.0)
    }

    /// Reads what [`Self::urn`] writes; anything else is no id of ours, and names nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text.strip_prefix(URN)?).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_reads_back_and_others_are_not_ours() {
        let id = InstanceId::new("2026-11-28T22:00:00.123456Z".parse().unwrap(), u64::MAX);
        assert_eq!(InstanceId::parse(&id.urn()), Some(id));
        assert_eq!(id.0.get_version_num(), 7);
        for other in [
            "",
            "urn:ngsi-ld:instance:1",
            "urn:uuid:0190163d-8694-739b-aea5-966c26f8ad91",
        ] {
            assert_eq!(InstanceId::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn ids_keep_time_and_order(a in 0..4_000_000_000_000_000_i64, b in 0..4_000_000_000_000_000_i64, random: u64) {
            let at = |micros| Timestamp::from_microsecond(micros).unwrap();
            let (one, other) = (InstanceId::new(at(a), random), InstanceId::new(at(b), u64::MAX - random));
            prop_assert_eq!(one.stored_at(), Some(at(a)));
            if a != b {
                prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            }
            prop_assert!(InstanceId::first_at(at(a)) <= one && one < InstanceId::first_at(at(a + 1)));
        }
    }
}
