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
    /// As of when it is read: who has changed it since may know of no holds.
    pub modified: Timestamp,
    /// Up to which entity it is told already.
    pub told_to: Option<String>,
    /// How often it was tried, one failure after the other; 0 where the receiver took its time. `None`: the last try took neither.
    pub failures: Option<u32>,
}

impl Due {
    /// Of which class it is.
    #[must_use]
    pub fn class(&self) -> Class {
        if self.failures.is_some() {
            Class::Doubtful
        } else {
            Class::Sound
        }
    }
}

/// Subscriptions by what came of the last try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Those whose receivers took what was sent, and at once.
    Sound,
    /// The others.
    Doubtful,
}

/// Something of each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes<T> {
    /// Of the one.
    pub sound: T,
    /// Of the other.
    pub doubtful: T,
}

/// How many places there are, and for whom none of them is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// So many. Half of them are taken at once, at most.
    pub places: usize,
    /// Of these tenants none.
    pub but: Vec<i32>,
}

impl Free {
    fn most(&self) -> i64 {
        i64::try_from(self.places.div_ceil(2).min(MOST)).unwrap_or_default()
    }
}

/// What became of one notification.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Whether the receiver took it.
    pub taken: bool,
    /// Whether it took its time.
    pub was_slow: bool,
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
    /// Nothing ever, unless the subscription is changed.
    Never,
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
/// How many seconds an interval has: times have microseconds, so none is shorter.
macro_rules! every {
    ($of:literal) => {
        concat!("greatest((", $of, ".body ->> 'timeInterval')::float8, 0.000001)")
    };
}
/// The first that are due, so many of one class, but of some tenants none. Replicas take different ones.
macro_rules! first_due {
    ($which:literal, $most:literal, $but:literal) => {
        concat!(
            "(select d.number, ",
            every!("d"),
            " as every, case when d.modified <= d.owed then d.owed else d.due end as owed, \
               case when d.modified <= d.owed then d.told_to end as told_to \
               from mim.subscriptions d where d.due <= now() and d.failures is ",
            $which,
            " and d.tenant <> all(",
            $but,
            "::int[]) order by d.due limit ",
            $most,
            " for update skip locked)"
        )
    };
}
/// Where a later interval has begun meanwhile that one is owed instead, from the beginning: once, however often it is then tried. What was
/// changed by a replica of the version before, which knows of none of this, begins anew, unless its clock is late by more than what is owed.
const TAKE: &str = concat!(
    "with ",
    unflushed!(),
    ", sound as materialized ",
    first_due!("null", "$2", "$4"),
    ", doubtful as materialized ",
    first_due!("not null", "$3", "$5"),
    ", late as ( \
       select i.*, floor(extract(epoch from clock_timestamp() - i.owed)::float8 / i.every) as intervals \
         from (select * from sound union all select * from doubtful) i) \
     update mim.subscriptions s set hold = gen_random_uuid(), due = clock_timestamp() + $1 * interval '1 second', \
        owed = i.owed + i.intervals * i.every * interval '1 second', \
        told_to = case when i.intervals < 1 then i.told_to end \
      from late i cross join unflushed where s.number = i.number and unflushed.set is not null \
      returning s.number, s.tenant, s.body::text, s.hold, s.modified, s.told_to, s.failures"
);
/// How many seconds it is until the next one is due, of the classes that are asked for.
const NEXT: &str = "select extract(epoch from min(due) - clock_timestamp())::float8 from mim.subscriptions \
  where due is not null and case when failures is null then $1::bool and tenant <> all($3::int[]) \
    else $2::bool and tenant <> all($4::int[]) end";
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
/// Notes it. `failures` counts what was tried in vain, and begins anew after what was taken (`$4`), maybe slowly (`$6`).
macro_rules! note {
    ($has_failed:literal, $next:expr) => {
        concat!(
            "with ",
            unflushed!(),
            ", held as materialized ( \
               select h.number, extract(epoch from clock_timestamp() - h.owed)::float8 as late, ",
            every!("h"),
            " as every \
               from mim.subscriptions h where h.number = $1 and h.hold = $2 and h.modified = $3 for update) \
             update mim.subscriptions s set ",
            outcome!("$4", "$5"),
            ", failures = case when ",
            $has_failed,
            " then coalesce(s.failures, 0) + 1 when $4 then case when $6::bool then 0 end else s.failures end, ",
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
const MORE: &str = note!(
    "false",
    "told_to = $7, due = clock_timestamp() + $8 * interval '1 second'"
);
const INTERVAL: &str = note!(
    "$4 is false",
    concat!(
        "owed = null, told_to = null, hold = null, due = ",
        next_interval!()
    )
);
const NEVER: &str = note!("false", "owed = null, told_to = null, hold = null, due = null");
const AGAIN: &str = note!(
    "$9::bool",
    concat!(
        "told_to = $7, hold = null, due = least(clock_timestamp() + $8 * interval '1 second', ",
        next_interval!(),
        ")"
    )
);
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
      from unflushed where s.number = $1 and s.hold = $2 and s.modified = $4 and unflushed.set is not null returning 1"
);
const LEAVE: &str = "update mim.subscriptions s set due = clock_timestamp(), hold = null \
  from unnest($1::bigint[], $2::uuid[]) as h(number, hold) where s.number = h.number and s.hold = h.hold";

fn due(row: &Row) -> Result<Due, StoreError> {
    Ok(Due {
        number: row.get(0),
        tenant: TenantId(row.get(1)),
        subscription: subscriptions::read(row.get(2))?,
        hold: row.get(3),
        modified: row.get(4),
        told_to: row.get(5),
        failures: row
            .get::<_, Option<i32>>(6)
            .map(|failures| u32::try_from(failures).unwrap_or_default()),
    })
}

impl Store {
    /// Takes some subscriptions whose interval is over, and holds them for so long.
    pub async fn take_due(&self, free: &Classes<Free>, hold: Duration) -> Result<Vec<Due>, StoreError> {
        let Classes { sound, doubtful } = free;
        let hold = hold.as_secs_f64();
        let (most_sound, most_doubtful) = (sound.most(), doubtful.most());
        let params: [&(dyn ToSql + Sync); 5] =
            [&hold, &most_sound, &most_doubtful, &sound.but, &doubtful.but];
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(TAKE, &params).await?;
        let read = |row: &Row| {
            let read = due(row);
            // One that cannot be read keeps no other one waiting.
            read.inspect_err(|error| tracing::error!(%error, "an interval is not told"))
                .ok()
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    /// How many seconds it is until the next interval is over, of those for which there are places; `None`: there is none.
    pub async fn next_due(&self, free: &Classes<Free>) -> Result<Option<f64>, StoreError> {
        let Classes { sound, doubtful } = free;
        let (of_sound, of_doubtful) = (sound.places > 0, doubtful.places > 0);
        let params: [&(dyn ToSql + Sync); 4] = [&of_sound, &of_doubtful, &sound.but, &doubtful.but];
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(NEXT, &params).await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    /// Holds one for so long from now on; false: it was changed or deleted, or somebody else has it.
    pub async fn hold_interval(&self, due: &Due, hold: Duration) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease
            .query(
                HOLD_ON,
                &[&due.number, &due.hold, &hold.as_secs_f64(), &due.modified],
            )
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
        let was_slow = sent.is_some_and(|sent| sent.was_slow);
        let mut params: Vec<&(dyn ToSql + Sync)> =
            vec![&due.number, &due.hold, &due.modified, &taken, &at, &was_slow];
        let seconds;
        let statement = match next {
            Next::More { told_to, hold } => {
                seconds = hold.as_secs_f64();
                params.extend([told_to as &(dyn ToSql + Sync), &seconds]);
                MORE
            }
            Next::Interval => INTERVAL,
            Next::Never => NEVER,
            Next::Again {
                told_to,
                rest,
                has_failed,
            } => {
                seconds = rest.as_secs_f64();
                params.extend([told_to as &(dyn ToSql + Sync), &seconds, has_failed]);
                AGAIN
            }
        };
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(statement, &params).await?;
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
