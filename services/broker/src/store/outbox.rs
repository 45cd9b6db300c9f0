//! Notifications that wait: taken lane by lane, and taken away once they were sent.

use crate::store::pool::Lease;
use crate::store::told::Place;
use crate::store::{Store, StoreError, TenantId};
use jiff::Timestamp;
use serde::Deserialize;
use std::num::NonZeroU32;
use tokio_postgres::Row;
use uuid::Uuid;

/// How many changes, and how many bytes of them, a lane gives at once. One larger change comes alone.
const MOST: i32 = 50;
const BYTES: i64 = 1024 * 1024;

/// A change that waits in a lane.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its number.
    pub change: i64,
    /// Whose.
    pub tenant: TenantId,
    /// The epoch of the tenant's subscriptions when this was read.
    pub epoch: i64,
    /// The entity.
    pub entity: String,
    /// What happened to it.
    pub body: String,
}

impl Waiting {
    fn of(row: &Row) -> Self {
        Self {
            change: row.get(0),
            tenant: TenantId(row.get(1)),
            epoch: row.get(2),
            entity: row.get(3),
            body: row.get(4),
        }
    }
}

/// A lane, and who holds it for how long.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// The lane.
    pub place: Place,
    /// This process.
    pub holder: Uuid,
    /// Milliseconds.
    pub millis: i32,
}

/// What came of what a lane gave.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Changes that are not to be sent any more.
    pub changes: Vec<i64>,
    /// Notifications that were sent.
    pub sent: i64,
    /// Of these, such that the receiver did not take.
    pub failed: i64,
    /// When it last took one.
    pub success: Option<Timestamp>,
    /// When it last did not.
    pub failure: Option<Timestamp>,
    /// When to try again what is left; `None`: go on.
    pub again: Option<Timestamp>,
}

/// What happens to notifications of a receiver that takes none, beyond what is kept for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Outbox {
    /// How many changes wait for one subscription, at most.
    pub limit: NonZeroU32,
    /// What happens to the others.
    pub overflow: Overflow,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            limit: NonZeroU32::MIN.saturating_add(9_999),
            overflow: Overflow::default(),
        }
    }
}

/// What is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Overflow {
    /// All but the latest change of each entity; then as [`Self::DropOldest`].
    #[default]
    CoalesceLatest,
    /// The oldest changes.
    DropOldest,
    /// All, and the subscription is paused.
    Pause,
}

const TAKE: &str = "select * from mim.hold_lane($1, $2, $3, $4, $5, $6)";
const GO_ON: &str = "select * from mim.advance_lane($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
/// Claims the next notification of a subscription that is throttled: whoever is first, and who tries again what was claimed.
const CLAIM: &str = "update mim.subscriptions \
    set quiet_until = clock_timestamp() + $3 * interval '1 second', quiet_for = $2 \
    where number = $1 and (quiet_until is null or quiet_until <= clock_timestamp() or quiet_for = $2) returning 1";
/// What was claimed is not tried again.
const KEEP_QUIET: &str = "update mim.subscriptions \
    set quiet_until = greatest(quiet_until, clock_timestamp() + $2 * interval '1 second'), quiet_for = null \
    where number = $1";
const IS_QUIET: &str =
    "select 1 from mim.subscriptions where number = $1 and quiet_until > clock_timestamp()";
/// Lanes that nobody empties: read off the key, lane by lane, however many changes wait in each.
const FORGOTTEN: &str = "with recursive waiting as ( \
    (select d.subscription, d.lane from mim.deliveries d order by 1, 2 limit 1) \
    union all \
    select n.subscription, n.lane from waiting w cross join lateral ( \
      select d.subscription, d.lane from mim.deliveries d where (d.subscription, d.lane) > (w.subscription, w.lane) \
      order by 1, 2 limit 1) n) \
  select w.subscription, w.lane from waiting w left join mim.lanes l using (subscription, lane) \
  where (l.held_until is null or l.held_until <= clock_timestamp()) \
    and (l.retry_at is null or l.retry_at <= clock_timestamp()) limit 1000";
/// Changes up to a number that nobody waits for: two lanes that end one at the same moment may each leave it to the other, and a subscription goes without what
/// waited for it.
const ORPHANS: &str = "with gone as ( \
    delete from mim.changes c where c.number in ( \
      select o.number from mim.changes o \
      where o.number <= $1 and not exists (select from mim.deliveries d where d.change = o.number) \
      order by o.number limit 1000) returning 1) \
  select count(*) from gone";
/// The number of the last change. The table itself would be read through all that was told since it was last vacuumed.
const LAST_CHANGE: &str = "select coalesce(pg_sequence_last_value('mim.changes_number_seq'), 0)";
/// Who takes a lane may do so just when its subscription goes; numbers of subscriptions do not come again.
const LEFT_BEHIND: &str = "delete from mim.lanes l where l.held_until <= clock_timestamp() \
    and not exists (select from mim.subscriptions s where s.number = l.subscription) \
    and not exists (select from mim.deliveries d where d.subscription = l.subscription and d.lane = l.lane)";
