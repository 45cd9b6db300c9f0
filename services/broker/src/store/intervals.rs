//! Subscriptions whose interval is over: taken by one replica for a time, and noted.
//!
//! When one is due says who may take it: whoever does makes it due when its hold ends. None of this waits for the disk: what a
//! crash of the server takes of it is told once more.

use crate::store::{Store, StoreError, TenantId, subscriptions};
use crate::subscription::Subscription;
use jiff::Timestamp;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// How many are taken at once.
const MOST: usize = 20;

/// A subscription whose interval is over, held.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its number.
    pub number: i64,
    /// Whose.
    pub tenant: TenantId,
    /// What is wanted.
    pub subscription: Subscription,
    /// Which hold this is.
    pub hold: Uuid,
    /// Up to which entity it is told already.
    pub told_to: Option<String>,
    /// How often it was tried, one failure after the other.
    pub failures: u32,
}

/// Subscriptions by what came of the last try: those whose receivers took what was sent, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes<T> {
    /// Of receivers that took it.
    pub sound: T,
    /// Of those that did not.
    pub doubtful: T,
}

/// What became of one notification.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Whether the receiver took it.
    pub taken: bool,
    /// When.
    pub at: Timestamp,
}

/// What is next of an interval that is being told.
#[derive(Clone, Debug)]
pub enum Next {
    /// More of it.
    More {
        /// Up to which entity it is told.
        told_to: String,
        /// How long it is held from now on.
        hold: Duration,
    },
    /// Nothing: the next interval, counted from when this one was due.
    Interval,
    /// A try again, not later than the next interval.
    Again {
        /// Up to which entity it is told, where any of it is.
        told_to: Option<String>,
        /// After how long.
        rest: Duration,
        /// Whether this is to be counted.
        has_failed: bool,
    },
}

/// That a transaction does not wait for the disk.
macro_rules! unflushed {
    () => {
        "unflushed as materialized (select set_config('synchronous_commit', 'off', true) as set)"
    };
}
/// The first that are due, of those for which this holds, so many of them. Replicas take different ones.
macro_rules! first_due {
    ($which:literal, $most:literal) => {
        concat!(
            "(select d.number, (d.body ->> 'timeInterval')::float8 * interval '1 second' as every \
               from mim.subscriptions d where d.due <= now() and ",
            $which,
            " order by d.due limit ",
            $most,
            " for update skip locked)"
        )
    };
}
/// Where the next interval has begun meanwhile it is told from the beginning.
const TAKE: &str = concat!(
    "with ",
    unflushed!(),
    ", sound as materialized ",
    first_due!("coalesce(d.failures, 0) = 0", "$2"),
    ", doubtful as materialized ",
    first_due!("d.failures > 0", "$3"),
    " update mim.subscriptions s set owed = coalesce(s.owed, s.due), hold = gen_random_uuid(), \
        due = clock_timestamp() + $1 * interval '1 second', \
        told_to = case when coalesce(s.owed, s.due) + i.every > clock_timestamp() then s.told_to end \
      from (select * from sound union all select * from doubtful) i cross join unflushed \
      where s.number = i.number and unflushed.set is not null \
      returning s.number, s.tenant, s.body::text, s.hold, s.told_to, coalesce(s.failures, 0)"
);
/// How many seconds it is until the next one is due, of the classes that are asked for.
const NEXT: &str = "select extract(epoch from min(due) - clock_timestamp())::float8 from mim.subscriptions \
  where due is not null and case when failures > 0 then $2::bool else $1::bool end";
