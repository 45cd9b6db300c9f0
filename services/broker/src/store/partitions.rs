//! The partitions of the history: one for each month in which instances are stored, made ahead of time, and dropped as a
//! whole once everything in them is older than is kept.

use crate::model::instance_id::InstanceId;
use crate::store::history::Keeping;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};
use serde::Deserialize;
use tokio_postgres::{Client, Error};

/// How many months beyond this one have partitions: a broker that cannot make any for so long still writes.
const AHEAD: i32 = 2;
/// How long to wait for readers and writers before a partition is left for the next time: while it waits, those after it
/// wait too.
const DROP_WAIT: &str = "200ms";
const PARTITIONS: &str = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
    where i.inhparent = 'mim.history'::regclass order by 1";

/// What is kept of the past, as the configuration says.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Temporal {
    /// Whether anything is.
    pub mode: Mode,
    /// For how long, by when it was stored; absent: for ever.
    pub retention: Option<Retention>,
}

impl PartialEq for Temporal {
    fn eq(&self, other: &Self) -> bool {
        let retention = |t: &Self| t.retention.map(|r| r.0.fieldwise());
        self.mode == other.mode && retention(self) == retention(other)
    }
}

impl Eq for Temporal {}

/// Whether the past is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    /// Every change is.
    Enabled,
    /// None is. What was kept before can be read, and goes by its age.
    #[default]
    Disabled,
}

/// An ISO 8601 duration of at least a day, counted back by the calendar.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Retention(Span);

impl TryFrom<String> for Retention {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad =
            || format!("retention {text:?} is not an ISO 8601 duration of at least a day, as P90D or P1Y");
        // The parser knows a friendlier format as well, which no other program reads.
        let span: Span = if text.starts_with('P') {
            text.parse().map_err(|_| bad())?
        } else {
            return Err(bad());
        };
        let retention = Self(span);
        let now = Timestamp::UNIX_EPOCH;
        match retention.before(now) {
            Some(limit) if limit <= now - jiff::SignedDuration::from_hours(24) => Ok(retention),
            _ => Err(bad()),
        }
    }
}

impl Retention {
    /// What was stored before this is not kept.
    fn before(self, now: Timestamp) -> Option<Timestamp> {
        let limit = now.to_zoned(TimeZone::UTC).checked_sub(self.0).ok()?;
        Some(limit.timestamp())
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Month(Date);

impl Month {
    fn of(at: Timestamp) -> Self {
        Self(at.to_zoned(TimeZone::UTC).date().first_of_month())
    }

    fn plus(&self, months: i32) -> Self {
        Self(self.0.saturating_add(months.months()))
    }

    fn starts(&self) -> Timestamp {
        let start = self.0.to_zoned(TimeZone::UTC);
        start.map_or(Timestamp::UNIX_EPOCH, |start| start.timestamp())
    }

    fn name(&self) -> String {
        format!("history_{:04}_{:02}", self.0.year(), self.0.month())
    }

    fn named(name: &str) -> Option<Self> {
        let (year, month) = name.strip_prefix("history_")?.split_once('_')?;
        Date::new(year.parse().ok()?, month.parse().ok()?, 1)
            .ok()
            .map(Self)
    }
}

/// The months whose partitions are to be there.
fn wanted(now: Timestamp) -> impl Iterator<Item = Month> {
    let this = Month::of(now);
    (0..=AHEAD).map(move |months| this.plus(months))
}

/// Whether everything in the partition is older than is kept.
fn is_over(name: &str, temporal: Temporal, now: Timestamp) -> bool {
    let limit = temporal.retention.and_then(|retention| retention.before(now));
    match (Month::named(name), limit) {
        (Some(month), Some(limit)) => month.plus(1).starts() <= limit,
        _ => false,
    }
}

/// Makes the partitions that are to be there, and drops those that are over.
pub async fn look_after(client: &Client, temporal: Temporal, now: Timestamp) -> Result<(), Error> {
    let mut there = there(client).await?;
    if temporal.mode == Mode::Enabled {
        for month in wanted(now).filter(|month| !there.contains(&month.name())) {
            let (from, to) = (month.starts(), month.plus(1).starts());
            let bounds = [from, to].map(|at| InstanceId::first_at(at).0);
            client
                .execute(
                    "select mim.add_history($1, $2, $3)",
                    &[&month.name(), &bounds[0], &bounds[1]],
                )
                .await?;
            tracing::info!(partition = month.name(), "the history has a new partition");
        }
    }
    for over in there.extract_if(.., |name| is_over(name, temporal, now)) {
        // The name is one of ours: letters, digits and underscores.
        let dropped = client
            .batch_execute(&format!(
                "begin; set local lock_timeout = '{DROP_WAIT}'; drop table if exists mim.{over}; commit"
            ))
            .await;
        match dropped {
            Ok(()) => tracing::info!(
                partition = over,
                "a partition of the history is older than is kept, and was dropped"
            ),
            Err(error) if error.as_db_error().is_some() => {
                client.batch_execute("rollback").await?;
                tracing::debug!(%error, partition = over, "a partition of the history is in use, and is dropped later");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is done about the past with the partitions that there are.
pub async fn look_at(client: &Client, temporal: Temporal) -> Result<Keeping, Error> {
    Ok(Keeping {
        adds: temporal.mode == Mode::Enabled,
        has_any: !there(client).await?.is_empty(),
    })
}

async fn there(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query(PARTITIONS, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn kept(retention: &str) -> Temporal {
        Temporal {
            mode: Mode::Enabled,
            retention: Some(Retention::try_from(retention.to_owned()).unwrap()),
        }
    }

    #[test]
    fn partitions_are_made_ahead_over_the_turn_of_the_year() {
        let names: Vec<_> = wanted(at("2026-11-30T23:59:59Z")).map(|m| m.name()).collect();
        assert_eq!(names, ["history_2026_11", "history_2026_12", "history_2027_01"]);
        assert_eq!(
            Month::named("history_2026_11").unwrap().plus(1).starts(),
            at("2026-12-01T00:00:00Z")
        );
    }

    #[test]
    fn a_partition_goes_when_all_of_it_is_too_old_and_not_a_day_before() {
        let (month, p30d) = ("history_2026_09", kept("P30D"));
        assert!(!is_over(month, p30d, at("2026-10-30T23:59:59Z")));
        assert!(is_over(month, p30d, at("2026-10-31T00:00:00Z")));
        assert!(!is_over(month, Temporal::default(), at("2999-01-01T00:00:00Z")));
        assert!(!is_over("history_other", p30d, at("2999-01-01T00:00:00Z")));
        assert!(is_over(month, kept("P1Y2M"), at("2027-12-01T00:00:00Z")));
    }

    #[test]
    fn what_is_no_duration_of_a_day_is_refused() {
        for bad in ["", "90", "P0D", "-P90D", "PT1H", "1y", "P1000000Y"] {
            assert!(Retention::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_that_the_kind_lets_through_is_for_ever() {
        let longest = kept("P999Y9999M9999W99999D");
        assert!(!is_over("history_1970_01", longest, at("2999-01-01T00:00:00Z")));
    }
}