/// Holds lanes longer that are still held. One whose row is locked is about to be left, or held longer anyway.
const HOLD_ON: &str = "update mim.lanes l set held_until = clock_timestamp() + $4::float8 * interval '1 millisecond' \
  where (l.subscription, l.lane) in ( \
    select h.subscription, h.lane from unnest($1::bigint[], $2::smallint[]) p (s, n) \
    join mim.lanes h on h.subscription = p.s and h.lane = p.n \
    where h.holder = $3 and h.held_until > clock_timestamp() \
      and h.held_until < clock_timestamp() + $4::float8 * 0.75 * interval '1 millisecond' \
    for update of h skip locked)";
/// Leaves lanes as they are.
const LEAVE: &str = "update mim.lanes l set held_until = '-infinity' \
  where (l.subscription, l.lane) in ( \
    select h.subscription, h.lane from unnest($1::bigint[], $2::smallint[]) p (s, n) \
    join mim.lanes h on h.subscription = p.s and h.lane = p.n \
    where h.holder = $3 for update of h skip locked)";
const COUNT: &str = "select count(*) from (select from mim.deliveries where subscription = $1 limit $2) d";
/// Subscriptions with a lane that rests after a failure, or is tried again, or that are named, and as many changes as this, or
/// more.
const OVERFULL: &str = "select f.subscription \
  from (select l.subscription from mim.lanes l where l.failures > 0 union select unnest($2::bigint[])) f \
  where (select count(*) from (select from mim.deliveries d where d.subscription = f.subscription limit $1) w) = $1";
/// Gives up a surplus and tells how many these were. What a lane takes away at this moment goes without it; so lanes of one
/// receiver may give up at once, none counts what another one has, and nobody is waited for. A change that concerns nobody
/// else goes with it: it is the larger part of what waits. Where throttling holds for a change that is given up it holds no
/// more: nothing was told, and what is left is to be. A call that is under way for that change may succeed all the same; then
/// the next comes early, which is better than never.
macro_rules! give_up {
    ($surplus:expr) => {
        concat!(
            "with surplus as materialized (",
            $surplus,
            "), mine as materialized ( \
                select d.lane, d.change from mim.deliveries d join surplus using (lane, change) \
                where d.subscription = $1 for update of d skip locked), \
              gone as ( \
                delete from mim.deliveries d using mine \
                where d.subscription = $1 and d.lane = mine.lane and d.change = mine.change returning d.change), \
              freed as ( \
                update mim.subscriptions s set quiet_until = null, quiet_for = null from gone \
                where s.number = $1 and s.quiet_for = gone.change), \
              spent as ( \
                delete from mim.changes c using gone \
                where c.number = gone.change and not exists ( \
                  select from mim.deliveries o where o.change = c.number and o.subscription <> $1)) \
              select count(*) from gone"
        )
    };
}
const COALESCE: &str = give_up!(
    "select o.lane, o.change from ( \
       select i.lane, i.change, row_number() over (partition by c.tenant, c.entity order by c.number desc) as nth \
       from mim.deliveries i join mim.changes c on c.number = i.change where i.subscription = $1) o where o.nth > 1"
);
const DROP_OLDEST: &str = give_up!(
    "select i.lane, i.change from mim.deliveries i where i.subscription = $1 order by i.change desc offset $2"
);
const DROP_ALL: &str = give_up!("select i.lane, i.change from mim.deliveries i where i.subscription = $1");
const EPOCH: &str = "update mim.tenants t set subscriptions = t.subscriptions + 1 \
  where t.id = (select s.tenant from mim.subscriptions s where s.number = $1)";
const PAUSE: &str = "update mim.subscriptions set body = body || '{\"isActive\": false}' where number = $1";

fn count(rows: &[Row]) -> i64 {
    rows.first().map_or(0, |row| row.get(0))
}

/// Gives up all that waits and pauses the subscription. The tenant's row comes first, as wherever subscriptions change.
async fn pause(lease: &mut Lease, subscription: i64) -> Result<i64, StoreError> {
    lease.begin(EPOCH, &[&subscription]).await?;
    let gone = lease.within(DROP_ALL, &[&subscription]).await?;
    lease.commit(PAUSE, &[&subscription]).await?;
    Ok(count(&gone))
}

