//! Takes away the past of entities that were deleted. A deletion only notes that it is to go: an entity's past may be
//! millions of rows.

use crate::store::{Store, StoreError};
use std::time::Duration;

/// How often each replica looks whether there is anything.
const LOOK: Duration = Duration::from_secs(10);
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

impl Store {
    /// Runs for ever; tenants that were dropped go as well.
    pub async fn sweep(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.drop_tenants().await;
            if self.keeping().has_any {
                self.sweep_all().await;
            }
        }
    }

    async fn sweep_all(&self) {
        loop {
            match self.sweep_some().await {
                Ok(true) => {}
                Ok(false) => return,
                // Where the database does not serve, the keeper says so.
                Err(error @ StoreError::Unavailable(_)) => {
                    return tracing::debug!(%error, "the past of deleted entities goes later");
                }
                Err(error) => {
                    return tracing::warn!(%error, "the past of deleted entities could not be taken away");
                }
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
