//! What may be a URI, a name, a scope, a point in time. ETSI GS CIM 009, clauses 4.6.2, 4.6.3 and 4.18.

use crate::model::moment::Moment;
use jiff::Timestamp;

pub use mim_grammar::names::{MAX_IRI, is_name, is_scope, is_scope_level, is_uri};

/// The value that deletes where deletion by value is allowed (clause 4.5.0).
pub const NULL: &str = "urn:ngsi-ld:null";
/// The name of the default instance of an attribute.
pub const NONE: &str = "@none";
/// Whether the text is a `DateTime` of the standard: UTC, ends in `Z`, seconds, a fraction of 1 to 6 digits.
#[must_use]
pub fn is_date_time(text: &str) -> bool {
    instant_key(text).is_some()
}

/// The point in time that a `DateTime` of the standard names; `None` for any other text.
#[must_use]
pub fn instant(text: &str) -> Option<Timestamp> {
    is_date_time(text)
        .then(|| text.replace(',', ".").parse().ok())
        .flatten()
}

/// A text that sorts as the instant does: the fraction is padded to six digits. `None` if it is no `DateTime`.
///
/// The database has a function of the same name and rule (`mim.instant_key`).
#[must_use]
pub fn instant_key(text: &str) -> Option<String> {
    let moment = Moment::of_date_time(text)?;
    let whole = text.get(..19).filter(|whole| !is_leap_second(whole))?;
    format!("{whole}Z").parse::<Timestamp>().ok()?;
    Some(moment.key())
}

/// Whether a minute would have 61 seconds. Clocks of computers have none such, so it would be the second before or after,
/// and not sort as it is written.
fn is_leap_second(text: &str) -> bool {
    text.ends_with(":60")
}

/// Whether the text is a Date: `2024-02-29`.
#[must_use]
pub fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

/// Whether the text is a Time: `12:30:00`, fraction of 1 to 6 digits and `Z` allowed.
#[must_use]
pub fn is_time(text: &str) -> bool {
    let whole = text.get(..8).filter(|whole| !is_leap_second(whole));
    Moment::of_time(text).is_some() && whole.is_some_and(|w| w.parse::<jiff::civil::Time>().is_ok())
}

/// A system time as clients see it: UTC with six digits of fraction.
#[must_use]
pub fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_utc_with_z() {
        for good in [
            "2024-02-29T12:00:00Z",
            "2024-02-29T12:00:00.1Z",
            "2024-02-29T12:00:00,123456Z",
        ] {
            assert!(is_date_time(good), "{good}");
        }
        for bad in [
            "2024-02-30T12:00:00Z",
            "2024-02-29T12:00:00+02:00",
            "2024-02-29T12:00:00",
            "2024-02-29",
            "2024-02-29T12:00:00.1234567Z",
            "2024-02-29T12:00:00.Z",
            "2024-02-29 12:00:00Z",
            "2024-02-29T25:00:00Z",
            "2016-12-31T23:59:60Z",
        ] {
            assert!(!is_date_time(bad), "{bad}");
        }
        assert!(is_date("2024-02-29") && !is_date("2023-02-29"));
        assert!(is_time("12:30:00") && is_time("12:30:00.5Z") && !is_time("12:30") && !is_time("25:00:00"));
        assert!(!is_time("23:59:60"));
        assert_eq!(
            time_text(Timestamp::from_second(0).unwrap()),
            "1970-01-01T00:00:00.000000Z"
        );
    }

    proptest! {
        #[test]
        fn keys_sort_as_instants(a in 0i64..4_000_000_000_000_000, b in 0i64..4_000_000_000_000_000) {
            let (ta, tb) = (Timestamp::from_microsecond(a).unwrap(), Timestamp::from_microsecond(b).unwrap());
            let (ka, kb) = (instant_key(&time_text(ta)).unwrap(), instant_key(&time_text(tb)).unwrap());
            prop_assert_eq!(ta.cmp(&tb), ka.cmp(&kb));
        }
    }
}
