//! What is written to the past of an entity alone: instances added, corrected, taken away (clauses 5.6.11 to 5.6.16).
//!
//! An instance that was observed at the same time as one that is there, and is of the same dataset, is the same data point:
//! it corrects that one and is not put beside it. So whoever does not know whether a request was kept may send it again.
//!
//! Whoever adds instances holds the row of the entity, or the one of an entity of the past only, and moves on when it was
//! modified. So a deletion knows up to which instance there can be any, whatever the clocks of replicas say.

use crate::model::entity::{Fragment, Instance};
use crate::model::instance_id::InstanceId;
use crate::model::names::instant;
use crate::model::read::past::PastFragment;
use crate::model::temporal::brought::{Point, latest, points};
use crate::model::{change, stored};
use crate::store::entities::Locked;
use crate::store::history::{Keeping, Past, after};
use crate::store::pool::Lease;
use crate::store::rows::{self, Beside, Columns, columns};
use crate::store::{Store, StoreError, TenantId};
use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How often a write starts again where another one creates the same entity.
const ATTEMPTS: usize = 8;
/// How many instances are taken away at once: well within the time of a statement.
const STEP: i64 = 5000;

/// What adding to the past does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Whether an entity of which nothing is known is made.
    pub creates: bool,
    /// Whether the current entity follows: it is made as well, and has the latest instances.
    pub makes_entity: bool,
}

/// What came of adding to the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// There was nothing of this entity's past before.
    Created,
    /// There was.
    Extended,
    /// There is no such entity.
    NotFound,
    /// This broker keeps no past.
    NotKept,
}

/// Which instances of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfDataset {
    /// All.
    Any,
    /// Those of this dataset; `None`: of none.
    One(Option<String>),
}

/// Where the past of entity `$2` of tenant `$1` begins; no row where there is no such entity.
macro_rules! begins {
    () => {
        "select greatest(mim.first_instance(coalesce(t.created, e.created)), f.before) as first \
            from (select $1::integer as tenant, $2::text as id) k \
            left join mim.entities e on e.tenant = k.tenant and e.id = k.id \
            left join mim.temporal_entities t on t.tenant = k.tenant and t.id = k.id \
            left join mim.forgotten f on f.tenant = k.tenant and f.entity = k.id \
            where e.id is not null or t.id is not null"
    };
}

/// The same rows that changes of entities add, for the parameters from `$3`.
macro_rules! keep {
    ($where:literal) => {
        concat!(
            "insert into mim.history (tenant, entity, attr, instance, recorded, dataset, observed, body) \
             select $1, h.entity, h.attr, h.instance, h.recorded, h.dataset, h.observed, h.body::jsonb \
             from unnest($3::text[], $4::text[], $5::uuid[], $6::timestamptz[], $7::text[], $8::timestamptz[], $9::text[]) \
                as h(entity, attr, instance, recorded, dataset, observed, body)",
            $where
        )
    };
}

/// Ends a transaction whose last statement has to be looked at before.
const NOTHING: &str = "select";
const EXISTS: &str = concat!(
    "with begins as (",
    begins!(),
    ") select 1 from begins b where exists (select 1 from mim.temporal_entities t where t.tenant = $1 and t.id = $2) \
       or exists (select 1 from mim.history h where h.tenant = $1 and h.entity = $2 and h.instance >= b.first)"
);

/// Of data points, numbered from 1, those that are there.
const SAME: &str = concat!(
    "with begins as (",
    begins!(),
    ") select k.n, x.instance from begins b \
       cross join unnest($3::text[], $4::text[], $5::timestamptz[]) with ordinality as k(attr, dataset, observed, n) \
       cross join lateral (select h.instance from mim.history h where h.tenant = $1 and h.entity = $2 and h.attr = k.attr \
           and h.observed = k.observed and h.dataset is not distinct from k.dataset and h.instance >= b.first \
         order by h.instance desc limit 1) x"
);

