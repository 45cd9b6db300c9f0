//! Periods of time, one after the other, as long as an ISO 8601 duration says by the calendar (clause 4.5.19.1).

use crate::model::{Refusal, refuse};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Unit};

/// How long a period is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Period(Option<Span>);

impl PartialEq for Period {
    fn eq(&self, other: &Self) -> bool {
        self.0.map(Span::fieldwise) == other.0.map(Span::fieldwise)
    }
}

impl Eq for Period {}

impl Period {
    /// Reads an ISO 8601 duration. One of no length is the whole time that is asked for.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal("aggrPeriodDuration is an ISO 8601 duration like PT1H, P1D or P1M".to_owned());
        // The parser knows a friendlier format as well, and signs.
        if !text.starts_with('P') || text.contains(['-', '+']) {
            return Err(wrong());
        }
        let span: Span = text.parse().map_err(|_| wrong())?;
        if span.is_zero() {
            return Ok(Self(None));
        }
        let period = Self(Some(span));
        match period.mean() {
            Some(mean) if mean >= 1.0 => Ok(period),
            _ => refuse("aggrPeriodDuration is at least a millionth of a second, and at most 9,998 years"),
        }
    }

    /// How long a period is on average, in microseconds.
    fn mean(self) -> Option<f64> {
        // Months and years differ; so many of them are whole turns of the calendar.
        const MANY: i32 = 48;
        let span = self.0?;
        let (span, number) = match span.checked_mul(i64::from(MANY)) {
            Ok(many) => (many, MANY),
            Err(_) => (span, 1),
        };
        let start = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let total = span.total((Unit::Microsecond, &start));
        total.ok().map(|total| total / f64::from(number))
    }
}

/// Periods that follow one another, from the one that begins at a given instant.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    origin: Timestamp,
    period: Option<(Span, f64)>,
}

impl Periods {
    /// The periods of this length, of which one begins at `origin`.
    #[must_use]
    pub fn new(origin: Timestamp, period: Period) -> Self {
        Self {
            origin,
            period: period.0.zip(period.mean()),
        }
    }

    /// Which period an instant is in; the one that begins at the origin is 0.
    #[must_use]
    pub fn index(&self, at: Timestamp) -> i64 {
        let Some((_, mean)) = self.period else {
            return 0;
        };
        let since = at.as_microsecond() - self.origin.as_microsecond();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a guess, put right below"
        )]
        let mut index = (since as f64 / mean).floor() as i64;
        // By the calendar months differ; the guess is never far off.
        while self.start(index).is_some_and(|start| start > at) {
            index -= 1;
        }
        while self.start(index + 1).is_some_and(|next| next <= at) {
            index += 1;
        }
        index
    }

    /// When a period begins; `None`: beyond all time.
    #[must_use]
    pub fn start(&self, index: i64) -> Option<Timestamp> {
        let Some((span, _)) = self.period else {
            return (index <= 0).then_some(self.origin);
        };
        let since = span.checked_mul(index).ok()?;
        let start = self.origin.to_zoned(TimeZone::UTC).checked_add(since).ok()?;
        Some(start.timestamp())
    }

    /// When a period is over; `last` where all time is one period, or that is beyond all time.
    #[must_use]
    pub fn end(&self, index: i64, last: Timestamp) -> Timestamp {
        match self.period {
            None => last,
            Some(_) => self.start(index + 1).unwrap_or(last),
        }
    }
}

/// A span of time on the clock, in seconds of the day.
#[must_use]
pub fn seconds_of_day(time: jiff::civil::Time) -> f64 {
    time.duration_since(jiff::civil::Time::midnight()).as_secs_f64()
}

/// The time of day so many seconds after midnight, to the microsecond.
#[must_use]
pub fn time_of_day(seconds: f64) -> jiff::civil::Time {
    let since = SignedDuration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    let micros = i64::try_from(since.as_micros()).unwrap_or_default();
    jiff::civil::Time::midnight().saturating_add(SignedDuration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn of(origin: &str, period: &str) -> Periods {
        Periods::new(at(origin), Period::parse(period).unwrap())
    }

    #[test]
    fn durations_of_the_standard_are_read_and_others_refused() {
        for good in [
            "PT1H",
            "P1D",
            "P3Y6M4DT12H30M5S",
            "P2W",
            "PT0S",
            "P0D",
            "PT0.5S",
            "P1Y",
        ] {
            assert!(Period::parse(good).is_ok(), "{good}");
        }
        assert_eq!(Period::parse("PT0S"), Ok(Period::default()));
        for bad in [
            "",
            "1h",
            "P",
            "PT",
            "-PT1H",
            "P-1D",
            "1",
            "P1H",
            "2024-01-01",
            "P99999Y",
            "PT1H ",
            "PT0.0000001S",
        ] {
            assert!(Period::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_follow_the_calendar_from_their_origin() {
        let months = of("2024-01-31T12:00:00Z", "P1M");
        assert_eq!(months.index(at("2024-02-29T11:59:59Z")), 0);
        assert_eq!(months.index(at("2024-02-29T12:00:00Z")), 1);
        assert_eq!(months.start(2), Some(at("2024-03-31T12:00:00Z")));
        assert_eq!(months.index(at("2023-12-31T12:00:00Z")), -1);
        let hours = of("2024-01-01T00:30:00Z", "PT1H");
        assert_eq!(hours.index(at("2024-01-01T00:29:59Z")), -1);
        assert_eq!(hours.index(at("2024-01-01T03:30:00Z")), 3);
        assert_eq!(
            hours.end(3, at("2030-01-01T00:00:00Z")),
            at("2024-01-01T04:30:00Z")
        );
        let whole = of("2024-01-01T00:00:00Z", "PT0S");
        assert_eq!(whole.index(at("2030-01-01T00:00:00Z")), 0);
        assert_eq!(
            whole.end(0, at("2031-01-01T00:00:00Z")),
            at("2031-01-01T00:00:00Z")
        );
    }

    #[test]
    fn times_of_day_keep_microseconds() {
        let time = jiff::civil::time(13, 5, 7, 250_000_000);
        assert_eq!(time_of_day(seconds_of_day(time)), time);
        assert_eq!(time_of_day(f64::NAN), jiff::civil::Time::midnight());
    }

    proptest! {
        #[test]
        fn an_instant_is_in_the_period_whose_index_it_has(
            origin in 0..4_000_000_000_000_000_i64,
            instant in 0..4_000_000_000_000_000_i64,
            period in "P[1-9]M|P[1-9]Y[1-9]M[1-9]D|PT[1-9]{1,3}S|P[1-9]W|P[1-9]DT[1-9]H",
        ) {
            let micros = |n| Timestamp::from_microsecond(n).unwrap();
            let periods = Periods::new(micros(origin), Period::parse(&period).unwrap());
            let index = periods.index(micros(instant));
            prop_assert!(periods.start(index).unwrap() <= micros(instant));
            prop_assert!(micros(instant) < periods.start(index + 1).unwrap());
        }
    }
}