impl Store {
    /// Takes a lane; what is first in it. Empty: there is nothing, somebody else has it, or it rests.
    pub async fn take_lane(&self, hold: Hold) -> Result<Vec<Waiting>, StoreError> {
        let (subscription, lane) = hold.place;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&subscription, &lane, &hold.holder, &hold.millis, &MOST, &BYTES];
        let rows = self.pool.lease().await?.query(TAKE, &params).await?;
        Ok(rows.iter().map(Waiting::of).collect())
    }

    /// Takes away what is done and gives what is next. Empty: the lane was left.
    pub async fn go_on_with_lane(&self, hold: Hold, done: &Done) -> Result<Vec<Waiting>, StoreError> {
        let (subscription, lane) = hold.place;
        let rows = self
            .pool
            .lease()
            .await?
            .query(
                GO_ON,
                &[
                    &subscription,
                    &lane,
                    &hold.holder,
                    &hold.millis,
                    &MOST,
                    &BYTES,
                    &done.changes,
                    &done.sent,
                    &done.failed,
                    &done.success,
                    &done.failure,
                    &done.again,
                ],
            )
            .await?;
        Ok(rows.iter().map(Waiting::of).collect())
    }

    /// Whether this change is the one of which a throttled subscription may be told now, so many seconds before the next: the
    /// first that asks, and the same again, also at another replica.
    pub async fn claim_quiet(
        &self,
        subscription: i64,
        change: i64,
        seconds: f64,
    ) -> Result<bool, StoreError> {
        let rows = self
            .pool
            .lease()
            .await?
            .query(CLAIM, &[&subscription, &change, &seconds])
            .await?;
        Ok(!rows.is_empty())
    }

    /// Keeps a subscription quiet for so many seconds at least.
    pub async fn keep_quiet(&self, subscription: i64, seconds: f64) -> Result<(), StoreError> {
        let mut lease = self.pool.lease().await?;
        lease.query(KEEP_QUIET, &[&subscription, &seconds]).await?;
        Ok(())
    }

    /// Whether a subscription is quiet after a failure.
    pub async fn is_quiet(&self, subscription: i64) -> Result<bool, StoreError> {
        let rows = self.pool.lease().await?.query(IS_QUIET, &[&subscription]).await?;
        Ok(!rows.is_empty())
    }

    /// Lanes with something in them that nobody empties.
    pub async fn forgotten_lanes(&self) -> Result<Vec<Place>, StoreError> {
        let rows = self.pool.lease().await?.query(FORGOTTEN, &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Holds lanes for so many milliseconds from now on, those of them that this holder still has.
    pub async fn hold_lanes(&self, places: &[Place], holder: Uuid, millis: i32) -> Result<(), StoreError> {
        let (subscriptions, lanes): (Vec<i64>, Vec<i16>) = places.iter().copied().unzip();
        let mut lease = self.pool.lease().await?;
        lease
            .query(HOLD_ON, &[&subscriptions, &lanes, &holder, &f64::from(millis)])
            .await?;
        Ok(())
    }

    /// Leaves lanes to others, those of them that this holder has.
    pub async fn leave_lanes(&self, places: &[Place], holder: Uuid) -> Result<(), StoreError> {
        let (subscriptions, lanes): (Vec<i64>, Vec<i16>) = places.iter().copied().unzip();
        let mut lease = self.pool.lease().await?;
        lease.query(LEAVE, &[&subscriptions, &lanes, &holder]).await?;
        Ok(())
    }

    /// Takes away some changes up to this one that nobody waits for; false when there were none.
    pub async fn sweep_changes(&self, last: i64) -> Result<bool, StoreError> {
        let rows = self.pool.lease().await?.query(ORPHANS, &[&last]).await?;
        Ok(count(&rows) > 0)
    }

    /// The number of the last change so far; 0: there was none.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        let rows = self.pool.lease().await?.query(LAST_CHANGE, &[]).await?;
        Ok(count(&rows))
    }

    /// Takes away lanes of subscriptions that are gone.
    pub(super) async fn sweep_lanes(&self) -> Result<(), StoreError> {
        self.pool.lease().await?.query(LEFT_BEHIND, &[]).await?;
        Ok(())
    }

    /// Subscriptions for which more waits than may: of receivers that did not take something lately, and of these.
    pub async fn overfull_outboxes(&self, slow: &[i64], outbox: Outbox) -> Result<Vec<i64>, StoreError> {
        let slightly = i64::from(outbox.limit.get()) + 1;
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(OVERFULL, &[&slightly, &slow]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Gives up what waits beyond the limit; how many notifications were given up.
    pub async fn bound_outbox(&self, subscription: i64, outbox: Outbox) -> Result<i64, StoreError> {
        let limit = i64::from(outbox.limit.get());
        // A count that ends soon after the limit tells enough.
        let slightly = limit + 1;
        let mut lease = self.pool.lease().await?;
        if count(&lease.query(COUNT, &[&subscription, &slightly]).await?) <= limit {
            return Ok(0);
        }
        let oldest: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&subscription, &limit];
        Ok(match outbox.overflow {
            Overflow::Pause => pause(&mut lease, subscription).await?,
            Overflow::DropOldest => count(&lease.query(DROP_OLDEST, &oldest).await?),
            Overflow::CoalesceLatest => {
                let coalesced = count(&lease.query(COALESCE, &[&subscription]).await?);
                coalesced + count(&lease.query(DROP_OLDEST, &oldest).await?)
            }
        })
    }
}
