//! Points in time and times of day as texts, compared as what they mean: their fractions may be written in many ways.

use std::cmp::Ordering;

/// A time that was written by the standard's rules, apart from how its fraction is written.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'t> {
    /// Down to the seconds.
    whole: &'t str,
    /// Digits of the fraction of a second.
    fraction: &'t str,
}

impl<'t> Moment<'t> {
    /// Reads what has the shape of a DateTime: `2024-01-31T12:00:00.5Z`. As in the database (`mim.instant_key`), the
    /// shape is enough: there may be no such day.
    #[must_use]
    pub fn of_date_time(text: &'t str) -> Option<Self> {
        Self::of(text.strip_suffix('Z')?, "dddd-dd-ddTdd:dd:dd")
    }

    /// Reads what has the shape of a time of day: `12:00:00.5`, with or without a `Z`.
    #[must_use]
    pub fn of_time(text: &'t str) -> Option<Self> {
        Self::of(text.strip_suffix('Z').unwrap_or(text), "dd:dd:dd")
    }

    fn of(text: &'t str, shape: &str) -> Option<Self> {
        let (whole, rest) = text.split_at_checked(shape.len())?;
        let is_like = whole
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, wanted)| match wanted {
                b'd' => byte.is_ascii_digit(),
                exactly => byte == exactly,
            });
        let fraction = if rest.is_empty() {
            ""
        } else {
            let digits = rest.strip_prefix(['.', ','])?;
            if !(1..=6).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            digits
        };
        is_like.then_some(Self { whole, fraction })
    }

    /// A text that sorts as the time does: the fraction has six digits.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{:0<6}", self.whole, self.fraction)
    }
}

impl Ord for Moment<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let digits = |text: &'_ str, n: usize| text.as_bytes().get(n).copied().unwrap_or(b'0');
        let fractions = (0..6).map(|n| digits(self.fraction, n).cmp(&digits(other.fraction, n)));
        let fraction = || {
            fractions
                .into_iter()
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        };
        self.whole.cmp(other.whole).then_with(fraction)
    }
}

impl PartialOrd for Moment<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Moment<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Moment<'_> {}

/// Whether the text is a Date: `2024-02-29`; the shape is enough.
#[must_use]
pub fn looks_like_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(n, byte)| match n {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::{instant_key, time_text};
    use jiff::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn fractions_may_be_written_in_many_ways() {
        let time = |text| Moment::of_date_time(text).unwrap();
        assert_eq!(time("2024-01-31T12:00:00Z"), time("2024-01-31T12:00:00,000Z"));
        assert_eq!(time("2024-01-31T12:00:00.5Z"), time("2024-01-31T12:00:00.500Z"));
        assert!(time("2024-01-31T12:00:00.49Z") < time("2024-01-31T12:00:00.5Z"));
        assert!(time("2024-01-31T12:00:00.9Z") < time("2024-01-31T12:00:01Z"));
        let time = |text| Moment::of_time(text).unwrap();
        assert_eq!(time("12:00:00Z"), time("12:00:00.0"));
        assert!(time("12:00:00Z") < time("12:00:00.1Z"));
    }

    #[test]
    fn what_has_another_shape_is_no_time() {
        for bad in [
            "2024-01-31T12:00:00",
            "2024-01-31 12:00:00Z",
            "2024-01-31T12:00:00.Z",
            "2024-01-31T12:00:00.1234567Z",
            "2024-01-31T12:00:00.1xZ",
            "é024-01-31T12:00:00Z",
            "Z",
            "",
        ] {
            assert!(Moment::of_date_time(bad).is_none(), "{bad}");
        }
        for bad in ["12:00", "12:00:00+01", "1:00:00", "12:00:00.", "ab:cd:ef"] {
            assert!(Moment::of_time(bad).is_none(), "{bad}");
        }
        assert!(
            looks_like_date("2024-99-31") && !looks_like_date("2024-1-31") && !looks_like_date("20240-1-31")
        );
    }

    proptest! {
        #[test]
        fn moments_sort_and_are_written_as_keys(a in 0i64..4_000_000_000_000_000, b in 0i64..4_000_000_000_000_000) {
            let texts = [a, b].map(|n| time_text(Timestamp::from_microsecond(n).unwrap()));
            let [ma, mb] = texts.each_ref().map(|t| Moment::of_date_time(t).unwrap());
            prop_assert_eq!(ma.cmp(&mb), a.cmp(&b));
            prop_assert_eq!(Some(ma.key()), instant_key(&texts[0]));
        }
    }
}
