//! One entity at a time.

use crate::memory::room::Held;
use crate::model::entity::Entity;
use crate::permissions::reach::Reach;
use crate::query::sql;
use crate::store::history::after;
use crate::store::pool::Lease;
use crate::store::rows::{self, Beside, Columns, Found, Gone, Sizes, columns, gone};
use crate::store::search::typed;
use crate::store::{Store, StoreError, TenantId, weight};
use jiff::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;
use tokio_postgres::types::ToSql;

/// What came of changing an entity.
pub enum Changed<T, E> {
    /// There is no such entity.
    NotFound,
    /// The change was refused; nothing was written.
    Refused(E),
    /// The change is on disk.
    Done(T),
}

/// Makes a new entity one of this time, or later: see [`rows::Inserted`].
pub(super) fn made_at(entity: &mut Entity, at: Timestamp) {
    entity.created = entity.created.max(at);
    entity.modified = entity.modified.max(at);
}

/// Takes care that no change of an entity seems to be before another one, as clocks of replicas differ: its past is in the
/// order in which it happened, and ends with the last modification.
pub(super) fn goes_on(entity: &mut Entity, before: &Entity) {
    if entity.modified < before.modified {
        entity.modified = after(before.modified);
    }
}

/// An entity in a transaction in which nobody else writes it.
pub(super) struct Locked {
    pub(super) lease: Lease,
    pub(super) entity: Entity,
    pub(super) beside: Beside,
    pub(super) room: Held,
}

impl Store {
    /// Reads one entity as it is seen, in one round trip; a large one in two, and with the room that it takes.
    pub async fn retrieve(&self, reach: Reach<'_>, id: &str) -> Result<Option<(Entity, Held)>, StoreError> {
        let mut room = Held::default();
        let mut sizes = Sizes::Small;
        loop {
            let params: [&(dyn ToSql + Sync); 2] = [&reach.tenant.0, &id];
            let rows = if reach.rules().is_some() {
                let one = sql::some(reach, &[id.to_owned()], sizes);
                let mut lease = self.pool.lease().await?;
                lease.query_typed(&one.sql, &typed(&one.params)).await?
            } else if sizes == Sizes::Small {
                self.pool.read(rows::read(sizes), &params).await?
            } else {
                self.pool.lease().await?.query(rows::read(sizes), &params).await?
            };
            match rows.first().map(rows::found).transpose()? {
                None => return Ok(None),
                Some(Found::Entity(entity)) => return Ok(reach.seen(entity).map(|entity| (entity, room))),
                Some(Found::Large(size)) => {
                    // Without a connection, for which others may wait meanwhile.
                    room = self.room(weight::of_size(size)).await?;
                    sizes = Sizes::Any;
                }
            }
        }
    }

    /// Room for entities.
    pub async fn room(&self, bytes: usize) -> Result<Held, StoreError> {
        self.rooms
            .entities
            .take(bytes)
            .await
            .map_err(|_| StoreError::Crowded)
    }

    /// Room for entities if there is some right now: for who holds room of answers, and so must not wait for it.
    pub fn room_now(&self, bytes: usize) -> Result<Held, StoreError> {
        self.rooms
            .entities
            .try_take(bytes)
            .map_err(|_| StoreError::Crowded)
    }

    /// Keeps a new entity; false when its id is in use.
    pub async fn create(&self, tenant: TenantId, entity: &Entity) -> Result<bool, StoreError> {
        let mut known = self.known(tenant).await?;
        let mut entity = Cow::Borrowed(entity);
        loop {
            let beside = self.beside(Arc::clone(&known));
            let mut new = Columns::new(&beside);
            new.add_new(tenant, &entity)?;
            let first = new.first_instance();
            let mut lease = self.pool.lease().await?;
            let rows = lease
                .query(rows::INSERT, columns!(tenant, new, &known.epoch, &first))
                .await?;
            drop(lease);
            let inserted = rows::inserted(&rows);
            if inserted.epoch != known.epoch {
                // Somebody has subscribed since this process last looked.
                known = self.known_since(tenant, inserted.epoch).await?;
            } else if let Some(earliest) = inserted.earliest {
                made_at(entity.to_mut(), earliest);
            } else {
                self.tell(&new.told);
                return Ok(!inserted.ids.is_empty());
            }
        }
    }

    /// Reads an entity, lets `change` change it, and writes it, in one transaction in which nobody else writes it.
    pub async fn change<T, E>(
        &self,
        tenant: TenantId,
        id: &str,
        change: impl FnOnce(&mut Entity) -> Result<T, E> + Send,
    ) -> Result<Changed<T, E>, StoreError> {
        let Some(Locked {
            mut lease,
            mut entity,
            beside,
            room: _room,
        }) = self.lock(tenant, id).await?
        else {
            return Ok(Changed::NotFound);
        };
        let before = entity.clone();
        let done = match change(&mut entity) {
            Ok(done) => done,
            Err(refused) => {
                lease.rollback().await;
                return Ok(Changed::Refused(refused));
            }
        };
        goes_on(&mut entity, &before);
        let mut changed = Columns::new(&beside);
        if let Err(error) = changed.add_changed(tenant, &before, &entity) {
            lease.rollback().await;
            return Err(error);
        }
        drop((before, entity));
        lease
            .commit(
                rows::UPDATE,
                columns!(
                    tenant,
                    changed,
                    &changed.untyped.0,
                    &changed.untyped.1,
                    &changed.moved
                ),
            )
            .await?;
        self.tell(&changed.told);
        Ok(Changed::Done(done))
    }

    /// Locks an entity in a transaction and reads it. Nobody waits for room with a lock: others would wait for that.
    pub(super) async fn lock(&self, tenant: TenantId, id: &str) -> Result<Option<Locked>, StoreError> {
        let mut room = Held::default();
        let mut sizes = Sizes::Small;
        loop {
            let mut lease = self.pool.lease().await?;
            let ids = [id];
            let locked = lease
                .begin(rows::lock(sizes), &[&tenant.0, &ids.as_slice()])
                .await?;
            match locked.first().map(rows::found).transpose()? {
                Some(Found::Entity(entity)) => {
                    let epoch = locked.first().map_or(0, |row| row.get(rows::EPOCH));
                    let known = self.known_in(&mut lease, tenant, epoch).await?;
                    let beside = self.beside(known);
                    return Ok(Some(Locked {
                        lease,
                        entity,
                        beside,
                        room,
                    }));
                }
                None => {
                    lease.rollback().await;
                    return Ok(None);
                }
                Some(Found::Large(size)) => {
                    lease.rollback().await;
                    drop(lease);
                    room = self.room(weight::of_size(size)).await?;
                    sizes = Sizes::Any;
                }
            }
        }
    }

    /// Deletes an entity, unless `allow` refuses when it sees it.
    pub async fn delete<E>(
        &self,
        tenant: TenantId,
        id: &str,
        now: Timestamp,
        allow: impl FnOnce(&Entity) -> Result<(), E> + Send,
    ) -> Result<Changed<(), E>, StoreError> {
        let Some(Locked {
            mut lease,
            entity,
            beside,
            room: _room,
        }) = self.lock(tenant, id).await?
        else {
            return Ok(Changed::NotFound);
        };
        if let Err(refused) = allow(&entity) {
            lease.rollback().await;
            return Ok(Changed::Refused(refused));
        }
        let mut gone = Gone::new(&beside);
        gone.add(&entity, now);
        lease.commit(rows::DELETE, gone!(tenant, gone)).await?;
        self.tell(&gone.told);
        Ok(Changed::Done(()))
    }
}
