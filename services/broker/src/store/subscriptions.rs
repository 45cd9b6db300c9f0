//! Subscriptions as they are kept: made, read, changed and deleted, each time with a new epoch of the tenant, in one
//! transaction. Whoever was answered by any of these can rely on the next write to know of it, at every replica.

use crate::notify::matcher::{self, Known};
use crate::store::pool::Lease;
use crate::store::{Store, StoreError, TenantId};
use crate::subscription::Subscription;
use crate::subscription::show::Outcome;
use jiff::Timestamp;
use std::sync::Arc;
use tokio_postgres::Row;

/// No owner in particular.
const ANYBODY: Option<&str> = None;

/// How many subscriptions one tenant may have.
const MAX: i64 = 100_000;
/// How often one is made again whose place was taken and left meanwhile.
const ATTEMPTS: usize = 8;

macro_rules! columns {
    () => {
        "s.number, s.body::text, s.created, s.modified, s.times_sent, s.times_failed, s.last_notification, \
         s.last_success, s.last_failure"
    };
}

/// That it belongs to a subject, where one is named.
macro_rules! owned {
    ($subject:literal) => {
        concat!(
            "(",
            $subject,
            "::text is null or s.body #>> '{owner,subject}' = ",
            $subject,
            ")"
        )
    };
}

/// The tenant `$1`, its row locked before what it is compared with is looked for.
macro_rules! tenant {
    () => {
        "(select t.id from mim.tenants t where t.id = $1 for no key update)"
    };
}

/// A new epoch first: whoever makes, changes or deletes a subscription has its tenant's row before any other, and waits for
/// others there, with nothing in hand.
const CREATE: &str = "with epoch as ( \
    update mim.tenants set subscriptions = subscriptions + 1 where id = $1 returning 1) \
  insert into mim.subscriptions (tenant, id, body, created, modified, due) \
  select $1, $2, $3::text::jsonb, $4, $4, $5 from epoch \
  where (select count(*) from mim.subscriptions where tenant = $1) < $6 on conflict do nothing returning number";
const LOCK: &str = concat!(
    "select ",
    columns!(),
    " from mim.subscriptions s where s.tenant = ",
    tenant!(),
    " and s.id = $2 and ",
    owned!("$3"),
    " for update"
);
const UPDATE: &str = "with epoch as ( \
    update mim.tenants set subscriptions = subscriptions + 1 where id = $1) \
  update mim.subscriptions set body = $3::text::jsonb, modified = $4, due = $5, quiet_until = null, \
    owed = null, told_to = null, hold = null, failures = null \
  where tenant = $1 and id = $2";
/// Lanes rest no longer after a failure.
const RESTED: &str =
    "update mim.lanes set retry_at = null where subscription = $1 and retry_at is not null returning lane";
const DELETE: &str = concat!(
    "with gone as (delete from mim.subscriptions s where s.tenant = ",
    tenant!(),
    " and s.id = $2 and ",
    owned!("$3"),
    " returning number, body), \
  epoch as (update mim.tenants set subscriptions = subscriptions + 1 where id = $1 and exists (select from gone)) \
  select body::text, number from gone"
);
/// What is left of one, lanes first: who empties one holds its row while it takes away what it has delivered, and then notes
/// that at the subscription.
const UNHELD: &str = "delete from mim.lanes where subscription = $1";
const UNDELIVERED: &str = "delete from mim.deliveries where subscription = $1";
const ONE: &str = concat!(
    "select ",
    columns!(),
    " from mim.subscriptions s where s.tenant = $1 and s.id = $2 and ",
    owned!("$3")
);
/// A page, and in every row how many there are where that is asked; where the page is empty, one row that says only that.
const PAGE: &str = concat!(
    "select ",
    columns!(),
    ", n.count from ( \
       select case when $5 then (select count(*) from mim.subscriptions s where s.tenant = $1 and ",
    owned!("$2"),
    ") end as count) n \
     left join lateral ( \
       select * from mim.subscriptions s where s.tenant = $1 and ",
    owned!("$2"),
    " order by s.id limit $3 offset $4) s on true order by s.id"
);
const COUNT: &str = concat!(
    "select count(*) from mim.subscriptions s where s.tenant = $1 and ",
    owned!("$2")
);
/// Which subscriptions there are. Each change of a row is of another transaction.
const EPOCH_AND_VERSIONS: &str = "select t.subscriptions, s.number, s.xmin::text::bigint \
  from mim.tenants t left join mim.subscriptions s on s.tenant = t.id where t.id = $1";
const SOME: &str = "select s.number, s.xmin::text::bigint, s.body::text from mim.subscriptions s \
  where s.tenant = $1 and s.number = any($2)";