/// What came of a notification; of none where nothing was sent.
macro_rules! outcome {
    ($taken:literal, $at:literal) => {
        concat!(
            "times_sent = s.times_sent + (",
            $taken,
            "::bool is not null)::int, times_failed = s.times_failed + (",
            $taken,
            " is false)::int, last_notification = case when ",
            $taken,
            " is null then s.last_notification else greatest(s.last_notification, ",
            $at,
            "::timestamptz) end, last_success = case when ",
            $taken,
            " then greatest(s.last_success, ",
            $at,
            ") else s.last_success end, last_failure = case when ",
            $taken,
            " is false then greatest(s.last_failure, ",
            $at,
            ") else s.last_failure end"
        )
    };
}
macro_rules! note {
    ($next:expr) => {
        concat!(
            "with ",
            unflushed!(),
            ", held as materialized ( \
               select h.number, extract(epoch from clock_timestamp() - h.owed)::float8 as late, \
                 (h.body ->> 'timeInterval')::float8 as every \
               from mim.subscriptions h where h.number = $1 and h.hold = $2 for update) \
             update mim.subscriptions s set ",
            outcome!("$3", "$4"),
            ", ",
            $next,
            " from held cross join unflushed where s.number = held.number and unflushed.set is not null returning 1"
        )
    };
}
/// When the first interval begins that has not begun yet.
macro_rules! next_interval {
    () => {
        "s.owed + (floor(held.late / held.every) + 1) * held.every * interval '1 second'"
    };
}
const MORE: &str = note!("told_to = $5, due = clock_timestamp() + $6 * interval '1 second'");
const INTERVAL: &str = note!(concat!(
    "owed = null, told_to = null, hold = null, due = ",
    next_interval!(),
    ", failures = case when $3 is false then coalesce(s.failures, 0) + 1 when $3 then null else s.failures end"
));
const AGAIN: &str = note!(concat!(
    "told_to = $5, hold = null, failures = coalesce(s.failures, 0) + $7::bool::int, \
     due = least(clock_timestamp() + $6 * interval '1 second', ",
    next_interval!(),
    ")"
));
/// Of one that is not held any more.
const OUTCOME: &str = concat!(
    "with ",
    unflushed!(),
    " update mim.subscriptions s set ",
    outcome!("$2", "$3"),
    " from unflushed where s.number = $1 and unflushed.set is not null"
);
const HOLD_ON: &str = concat!(
    "with ",
    unflushed!(),
    " update mim.subscriptions s set due = clock_timestamp() + $3 * interval '1 second' \
      from unflushed where s.number = $1 and s.hold = $2 and unflushed.set is not null returning 1"
);
const LEAVE: &str = "update mim.subscriptions s set due = clock_timestamp(), hold = null \
  from unnest($1::bigint[], $2::uuid[]) as h(number, hold) where s.number = h.number and s.hold = h.hold";

fn due(row: &Row) -> Result<Due, StoreError> {
    Ok(Due {
        number: row.get(0),
        tenant: TenantId(row.get(1)),
        subscription: subscriptions::read(row.get(2))?,
        hold: row.get(3),
        told_to: row.get(4),
        failures: u32::try_from(row.get::<_, i32>(5)).unwrap_or_default(),
    })
}

impl Store {
    /// Takes some subscriptions whose interval is over, at most so many of each class, and holds them for so long.
    pub async fn take_due(&self, free: Classes<usize>, hold: Duration) -> Result<Vec<Due>, StoreError> {
        let most = |free: usize| i64::try_from(free.min(MOST)).unwrap_or_default();
        let (sound, doubtful) = (most(free.sound), most(free.doubtful));
        let mut lease = self.pool.lease().await?;
        let rows = lease
            .query(TAKE, &[&hold.as_secs_f64(), &sound, &doubtful])
            .await?;
        let read = |row: &Row| {
            let read = due(row);
            // One that cannot be read keeps no other one waiting.
            read.inspect_err(|error| tracing::error!(%error, "an interval is not told"))
                .ok()
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// How many seconds it is until the next interval is over, of these classes; `None`: there is none.
    pub async fn next_due(&self, of: Classes<bool>) -> Result<Option<f64>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(NEXT, &[&of.sound, &of.doubtful]).await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    /// Holds one for so long from now on; false: it was changed or deleted, or somebody else has it.
    pub async fn hold_interval(&self, due: &Due, hold: Duration) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease
            .query(HOLD_ON, &[&due.number, &due.hold, &hold.as_secs_f64()])
            .await?;
        Ok(!rows.is_empty())
    }

    /// Notes what came of a notification of an interval, where one was sent, and what is next. False: it is not held any
    /// more, and what is next is for somebody else to say.
    pub async fn note_interval(
        &self,
        due: &Due,
        sent: Option<Sent>,
        next: &Next,
    ) -> Result<bool, StoreError> {
        let (taken, at) = (sent.map(|sent| sent.taken), sent.map(|sent| sent.at));
        let mut lease = self.pool.lease().await?;
        let rows = match next {
            Next::More { told_to, hold } => {
                let hold = hold.as_secs_f64();
                lease
                    .query(MORE, &[&due.number, &due.hold, &taken, &at, told_to, &hold])
                    .await?
            }
            Next::Interval => {
                lease
                    .query(INTERVAL, &[&due.number, &due.hold, &taken, &at])
                    .await?
            }
            Next::Again {
                told_to,
                rest,
                has_failed,
            } => {
                let rest = rest.as_secs_f64();
                let params: [&(dyn ToSql + Sync); 7] =
                    [&due.number, &due.hold, &taken, &at, told_to, &rest, has_failed];
                lease.query(AGAIN, &params).await?
            }
        };
        if rows.is_empty() && sent.is_some() {
            lease.query(OUTCOME, &[&due.number, &taken, &at]).await?;
        }
        Ok(!rows.is_empty())
    }

    /// Leaves those to others of which these holds are.
    pub async fn leave_intervals(&self, held: &[(i64, Uuid)]) -> Result<(), StoreError> {
        let (numbers, holds): (Vec<i64>, Vec<Uuid>) = held.iter().copied().unzip();
        self.pool.lease().await?.query(LEAVE, &[&numbers, &holds]).await?;
        Ok(())
    }
}
