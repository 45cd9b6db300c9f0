//! The past of an entity corrected: instances put in the place of others, taken away, all of it forgotten.

use super::{EXISTS, LOCK};
use crate::memory::room::Held;
use crate::model::entity::{Entity, Instance};
use crate::model::instance_id::InstanceId;
use crate::model::names::instant;
use crate::model::stored;
use crate::permissions::Who;
use crate::permissions::change::Denied;
use crate::permissions::past::{Whose, past_only};
use crate::store::history::after;
use crate::store::pool::Lease;
use crate::store::{Store, StoreError, TenantId};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// How many instances are taken away at once: well within the time of a statement.
const STEP: i64 = 5000;

/// What came of taking from the past, or correcting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrected {
    /// It is done.
    Done,
    /// There is nothing to do it to.
    NotFound,
    /// Who asks may not do this.
    Denied(Denied),
}

impl Corrected {
    fn done(found: bool) -> Self {
        if found { Self::Done } else { Self::NotFound }
    }
}

/// An attribute of the past of an entity, and who writes it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// Whose.
    pub tenant: TenantId,
    /// The entity.
    pub id: &'p str,
    /// The IRI of the attribute.
    pub attr: &'p str,
    /// Who writes.
    pub who: &'p Who,
}

/// Which instances of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfDataset {
    /// All.
    Any,
    /// Those of this dataset; `None`: of none.
    One(Option<String>),
}

const FORGET: &str = "with gone as (delete from mim.temporal_entities where tenant = $1 and id = $2), \
    moved_on as (update mim.entities set modified = $4 where tenant = $1 and id = $2), \
    forgotten as (insert into mim.forgotten as f (tenant, entity, before) values ($1, $2, $3) \
        on conflict (tenant, entity) do update set before = greatest(f.before, excluded.before)) \
    select 1 where false";

const TAKE_AWAY: &str = concat!(
    "with begins as (",
    begins!(),
    "), few as materialized (select h.instance from begins b join mim.history h on h.tenant = $1 and h.entity = $2 and h.attr = $3 \
        and h.instance >= b.first and ($4::boolean or h.dataset is not distinct from $5::text) limit $6), \
     gone as (delete from mim.history h using few where h.tenant = $1 and h.entity = $2 and h.attr = $3 and h.instance = few.instance) \
     select count(*) from few"
);

const REPLACE: &str = concat!(
    "with begins as (",
    begins!(),
    ") update mim.history h set modified = greatest($7, h.recorded), observed = $6, dataset = coalesce($8::text, h.dataset), \
        body = $5::text::jsonb || case when $8::text is null and h.dataset is not null \
            then jsonb_build_object('datasetId', h.dataset) else '{}' end \
     from begins b where h.tenant = $1 and h.entity = $2 and h.attr = $3 and h.instance = $4 and h.instance >= b.first \
        and h.body is not null returning 1"
);

const TAKE_ONE: &str = concat!(
    "with begins as (",
    begins!(),
    ") delete from mim.history h using begins b where h.tenant = $1 and h.entity = $2 and h.attr = $3 and h.instance = $4 \
        and h.instance >= b.first returning 1"
);

impl Store {
    /// Forgets the past of an entity; the entity that there is now stays, and its past begins anew.
    pub async fn forget_past(&self, tenant: TenantId, who: &Who, id: &str) -> Result<Corrected, StoreError> {
        let Some(mut held) = self.hold_past(tenant, id).await? else {
            return Ok(Corrected::NotFound);
        };
        if let Err(denied) = who.may_forget_past(held.whose()) {
            held.lease.rollback().await;
            return Ok(Corrected::Denied(denied));
        }
        if held.lease.within(EXISTS, &[&tenant.0, &id]).await?.is_empty() {
            held.lease.rollback().await;
            return Ok(Corrected::NotFound);
        }
        let next = after(held.entity.modified);
        let before = InstanceId::first_at(next).0;
        held.lease
            .commit(FORGET, &[&tenant.0, &id, &before, &next])
            .await?;
        Ok(Corrected::Done)
    }