/// A subscription with its number and what came of it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The number by which other tables know it.
    pub number: i64,
    /// What is wanted.
    pub subscription: Subscription,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of making one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    Created,
    /// The id is in use.
    Exists,
    /// The tenant has as many as it may have.
    TooMany,
}

/// Reads a subscription as it is kept.
pub fn read(text: &str) -> Result<Subscription, StoreError> {
    serde_json::from_str(text)
        .map_err(|e| StoreError::Internal(format!("a stored subscription cannot be read: {e}")))
}

/// Reads the columns of a subscription.
fn kept(row: &Row) -> Result<Kept, StoreError> {
    Ok(Kept {
        number: row.get(0),
        subscription: read(row.get(1))?,
        outcome: Outcome {
            created: row.get(2),
            modified: row.get(3),
            times_sent: row.get(4),
            times_failed: row.get(5),
            last_notification: row.get(6),
            last_success: row.get(7),
            last_failure: row.get(8),
        },
    })
}

fn body(subscription: &Subscription) -> Result<String, StoreError> {
    serde_json::to_string(subscription).map_err(|e| StoreError::Internal(e.to_string()))
}

fn count(rows: &[Row]) -> i64 {
    rows.first().map_or(0, |row| row.get(0))
}

/// When the first notification of an interval is due: at once, and never while it is paused.
fn due(subscription: &Subscription, now: Timestamp) -> Option<Timestamp> {
    let has_interval = subscription.time_interval.is_some() && subscription.status(now) == "active";
    has_interval.then_some(now)
}

impl Store {
    /// Keeps a new subscription.
    pub async fn create_subscription(
        &self,
        tenant: TenantId,
        subscription: &Subscription,
        now: Timestamp,
    ) -> Result<Made, StoreError> {
        let (body, due) = (body(subscription)?, due(subscription, now));
        let mut lease = self.pool.lease().await?;
        for _ in 0..ATTEMPTS {
            let made = lease
                .query(CREATE, &[&tenant.0, &subscription.id, &body, &now, &due, &MAX])
                .await?;
            if !made.is_empty() {
                return Ok(Made::Created);
            }
            if !lease
                .query(ONE, &[&tenant.0, &subscription.id, &ANYBODY])
                .await?
                .is_empty()
            {
                return Ok(Made::Exists);
            }
            if count(&lease.query(COUNT, &[&tenant.0, &ANYBODY]).await?) >= MAX {
                return Ok(Made::TooMany);
            }
            // Whoever had the id, or the last place, has left meanwhile.
        }
        Err(StoreError::Unavailable(
            "the subscription is being created and deleted by others".to_owned(),
        ))
    }

