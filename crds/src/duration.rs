//! Durations in specs: ISO 8601, of units whose length is always the same.

use kube::core::Rule;

/// A duration that is none, or is zero, is refused. Years, months and weeks are not taken: a second of an hour is a second everywhere.
pub(crate) fn is_duration() -> Rule {
    Rule::new(
        "self.matches('^P([0-9]{1,4}D)?(T([0-9]{1,5}H)?([0-9]{1,6}M)?([0-9]{1,8}([.][0-9]{1,3})?S)?)?$') \
         && self.matches('[1-9]') && !self.endsWith('T')",
    )
    .message(
        "write an ISO 8601 duration of days, hours, minutes and seconds that is more than zero, for example PT30S or P1DT12H",
    )
}

/// The milliseconds of a duration that the rule of its field lets in; `None` for any other text.
#[must_use]
pub fn millis(text: &str) -> Option<u64> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    let (days, rest) = whole(days, 'D')?;
    if !rest.is_empty() {
        return None;
    }
    let (hours, time) = whole(time, 'H')?;
    let (minutes, time) = whole(time, 'M')?;
    let seconds = match time {
        "" => 0,
        time => thousandths(time.strip_suffix('S')?)?,
    };
    let minutes = days
        .checked_mul(24)?
        .checked_add(hours)?
        .checked_mul(60)?
        .checked_add(minutes)?;
    let millis = minutes.checked_mul(60_000)?.checked_add(seconds)?;
    (millis > 0).then_some(millis)
}

/// The number before a unit, and what follows; 0 where the unit is not there.
fn whole(text: &str, unit: char) -> Option<(u64, &str)> {
    match text.split_once(unit) {
        None => Some((0, text)),
        Some((number, rest)) => Some((digits(number)?, rest)),
    }
}

/// `1.25` as 1250.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if (1..=3).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
        None => (text, "0"),
    };
    let scale = 10_u64.pow(3 - u32::try_from(fraction.len()).ok()?);
    digits(whole)?
        .checked_mul(1000)?
        .checked_add(digits(fraction)? * scale)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_to_the_millisecond() {
        for (text, expected) in [
            ("PT1S", 1000),
            ("PT0.25S", 250),
            ("PT1.5S", 1500),
            ("PT0.001S", 1),
            ("PT1M", 60_000),
            ("PT90M1S", 5_401_000),
            ("PT1H", 3_600_000),
            ("P1D", 86_400_000),
            ("P1DT1H1M1.1S", 90_061_100),
            ("P9999DT99999H999999M99999999.999S", 1_383_909_939_999),
        ] {
            let found = millis(text);
            assert_eq!(found, Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_or_none_at_all_is_not_read() {
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "PT1",
            "P1DT",
            "PT0S",
            "P0D",
            "1S",
            "PT1.S",
            "PT1.2345S",
            "PT-1S",
            "P1M",
            "P1W",
            "P1Y",
            "PT1S1M",
            "pt1s",
            "PT1S ",
            "PT99999999999999999999S",
            "P+1D",
        ] {
            assert_eq!(millis(text), None, "{text:?}");
        }
    }
}
