//! Many entities in one transaction.
//!
//! Why batches never wait for each other in a circle: a transaction first locks the rows that are there, by id; then
//! inserts those that are not, by id; then writes the locked ones, which waits for nobody. Who waits in the first step
//! holds only lesser ids of rows; who waits in the second waits for an insert of another transaction that itself can
//! only wait for greater ids. A row that appears between the two steps (another batch was faster) is not locked late,
//! which would break the order: the whole transaction starts again.

use crate::model::entity::Entity;
use crate::store::pool::Lease;
use crate::store::rows::{self, Columns, columns};
use crate::store::{Store, StoreError, TenantId};
use std::collections::{BTreeMap, HashSet};

/// How often a batch starts again before the client is told to.
const ATTEMPTS: usize = 8;

/// What a batch makes of one entity: given what is there, what is to be there; `None` leaves it as it is.
pub trait Decide: Sync {
    /// Called once per id and attempt; must give the same for the same.
    fn decide(&self, id: &str, there: Option<&Entity>) -> Option<Entity>;
}

/// What came of each id.
#[derive(Default)]
pub struct BatchOutcome {
    /// Ids that were created.
    pub created: HashSet<String>,
    /// Ids that were there and are written, or left as they were.
    pub existed: HashSet<String>,
    /// Ids that failed, with the reason; nothing of them was kept.
    pub failed: BTreeMap<String, StoreError>,
}

impl Store {
    /// Writes a batch. One entity that the database cannot take does not lose the others: they are then written one by
    /// one. An error means that nothing at all was kept.
    pub async fn write_batch(
        &self,
        tenant: TenantId,
        ids: &[String],
        decide: &impl Decide,
    ) -> Result<BatchOutcome, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        match self.write_together(tenant, &ids, decide).await {
            Err(StoreError::Data(_) | StoreError::TooLarge(_)) => {
                self.write_singly(tenant, &ids, decide).await
            }
            outcome => outcome,
        }
    }

    async fn write_singly(
        &self,
        tenant: TenantId,
        ids: &[String],
        decide: &impl Decide,
    ) -> Result<BatchOutcome, StoreError> {
        let mut whole = BatchOutcome::default();
        for id in ids {
            match self
                .write_together(tenant, std::slice::from_ref(id), decide)
                .await
            {
                Ok(one) => {
                    whole.created.extend(one.created);
                    whole.existed.extend(one.existed);
                }
                Err(error) => drop(whole.failed.insert(id.clone(), error)),
            }
        }
        Ok(whole)
    }

    async fn write_together(
        &self,
        tenant: TenantId,
        ids: &[String],
        decide: &impl Decide,
    ) -> Result<BatchOutcome, StoreError> {
        let mut lease = self.pool.lease().await?;
        for _ in 0..ATTEMPTS {
            if let Some(outcome) = attempt(&mut lease, tenant, ids, decide).await? {
                return Ok(outcome);
            }
        }
        Err(StoreError::Unavailable(
            "the entities of this batch are being created and deleted by others".to_owned(),
        ))
    }
}

/// One transaction; `None` when somebody else created one of the entities meanwhile.
async fn attempt(
    lease: &mut Lease,
    tenant: TenantId,
    ids: &[String],
    decide: &impl Decide,
) -> Result<Option<BatchOutcome>, StoreError> {
    let rows = lease.begin(rows::LOCK, &[&tenant.0, &ids]).await?;
    let there = rows
        .iter()
        .map(|row| rows::entity(row).map(|e| (e.id.clone(), e)))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let Decided {
        new,
        changed,
        outcome,
    } = match decided(tenant, ids, &there, decide) {
        Ok(decided) => decided,
        Err(error) => {
            lease.rollback().await;
            return Err(error);
        }
    };
    if !new.ids.is_empty() {
        let inserted = lease.within(rows::INSERT, columns!(tenant, new)).await?;
        if inserted.len() < new.ids.len() {
            lease.rollback().await;
            return Ok(None);
        }
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
    Ok(Some(outcome))
}

/// What is to be written, and what is then told of it.
#[derive(Default)]
struct Decided {
    new: Columns,
    changed: Columns,
    outcome: BatchOutcome,
}

fn decided(
    tenant: TenantId,
    ids: &[String],
    there: &BTreeMap<String, Entity>,
    decide: &impl Decide,
) -> Result<Decided, StoreError> {
    let mut decided = Decided::default();
    for id in ids {
        let before = there.get(id);
        match (decide.decide(id, before), before) {
            (Some(after), None) => {
                decided.new.add_new(tenant, &after)?;
                decided.outcome.created.insert(id.clone());
            }
            (Some(after), Some(before)) => {
                decided.changed.add_changed(tenant, before, &after)?;
                decided.outcome.existed.insert(id.clone());
            }
            (None, Some(_)) => drop(decided.outcome.existed.insert(id.clone())),
            (None, None) => {}
        }
    }
    Ok(decided)
}