    /// One subscription, of this owner where one is named.
    pub async fn subscription(
        &self,
        tenant: TenantId,
        owner: Option<&str>,
        id: &str,
    ) -> Result<Option<Kept>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(ONE, &[&tenant.0, &id, &owner]).await?;
        rows.first().map(kept).transpose()
    }

    /// A page of them, by id, of those of this owner where one is named; with how many there are where it is `counted`.
    pub async fn subscriptions(
        &self,
        tenant: TenantId,
        owner: Option<&str>,
        (limit, offset): (i64, i64),
        counted: bool,
    ) -> Result<(Vec<Kept>, Option<i64>), StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease
            .query(PAGE, &[&tenant.0, &owner, &limit, &offset, &counted])
            .await?;
        let count = rows.first().and_then(|row| row.get(9));
        let there = rows.iter().filter(|row| row.get::<_, Option<i64>>(0).is_some());
        Ok((there.map(kept).collect::<Result<_, _>>()?, count))
    }

    /// Changes one, as `change` says when it sees it; `None`: there is none, or none of this owner. A refusal keeps it as it is.
    pub async fn change_subscription<E>(
        &self,
        tenant: TenantId,
        owner: Option<&str>,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&Subscription) -> Result<Subscription, E> + Send,
    ) -> Result<Option<Result<(), E>>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.begin(LOCK, &[&tenant.0, &id, &owner]).await?;
        let Some(before) = rows.first().map(kept).transpose()? else {
            lease.rollback().await;
            return Ok(None);
        };
        let after = match change(&before.subscription) {
            Ok(after) => after,
            Err(refused) => {
                lease.rollback().await;
                return Ok(Some(Err(refused)));
            }
        };
        let (body, due) = (body(&after)?, due(&after, now));
        lease.commit(UPDATE, &[&tenant.0, &id, &body, &now, &due]).await?;
        if after.notification.endpoint != before.subscription.notification.endpoint {
            self.try_again(&mut lease, before.number).await;
        }
        Ok(Some(Ok(())))
    }

    /// What waits while a receiver is left in peace does not wait for that when it is to go to another one, or with other
    /// credentials. Not with the change itself: who empties a lane holds the lane first and the subscription then.
    async fn try_again(&self, lease: &mut Lease, number: i64) {
        match lease.query(RESTED, &[&number]).await {
            Ok(lanes) => {
                for lane in lanes {
                    let _ = self.waiting.try_send((number, lane.get(0)));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "what waits for a receiver that has changed is sent when its rest is over");
            }
        }
    }

    /// Deletes one, and what was not delivered yet; what it was, or `None` where there was none of this owner.
    pub async fn delete_subscription(
        &self,
        tenant: TenantId,
        owner: Option<&str>,
        id: &str,
    ) -> Result<Option<Subscription>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let gone = lease.query(DELETE, &[&tenant.0, &id, &owner]).await?;
        let Some(gone) = gone.first() else {
            return Ok(None);
        };
        let (subscription, number) = (read(gone.get(0))?, gone.get::<_, i64>(1));
        let left = async {
            lease.begin(UNHELD, &[&number]).await?;
            lease.commit(UNDELIVERED, &[&number]).await
        };
        if let Err(error) = left.await {
            // It is gone all the same, and what waits for it goes when it is its turn.
            tracing::debug!(%error, "what waits for a deleted subscription goes later");
        }
        Ok(Some(subscription))
    }

    /// The subscribers of a tenant, as far as this process knows; asks for them the first time.
    pub(super) async fn known(&self, tenant: TenantId) -> Result<Arc<Known>, StoreError> {
        self.known_since(tenant, i64::MIN).await
    }

    /// The subscribers of a tenant in this epoch, or a later one.
    pub async fn known_since(&self, tenant: TenantId, epoch: i64) -> Result<Arc<Known>, StoreError> {
        if let Some(known) = self.matcher.known_since(tenant, epoch) {
            return Ok(known);
        }
        // Whose turn it is has a connection: nobody waits for one that those have who wait for their turn.
        let mut lease = self.pool.lease().await?;
        let _turn = self.matcher.turn().await;
        if let Some(known) = self.matcher.known_since(tenant, epoch) {
            return Ok(known);
        }
        let versions = lease.query(EPOCH_AND_VERSIONS, &[&tenant.0]).await?;
        let there = There::of(self.matcher.known(tenant), &versions);
        let read = match there.unknown.as_slice() {
            [] => Vec::new(),
            unknown => lease.query(SOME, &[&tenant.0, &unknown]).await?,
        };
        Ok(self.matcher.learn(tenant, there.with(&read)?))
    }

    /// The subscribers of a tenant in an epoch that a transaction has read, or a later one.
    pub(super) async fn known_in(
        &self,
        lease: &mut Lease,
        tenant: TenantId,
        epoch: i64,
    ) -> Result<Arc<Known>, StoreError> {
        if let Some(known) = self.matcher.known_since(tenant, epoch) {
            return Ok(known);
        }
        let _turn = self.matcher.turn().await;
        if let Some(known) = self.matcher.known_since(tenant, epoch) {
            return Ok(known);
        }
        let versions = lease.within(EPOCH_AND_VERSIONS, &[&tenant.0]).await?;
        let there = There::of(self.matcher.known(tenant), &versions);
        let read = match there.unknown.as_slice() {
            [] => Vec::new(),
            unknown => lease.within(SOME, &[&tenant.0, &unknown]).await?,
        };
        Ok(self.matcher.learn(tenant, there.with(&read)?))
    }
}

/// The subscriptions that there are, and which of them have to be read.
struct There {
    epoch: i64,
    versions: Vec<(i64, i64)>,
    known: Arc<Known>,
    unknown: Vec<i64>,
}

impl There {
    fn of(known: Option<Arc<Known>>, rows: &[Row]) -> Self {
        let known = known.unwrap_or_default();
        let versions = rows
            .iter()
            .filter_map(|row| Some((row.get::<_, Option<i64>>(1)?, row.get(2))));
        let versions: Vec<(i64, i64)> = versions.collect();
        Self {
            epoch: rows.first().map_or(0, |row| row.get(0)),
            unknown: known.unknown(&versions),
            versions,
            known,
        }
    }

    fn with(&self, rows: &[Row]) -> Result<Known, StoreError> {
        let one = |row: &Row| {
            Ok(matcher::There {
                number: row.get(0),
                version: row.get(1),
                subscription: read(row.get(2))?,
            })
        };
        let read = rows.iter().map(one).collect::<Result<_, StoreError>>()?;
        Ok(self.known.next(self.epoch, &self.versions, read))
    }
}
