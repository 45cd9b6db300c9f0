//! Takes away the data of tenants that were dropped ([`crate::store::tenants`] marks them), a few rows at a time: a tenant may be
//! millions of them.

use crate::store::sweeper::goes_on;
use crate::store::{Store, StoreError};
use std::time::Duration;

/// How long after a tenant was marked its data begins to go: by then every replica has read the list, so nobody writes to it any more.
/// The kubelet refreshes a mounted ConfigMap about once a minute.
const REST: Duration = Duration::from_mins(5);
/// Rows of one step: well within the time of a statement, also of a slow database.
const STEP: i64 = 5000;

/// One tenant, while no other replica is at it.
const ONE: &str = "select id from mim.tenants where dropped < clock_timestamp() - $1::float8 * interval '1 second' \
  order by id limit 1 for update skip locked";

/// Deletes a few rows of a table by the rest of its key, which begins with the tenant, and counts them.
macro_rules! few {
    ($table:literal, $key:literal) => {
        concat!(
            "with few as materialized (select ",
            $key,
            " from mim.",
            $table,
            " where tenant = $1 limit $2), gone as (delete from mim.",
            $table,
            " where tenant = $1 and (",
            $key,
            ") in (select ",
            $key,
            " from few)) select count(*) from few"
        )
    };
}

/// What a tenant has, in the order in which whoever delivers its notifications locks it; the past last, as that is the most.
const PARTS: [&str; 12] = [
    "with few as materialized (select l.subscription, l.lane from mim.subscriptions s join mim.lanes l on l.subscription = s.number \
      where s.tenant = $1 limit $2), \
    gone as (delete from mim.lanes where (subscription, lane) in (select subscription, lane from few)) select count(*) from few",
    "with few as materialized (select d.subscription, d.lane, d.change from mim.subscriptions s \
      join mim.deliveries d on d.subscription = s.number where s.tenant = $1 limit $2), \
    gone as (delete from mim.deliveries where (subscription, lane, change) in (select subscription, lane, change from few)) \
    select count(*) from few",
    few!("changes", "number"),
    few!("subscriptions", "id"),
    "with few as materialized (select array(select ctid from mim.entity_geometries where tenant = $1 limit $2) as rows), \
    gone as (delete from mim.entity_geometries where ctid = any((select rows from few)::tid[])) select cardinality(rows)::bigint from few",
    few!("entity_types", "type, id"),
    few!("entities", "id"),
    few!("contexts", "id"),
    few!("contract_views", "name"),
    few!("temporal_entities", "id"),
    few!("history", "entity, attr, instance"),
    few!("forgotten", "entity"),
];
const NOTHING_IS_LEFT: &str = "delete from mim.tenants where id = $1 returning was";

impl Store {
    /// Goes on with what was dropped until nothing of it is left, or the database does not serve.
    pub(super) async fn drop_tenants(&self) {
        while goes_on("the data of a dropped tenant", self.drop_some().await) {}
    }

    /// One step; false when there was nothing to do.
    async fn drop_some(&self) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        let found = lease.begin(ONE, &[&REST.as_secs_f64()]).await?;
        let Some(tenant) = found.first().map(|row| row.get::<_, i32>(0)) else {
            lease.rollback().await;
            return Ok(false);
        };
        for part in PARTS {
            let gone = lease.within(part, &[&tenant, &STEP]).await?;
            if gone.first().is_some_and(|row| row.get::<_, i64>(0) > 0) {
                // What is done is kept, and the next step goes on.
                lease.commit("select 1", &[]).await?;
                return Ok(true);
            }
        }
        let rows = lease.commit(NOTHING_IS_LEFT, &[&tenant]).await?;
        let was = rows.first().and_then(|row| row.get::<_, Option<String>>(0));
        tracing::info!(
            tenant = was,
            "a tenant that was dropped is gone, with all its data"
        );
        Ok(true)
    }
}
