//! What is written to the past of an entity alone: instances added, and [corrected or taken away](correct) (clauses 5.6.11 to
//! 5.6.16).
//!
//! An instance that was observed at the same time as one that is there, and is of the same dataset, is the same data point:
//! it corrects that one and is not put beside it. So whoever does not know whether a request was kept may send it again.
//!
//! Whoever is limited by a permission set is judged by the entity as it is in the write's transaction, of the past only by its
//! types and id.
//!
//! Whoever adds instances holds the row of the entity, or the one of an entity of the past only, and moves on when it was
//! modified. So a deletion knows up to which instance there can be any, whatever the clocks of replicas say.

use crate::model::entity::{Fragment, SCOPE};
use crate::model::instance_id::InstanceId;
use crate::model::names::instant;
use crate::model::read::past::PastFragment;
use crate::model::temporal::brought::{Point, latest, points};
use crate::model::{change, stored};
use crate::permissions::Who;
use crate::permissions::change::Denied;
use crate::permissions::past::{Whose, past_only};
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
    /// Who asks may not do this.
    Denied(Denied),
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

pub mod correct;

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
        who: &Who,
        id: &str,
        fragment: &PastFragment,
        manner: Manner,
        now: Timestamp,
    ) -> Result<Added, StoreError> {
        let adding = Adding {
            tenant,
            who,
            fragment,
            manner,
            now,
        };
        if !self.keeps_past() {
            return Ok(Added::NotKept);
        }
        for _ in 0..ATTEMPTS {
            let added = match self.lock(tenant, id).await? {
                Some(locked) => Some(self.add_to_current(locked, &adding).await?),
                None if manner.creates && manner.makes_entity => self.add_with_entity(id, &adding).await?,
                None => self.add_to_past_only(id, &adding).await?,
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
    async fn add_to_current(&self, locked: Locked, adding: &Adding<'_>) -> Result<Added, StoreError> {
        let Adding {
            tenant,
            fragment,
            manner,
            now,
            ..
        } = *adding;
        let Locked {
            mut lease,
            entity: before,
            beside,
            room: _room,
        } = locked;
        let now = now.max(after(before.modified));
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
        let (was, is) = (Whose::Current(&before), Whose::Current(&entity));
        if let Err(denied) = adding.who.may_add_past(was, is, &adding.touched()) {
            lease.rollback().await;
            return Ok(adding.denied(denied));
        }
        let existed = lease.within(EXISTS, &[&tenant.0, &before.id]).await?;
        let past = correct(&mut lease, tenant, &before.id, points(fragment), now).await?;
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
    async fn add_with_entity(&self, id: &str, adding: &Adding<'_>) -> Result<Option<Added>, StoreError> {
        let Adding {
            tenant,
            fragment,
            now,
            ..
        } = *adding;
        let known = self.known(tenant).await?;
        let mut lease = self.pool.lease().await?;
        let existed = lease.begin(EXISTS, &[&tenant.0, &id]).await?;
        let now = begins_at(&mut lease, tenant, id, now).await?;
        let mut winners = latest(fragment, None, now);
        winners.id = Some(id.to_owned());
        let entity = change::create(winners, now);
        if let Err(denied) = adding
            .who
            .may_begin_past(Whose::Current(&entity), &adding.touched())
        {
            lease.rollback().await;
            return Ok(Some(adding.denied(denied)));
        }
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
                self.known_since(tenant, inserted.epoch).await?;
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
    async fn add_to_past_only(&self, id: &str, adding: &Adding<'_>) -> Result<Option<Added>, StoreError> {
        let Adding {
            tenant,
            fragment,
            manner,
            now,
            ..
        } = *adding;
        let mut lease = self.pool.lease().await?;
        let locked = lease.begin(LOCK, &[&tenant.0, &id]).await?;
        let Some(row) = locked.first() else {
            if !manner.creates {
                lease.rollback().await;
                return Ok(Some(Added::NotFound));
            }
            let new = past_only(id, &fragment.types);
            if let Err(denied) = adding
                .who
                .may_begin_past(Whose::PastOnly(&new), &adding.touched())
            {
                lease.rollback().await;
                return Ok(Some(adding.denied(denied)));
            }
            let now = begins_at(&mut lease, tenant, id, now).await?;
            let past = past_of(id, points(fragment), now);
            let created = lease
                .commit(CREATE, past_of!(tenant, id, past, &fragment.types, &now))
                .await?;
            return Ok((!created.is_empty()).then_some(Added::Created));
        };
        let (mut types, modified): (Vec<String>, Timestamp) = (row.get(0), row.get(1));
        let before = past_only(id, &types);
        for iri in &fragment.types {
            if !types.contains(iri) {
                types.push(iri.clone());
            }
        }
        let extended = past_only(id, &types);
        let (was, is) = (Whose::PastOnly(&before), Whose::PastOnly(&extended));
        if let Err(denied) = adding.who.may_add_past(was, is, &adding.touched()) {
            lease.rollback().await;
            return Ok(Some(adding.denied(denied)));
        }
        let now = now.max(after(modified));
        let past = correct(&mut lease, tenant, id, points(fragment), now).await?;
        lease
            .commit(EXTEND, past_of!(tenant, id, past, &types, &now))
            .await?;
        Ok(Some(Added::Extended))
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

/// What is added to the past, by whom and how.
#[derive(Clone, Copy)]
struct Adding<'a> {
    tenant: TenantId,
    who: &'a Who,
    fragment: &'a PastFragment,
    manner: Manner,
    now: Timestamp,
}

impl Adding<'_> {
    /// The attributes of which instances are added.
    fn touched(&self) -> Vec<&str> {
        let scope = (!self.fragment.scopes.is_empty()).then_some(SCOPE);
        self.fragment
            .attributes
            .keys()
            .map(String::as_str)
            .chain(scope)
            .collect()
    }

    /// That an id is in use cannot be kept from who wants to use it.
    fn denied(&self, denied: Denied) -> Added {
        Added::Denied(if self.manner.creates {
            Denied::NotAllowed
        } else {
            denied
        })
    }
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