/// What says the same stays as it is.
const CORRECT: &str = "update mim.history h set body = c.body::jsonb, modified = greatest($6, h.recorded) \
    from unnest($3::text[], $4::uuid[], $5::text[]) as c(attr, instance, body) \
    where h.tenant = $1 and h.entity = $2 and h.attr = c.attr and h.instance = c.instance and h.body <> c.body::jsonb";

const LOCK: &str =
    "select types, modified from mim.temporal_entities where tenant = $1 and id = $2 for update";

/// Up to where a past of this entity was forgotten, and has not gone yet.
const FORGOTTEN: &str = "select before from mim.forgotten where tenant = $1 and entity = $2";

const CREATE: &str = concat!(
    "with new as (insert into mim.temporal_entities (tenant, id, types, created, modified) values ($1, $2, $10, $11, $11) \
        on conflict do nothing returning id), kept as (",
    keep!(" where exists (select 1 from new)"),
    ") select 1 from new"
);

const EXTEND: &str = concat!(
    "with changed as (update mim.temporal_entities set types = $10, modified = $11 where tenant = $1 and id = $2), kept as (",
    keep!(""),
    ") select 1 where false"
);

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

/// The parameters of [`CREATE`] and [`EXTEND`] but the last two.
macro_rules! past_of {
    ($tenant:expr, $id:expr, $past:expr, $($more:expr),*) => {
        &[
            &$tenant.0, &$id, &$past.entities, &$past.attrs, &$past.instances, &$past.recorded, &$past.datasets,
            &$past.observed, &$past.bodies $(, $more)*
        ]
    };
}

impl Store {
    /// Whether the past is kept at this moment.
    #[must_use]
    pub fn keeps_past(&self) -> bool {
        self.keeping().adds
    }

    /// Adds instances to the past of an entity, all or none.
    pub async fn add_past(
        &self,
        tenant: TenantId,
        id: &str,
        fragment: &PastFragment,
        manner: Manner,
        now: Timestamp,
    ) -> Result<Added, StoreError> {
        if !self.keeps_past() {
            return Ok(Added::NotKept);
        }
        for _ in 0..ATTEMPTS {
            let added = match self.lock(tenant, id).await? {
                Some(locked) => Some(self.add_to_current(tenant, locked, fragment, manner, now).await?),
                None if manner.creates && manner.makes_entity => {
                    self.add_with_entity(tenant, id, fragment, now).await?
                }
                None => self.add_to_past_only(tenant, id, fragment, manner, now).await?,
            };
            if let Some(added) = added {
                return Ok(added);
            }
        }
        Err(StoreError::Unavailable(
            "the entity is being created and deleted by others".to_owned(),
        ))
    }

    /// Adds to the past of an entity that there is now.
    async fn add_to_current(
        &self,
        tenant: TenantId,
        locked: Locked,
        fragment: &PastFragment,
        manner: Manner,
        now: Timestamp,
    ) -> Result<Added, StoreError> {
        let Locked {
            mut lease,
            entity: before,
            beside,
            room: _room,
        } = locked;
        let existed = lease.within(EXISTS, &[&tenant.0, &before.id]).await?;
        let now = now.max(after(before.modified));
        let past = correct(&mut lease, tenant, &before.id, points(fragment), now).await?;
        let mut entity = before.clone();
        let winners = if manner.makes_entity {
            latest(fragment, Some(&before), now)
        } else {
            Fragment {
                types: fragment.types.clone(),
                ..Fragment::default()
            }
        };
        change::append(&mut entity, winners, change::Existing::Overwritten, now);
        entity.modified = now;
        // What is added to the past is another matter than what the entity comes to.
        let mut changed = Columns::new(&Beside {
            keeping: Keeping::default(),
            ..beside
        });
        if let Err(error) = changed.add_changed(tenant, &before, &entity) {
            lease.rollback().await;
            return Err(error);
        }
        changed.past = past;
        let more: [&Vec<String>; 3] = [&changed.untyped.0, &changed.untyped.1, &changed.moved];
        lease
            .commit(rows::UPDATE, columns!(tenant, changed, more[0], more[1], more[2]))
            .await?;
        self.tell(&changed.told);
        Ok(if existed.is_empty() {
            Added::Created
        } else {
            Added::Extended
        })
    }