    /// Holds the row of an entity, or the one of an entity of the past only, in a transaction. `None`: there is neither.
    async fn hold_past(&self, tenant: TenantId, id: &str) -> Result<Option<HeldPast>, StoreError> {
        if let Some(current) = self.lock(tenant, id).await? {
            return Ok(Some(HeldPast {
                lease: current.lease,
                entity: current.entity,
                is_current: true,
                _room: current.room,
            }));
        }
        let mut lease = self.pool.lease().await?;
        let locked = lease.begin(LOCK, &[&tenant.0, &id]).await?;
        let Some(row) = locked.first() else {
            lease.rollback().await;
            return Ok(None);
        };
        let types: Vec<String> = row.get(0);
        Ok(Some(HeldPast {
            lease,
            entity: Entity {
                modified: row.get(1),
                ..past_only(id, &types)
            },
            is_current: false,
            _room: Held::default(),
        }))
    }

    /// Runs a statement on the past of an attribute, if who asks may correct it. Who may do everything holds no row.
    async fn corrected(
        &self,
        place: Place<'_>,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Result<Vec<Row>, Denied>, StoreError> {
        if let Who::Platform = place.who {
            return self.pool.lease().await?.query(sql, params).await.map(Ok);
        }
        let Some(mut held) = self.hold_past(place.tenant, place.id).await? else {
            return Ok(Err(Denied::NotSeen));
        };
        if let Err(denied) = place.who.may_correct_past(held.whose(), place.attr) {
            held.lease.rollback().await;
            return Ok(Err(denied));
        }
        held.lease.commit(sql, params).await.map(Ok)
    }

    /// Takes the past of an attribute away, step by step; what is gone stays so where it does not come to its end.
    pub async fn take_past_away(
        &self,
        place: Place<'_>,
        dataset: &OfDataset,
    ) -> Result<Corrected, StoreError> {
        let Place { tenant, id, attr, .. } = place;
        let (any, dataset) = match dataset {
            OfDataset::Any => (true, None),
            OfDataset::One(dataset) => (false, dataset.as_deref()),
        };
        let params: [&(dyn ToSql + Sync); 6] = [&tenant.0, &id, &attr, &any, &dataset, &STEP];
        let mut found = false;
        loop {
            let rows = match self.corrected(place, TAKE_AWAY, &params).await? {
                Ok(rows) => rows,
                Err(denied) => return Ok(Corrected::Denied(denied)),
            };
            let count: i64 = rows.first().map_or(0, |row| row.get(0));
            found |= count > 0;
            if count < STEP {
                return Ok(Corrected::done(found));
            }
        }
    }

    /// Puts an instance in the place of another one, of whose dataset it is where it names none. A deletion is none.
    pub async fn replace_past(
        &self,
        place: Place<'_>,
        instance: InstanceId,
        by: &Instance,
        now: Timestamp,
    ) -> Result<Corrected, StoreError> {
        let body = stored::instance_text(by);
        let observed = by.observed_at.as_deref().and_then(instant);
        let Place { tenant, id, attr, .. } = place;
        let params: [&(dyn ToSql + Sync); 8] = [
            &tenant.0,
            &id,
            &attr,
            &instance.0,
            &body,
            &observed,
            &now,
            &by.dataset,
        ];
        Ok(match self.corrected(place, REPLACE, &params).await? {
            Ok(replaced) => Corrected::done(!replaced.is_empty()),
            Err(denied) => Corrected::Denied(denied),
        })
    }

    /// Takes one instance away.
    pub async fn take_one_away(
        &self,
        place: Place<'_>,
        instance: InstanceId,
    ) -> Result<Corrected, StoreError> {
        let Place { tenant, id, attr, .. } = place;
        let params: [&(dyn ToSql + Sync); 4] = [&tenant.0, &id, &attr, &instance.0];
        Ok(match self.corrected(place, TAKE_ONE, &params).await? {
            Ok(gone) => Corrected::done(!gone.is_empty()),
            Err(denied) => Corrected::Denied(denied),
        })
    }
}

/// The row of an entity whose past is written, held in a transaction.
struct HeldPast {
    lease: Lease,
    /// The entity, or what is known of it.
    entity: Entity,
    is_current: bool,
    _room: Held,
}

impl HeldPast {
    /// As rules are asked of it.
    fn whose(&self) -> Whose<'_> {
        if self.is_current {
            Whose::Current(&self.entity)
        } else {
            Whose::PastOnly(&self.entity)
        }
    }
}
