//! Takes away what nothing refers to any more. Most of it is the past of entities that were deleted: a deletion only notes that
//! it is to go, as it may be millions of rows.

use crate::store::{Store, StoreError};
use std::time::{Duration, Instant};

/// How often each replica looks whether there is anything.
const LOOK: Duration = Duration::from_secs(10);
/// How often changes are looked for that nobody waits for, of those that were there at the look before. What was told since then is no row any more by that
/// time, if the table was vacuumed: the server does so every minute. Before that each of them costs as much as one that is there, 25 ms for what 2,000 writes a
/// second leave in five seconds.
const CHANGES: Duration = Duration::from_mins(5);
/// Rows of one step: well within the time of a statement, also of a slow database.
const STEP: i64 = 5000;

/// One step of one entity; replicas take different ones.
const SWEEP: &str = "with one as materialized ( \
    select f.tenant, f.entity, f.before from mim.forgotten f limit 1 for update skip locked), \
  few as materialized ( \
    select h.tenant, h.entity, h.attr, h.instance from one join mim.history h \
        on h.tenant = one.tenant and h.entity = one.entity and h.instance < one.before limit $1), \
  gone as ( \
    delete from mim.history h using few s \
    where h.tenant = s.tenant and h.entity = s.entity and h.attr = s.attr and h.instance = s.instance), \
  done as ( \
    delete from mim.forgotten f using one \
    where f.tenant = one.tenant and f.entity = one.entity and (select count(*) from few) < $1) \
  select 1 from one";

/// Whether the next step is to be taken, after one that said whether there was something to do. `what` goes.
pub(super) fn goes_on(what: &str, step: Result<bool, StoreError>) -> bool {
    match step {
        Ok(more) => return more,
        // Where the database does not serve, the keeper says so.
        Err(error @ StoreError::Unavailable(_)) => tracing::debug!(%error, "{what} goes later"),
        Err(error) => tracing::warn!(%error, "{what} could not be taken away"),
    }
    false
}

impl Store {
    /// Runs for ever; tenants that were dropped and lanes that nobody uses any more go as well.
    pub async fn sweep(self) {
        let (mut looked, mut last) = (Instant::now(), 0);
        loop {
            tokio::time::sleep(LOOK).await;
            self.drop_tenants().await;
            if looked.elapsed() >= CHANGES {
                while goes_on("changes that nobody waits for", self.sweep_changes(last).await) {}
                looked = Instant::now();
                let now = self.last_change().await;
                last = now.inspect_err(StoreError::tell_if_lasting).unwrap_or(last);
            }
            goes_on(
                "lanes of deleted subscriptions",
                self.sweep_lanes().await.map(|()| false),
            );
            if self.keeping().has_any {
                while goes_on("the past of deleted entities", self.sweep_some().await) {}
            }
        }
    }

    /// One step; false when nothing was left to do.
    async fn sweep_some(&self) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(SWEEP, &[&STEP]).await?;
        Ok(!rows.is_empty())
    }
}