    /// Makes the current entity as well. `None`: somebody else has.
    async fn add_with_entity(
        &self,
        tenant: TenantId,
        id: &str,
        fragment: &PastFragment,
        now: Timestamp,
    ) -> Result<Option<Added>, StoreError> {
        let known = self.known(tenant).await?;
        let mut lease = self.pool.lease().await?;
        let existed = lease.begin(EXISTS, &[&tenant.0, &id]).await?;
        let now = begins_at(&mut lease, tenant, id, now).await?;
        let mut winners = latest(fragment, None, now);
        winners.id = Some(id.to_owned());
        let entity = change::create(winners, now);
        let epoch = known.epoch;
        let mut new = Columns::new(&Beside {
            keeping: Keeping::default(),
            known,
        });
        if let Err(error) = new.add_new(tenant, &entity) {
            lease.rollback().await;
            return Err(error);
        }
        new.past = correct(&mut lease, tenant, id, points(fragment), now).await?;
        let first = new.first_instance();
        let rows = lease
            .within(rows::INSERT, columns!(tenant, new, &epoch, &first))
            .await?;
        let inserted = rows::inserted(&rows);
        if inserted.ids.is_empty() {
            lease.rollback().await;
            drop(lease);
            if inserted.epoch != epoch {
                // Somebody has subscribed since this process last looked.
                self.learn(tenant).await?;
            }
            return Ok(None);
        }
        lease.commit(NOTHING, &[]).await?;
        self.tell(&new.told);
        Ok(Some(if existed.is_empty() {
            Added::Created
        } else {
            Added::Extended
        }))
    }

    /// Adds to the past of an entity that there is not now. `None`: somebody else makes it.
    async fn add_to_past_only(
        &self,
        tenant: TenantId,
        id: &str,
        fragment: &PastFragment,
        manner: Manner,
        now: Timestamp,
    ) -> Result<Option<Added>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let locked = lease.begin(LOCK, &[&tenant.0, &id]).await?;
        let Some(row) = locked.first() else {
            if !manner.creates {
                lease.rollback().await;
                return Ok(Some(Added::NotFound));
            }
            let now = begins_at(&mut lease, tenant, id, now).await?;
            let past = past_of(id, points(fragment), now);
            let created = lease
                .commit(CREATE, past_of!(tenant, id, past, &fragment.types, &now))
                .await?;
            return Ok((!created.is_empty()).then_some(Added::Created));
        };
        let (mut types, modified): (Vec<String>, Timestamp) = (row.get(0), row.get(1));
        for iri in &fragment.types {
            if !types.contains(iri) {
                types.push(iri.clone());
            }
        }
        let now = now.max(after(modified));
        let past = correct(&mut lease, tenant, id, points(fragment), now).await?;
        lease
            .commit(EXTEND, past_of!(tenant, id, past, &types, &now))
            .await?;
        Ok(Some(Added::Extended))
    }

    /// Forgets the past of an entity; the entity that there is now stays, and its past begins anew. False: there is none.
    pub async fn forget_past(&self, tenant: TenantId, id: &str) -> Result<bool, StoreError> {
        let (mut lease, modified, _room) = if let Some(current) = self.lock(tenant, id).await? {
            (current.lease, Some(current.entity.modified), current.room)
        } else {
            let mut lease = self.pool.lease().await?;
            let locked = lease.begin(LOCK, &[&tenant.0, &id]).await?;
            let modified = locked.first().map(|row| row.get(1));
            (lease, modified, crate::memory::room::Held::default())
        };
        let exists = match modified {
            None => false,
            Some(_) => !lease.within(EXISTS, &[&tenant.0, &id]).await?.is_empty(),
        };
        if !exists {
            lease.rollback().await;
            return Ok(false);
        }
        let next = after(modified.unwrap_or_default());
        let before = InstanceId::first_at(next).0;
        lease.commit(FORGET, &[&tenant.0, &id, &before, &next]).await?;
        Ok(true)
    }

    /// Takes the past of an attribute away, step by step; what is gone stays so where it does not come to its end. False:
    /// there was nothing.
    pub async fn take_past_away(
        &self,
        tenant: TenantId,
        id: &str,
        attr: &str,
        dataset: &OfDataset,
    ) -> Result<bool, StoreError> {
        let (any, dataset) = match dataset {
            OfDataset::Any => (true, None),
            OfDataset::One(dataset) => (false, dataset.as_deref()),
        };
        let mut lease = self.pool.lease().await?;
        let mut found = false;
        loop {
            let rows = lease
                .query(TAKE_AWAY, &[&tenant.0, &id, &attr, &any, &dataset, &STEP])
                .await?;
            let count: i64 = rows.first().map_or(0, |row| row.get(0));
            found |= count > 0;
            if count < STEP {
                return Ok(found);
            }
        }
    }

    /// Puts an instance in the place of another one, of whose dataset it is where it names none. False: there is no such
    /// instance, or it is a deletion.
    pub async fn replace_past(
        &self,
        tenant: TenantId,
        id: &str,
        attr: &str,
        instance: InstanceId,
        by: &Instance,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let body = stored::instance_text(by);
        let observed = by.observed_at.as_deref().and_then(instant);
        let mut lease = self.pool.lease().await?;
        let replaced = lease
            .query(
                REPLACE,
                &[
                    &tenant.0,
                    &id,
                    &attr,
                    &instance.0,
                    &body,
                    &observed,
                    &now,
                    &by.dataset,
                ],
            )
            .await?;
        Ok(!replaced.is_empty())
    }

    /// Takes one instance away. False: there is no such instance.
    pub async fn take_one_away(
        &self,
        tenant: TenantId,
        id: &str,
        attr: &str,
        instance: InstanceId,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        let gone = lease
            .query(TAKE_ONE, &[&tenant.0, &id, &attr, &instance.0])
            .await?;
        Ok(!gone.is_empty())
    }
}

