//! One entity at a time.

use crate::model::entity::Entity;
use crate::store::rows::{self, Columns, columns};
use crate::store::{Store, StoreError, TenantId};

const READ: &str = "select e.id, e.types, e.scope, e.attrs::text, e.created, e.modified from mim.entities e where e.tenant = $1 and e.id = $2";

/// What came of changing an entity.
pub enum Changed<T, E> {
    /// There is no such entity.
    NotFound,
    /// The change was refused; nothing was written.
    Refused(E),
    /// The change is on disk.
    Done(T),
}

impl Store {
    /// Reads one entity, in one round trip.
    pub async fn retrieve(&self, tenant: TenantId, id: &str) -> Result<Option<Entity>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(READ, &[&tenant.0, &id]).await?;
        rows.first().map(rows::entity).transpose()
    }

    /// Keeps a new entity; false when its id is in use.
    pub async fn create(&self, tenant: TenantId, entity: &Entity) -> Result<bool, StoreError> {
        let mut new = Columns::default();
        new.add_new(tenant, entity)?;
        let mut lease = self.pool.lease().await?;
        let inserted = lease.query(rows::INSERT, columns!(tenant, new)).await?;
        Ok(!inserted.is_empty())
    }

    /// Reads an entity, lets `change` change it, and writes it, in one transaction in which nobody else writes it.
    pub async fn change<T, E>(
        &self,
        tenant: TenantId,
        id: &str,
        change: impl FnOnce(&mut Entity) -> Result<T, E> + Send,
    ) -> Result<Changed<T, E>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let ids = [id];
        let locked = lease.begin(rows::LOCK, &[&tenant.0, &ids.as_slice()]).await?;
        let Some(row) = locked.first() else {
            lease.rollback().await;
            return Ok(Changed::NotFound);
        };
        let before = rows::entity(row)?;
        let mut after = before.clone();
        let done = match change(&mut after) {
            Ok(done) => done,
            Err(refused) => {
                lease.rollback().await;
                return Ok(Changed::Refused(refused));
            }
        };
        let mut changed = Columns::default();
        if let Err(error) = changed.add_changed(tenant, &before, &after) {
            lease.rollback().await;
            return Err(error);
        }
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
        Ok(Changed::Done(done))
    }

    /// Deletes an entity; false when there is none.
    pub async fn delete(&self, tenant: TenantId, id: &str) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        let ids = [id];
        let locked = lease.begin(rows::LOCK, &[&tenant.0, &ids.as_slice()]).await?;
        let Some(row) = locked.first() else {
            lease.rollback().await;
            return Ok(false);
        };
        let types: Vec<String> = row.get(1);
        lease.commit(rows::DELETE, &[&tenant.0, &id, &types]).await?;
        Ok(true)
    }
}