/// When a new past of an entity begins: now, or after one that was forgotten by the clock of another replica.
async fn begins_at(
    lease: &mut Lease,
    tenant: TenantId,
    id: &str,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    let rows = lease.within(FORGOTTEN, &[&tenant.0, &id]).await?;
    let before = rows.first().map(|row| InstanceId(row.get(0)));
    let earliest = before.and_then(InstanceId::stored_at);
    Ok(earliest.map_or(now, |earliest| now.max(earliest)))
}

/// Corrects the data points that are there; the others become rows.
async fn correct(
    lease: &mut Lease,
    tenant: TenantId,
    id: &str,
    points: Vec<Point<'_>>,
    at: Timestamp,
) -> Result<Past, StoreError> {
    let attrs: Vec<&str> = points.iter().map(|(iri, _)| *iri).collect();
    let datasets: Vec<Option<&str>> = points.iter().map(|(_, i)| i.dataset.as_deref()).collect();
    let observed: Vec<Option<Timestamp>> = points
        .iter()
        .map(|(_, i)| i.observed_at.as_deref().and_then(instant))
        .collect();
    let same = lease
        .within(SAME, &[&tenant.0, &id, &attrs, &datasets, &observed])
        .await?;
    let mut there: BTreeMap<i64, Uuid> = same.iter().map(|row| (row.get(0), row.get(1))).collect();
    let (mut new, mut attrs, mut instances, mut bodies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (n, (iri, instance)) in (1..).zip(points) {
        match there.remove(&n) {
            None => new.push((iri, instance)),
            Some(same) => {
                attrs.push(iri);
                instances.push(same);
                bodies.push(stored::instance_text(instance));
            }
        }
    }
    if !instances.is_empty() {
        lease
            .within(CORRECT, &[&tenant.0, &id, &attrs, &instances, &bodies, &at])
            .await?;
    }
    Ok(past_of(id, new, at))
}

/// Rows of the history.
fn past_of(id: &str, points: Vec<Point<'_>>, at: Timestamp) -> Past {
    let mut past = Past::new(Keeping::default());
    for (iri, instance) in points {
        past.add_one(id, iri, instance.dataset.as_deref(), Some(instance), at);
    }
    past
}
