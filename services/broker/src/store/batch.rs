//! Many entities in one transaction.
//!
//! Why batches never wait for each other in a circle: a transaction first locks the rows that are there, by id; then
//! inserts those that are not, by id; then writes the locked ones, which waits for nobody. Who waits in the first step
//! holds only lesser ids of rows; who waits in the second waits for an insert of another transaction that itself can
//! only wait for greater ids. A row that appears between the two steps (another batch was faster) is not locked late,
//! which would break the order: the whole transaction starts again.

use crate::memory::room::Held;
use crate::store::decide::{Decide, Decided, Judge, MOST_TOLD, Stop};
use crate::store::pool::Lease;
use crate::store::quota::{LeftOut, Limits};
use crate::store::rows::{self, Found, columns, gone};
use crate::store::{Store, StoreError, TenantId, told, weight};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};
use tokio_postgres::types::ToSql;

/// How often a batch starts again before the client is told to.
const ATTEMPTS: usize = 8;

/// How many bytes of what is there one transaction reads, and how much memory that may take uncounted. Most batches are
/// of sensors' values, a kilobyte or two each.
const PART: usize = 2 * 1024 * 1024;
const UNCOUNTED: usize = 256 * 1024;

/// What came of each id. One of which all was refused is in `refused` only.
pub struct BatchOutcome<R> {
    /// Ids that were created.
    pub created: HashSet<String>,
    /// Ids that were there and are written.
    pub existed: HashSet<String>,
    /// Ids that were there and are gone.
    pub deleted: HashSet<String>,
    /// Ids of which something was refused, with the reasons.
    pub refused: BTreeMap<String, Vec<R>>,
    /// Ids that failed, with the reason; nothing of them was kept.
    pub failed: BTreeMap<String, StoreError>,
}

impl<R> Default for BatchOutcome<R> {
    fn default() -> Self {
        Self {
            created: HashSet::new(),
            existed: HashSet::new(),
            deleted: HashSet::new(),
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }
}

impl<R> BatchOutcome<R> {
    fn add(&mut self, other: Self) {
        self.created.extend(other.created);
        self.existed.extend(other.existed);
        self.deleted.extend(other.deleted);
        self.refused.extend(other.refused);
        self.failed.extend(other.failed);
    }

    fn is_empty(&self) -> bool {
        self.created.is_empty()
            && self.existed.is_empty()
            && self.deleted.is_empty()
            && self.failed.is_empty()
    }
}

/// Ids that are written in one transaction, and how many bytes of what is there it may read.
struct Part {
    ids: Vec<String>,
    size: usize,
    /// What the part was refused for.
    limits: Limits,
}

impl Part {
    fn new(ids: Vec<String>, size: usize) -> Self {
        let limits = Limits::default();
        Self { ids, size, limits }
    }
}

/// What came of a transaction.
enum Attempt<R> {
    /// It is on disk; these were left out, with their sizes, as they are larger together than the part may be.
    Done(Box<BatchOutcome<R>>, Vec<(String, usize)>),
    /// Somebody else created one of the entities meanwhile, or subscribed; or new ones can be made at this time at the
    /// earliest.
    Overtaken(Option<Timestamp>),
    /// It needs so much room, and must not wait for it with locks.
    NeedsRoom(usize),
}

impl Store {
    /// Writes a batch, in one transaction unless what is there is large. One entity that the database cannot take does
    /// not lose the others: they are then written one by one, or, where all together are more than the tenant may have,
    /// without those that do not fit. An error means that nothing at all was kept.
    pub async fn write_batch<D: Decide>(
        &self,
        tenant: TenantId,
        ids: &[String],
        decide: &D,
    ) -> Result<BatchOutcome<D::Reason>, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut whole = BatchOutcome::default();
        let mut parts = vec![Part::new(ids, PART)];
        while let Some(mut part) = parts.pop() {
            match self.write_part(tenant, &part, decide).await {
                Ok((outcome, left)) => {
                    whole.add(outcome);
                    parts.extend(in_parts(left));
                }
                Err(StoreError::Data(_) | StoreError::TooLarge(_)) if part.ids.len() > 1 => {
                    let size = part.size;
                    parts.extend(part.ids.into_iter().rev().map(|id| Part::new(vec![id], size)));
                }
                Err(StoreError::Quota(over)) if part.ids.len() > 1 && part.limits.note(&over) => {
                    parts.push(part);
                }
                Err(error @ (StoreError::Data(_) | StoreError::TooLarge(_) | StoreError::Quota(_))) => {
                    whole
                        .failed
                        .extend(part.ids.into_iter().map(|id| (id, error.clone())));
                }
                Err(error) if whole.is_empty() => return Err(error),
                Err(error) => whole
                    .failed
                    .extend(part.ids.into_iter().map(|id| (id, error.clone()))),
            }
        }
        Ok(whole)
    }

    async fn write_part<D: Decide>(
        &self,
        tenant: TenantId,
        part: &Part,
        decide: &D,
    ) -> Result<(BatchOutcome<D::Reason>, Vec<(String, usize)>), StoreError> {
        // What one entity may take is taken before it is read; a part of small ones is in memory before it is parsed.
        let mut room = if part.size > PART {
            self.room(weight::of_size(part.size)).await?
        } else {
            Held::default()
        };
        let mut earliest = Timestamp::MIN;
        for _ in 0..ATTEMPTS {
            let mut lease = self.pool.lease().await?;
            let judge = Judge { decide, earliest };
            match self.attempt(&mut lease, tenant, part, &judge, &mut room).await? {
                Attempt::Done(outcome, left) => return Ok((*outcome, left)),
                Attempt::Overtaken(at) => earliest = at.unwrap_or(earliest),
                Attempt::NeedsRoom(bytes) => {
                    drop(lease);
                    drop(std::mem::take(&mut room));
                    room = self.room(bytes).await?;
                }
            }
        }
        Err(StoreError::Unavailable(
            "the entities of this batch are being created and deleted by others".to_owned(),
        ))
    }

    /// One transaction.
    async fn attempt<D: Decide>(
        &self,
        lease: &mut Lease,
        tenant: TenantId,
        part: &Part,
        judge: &Judge<'_, D>,
        room: &mut Held,
    ) -> Result<Attempt<D::Reason>, StoreError> {
        let size = i64::try_from(part.size).unwrap_or(i64::MAX);
        let rows = lease
            .begin(rows::LOCK_SOME, &[&tenant.0, &part.ids, &size])
            .await?;
        let texts = rows.iter().filter_map(|row| row.get::<_, Option<&str>>(3));
        // Who keeps to limits decides twice.
        let copies = if part.limits.is_empty() { 1 } else { 2 };
        let needed = copies * texts.map(weight::of_text).sum::<usize>();
        if needed > UNCOUNTED && self.rooms.entities.try_grow(room, needed).is_err() {
            lease.rollback().await;
            return Ok(Attempt::NeedsRoom(needed));
        }
        let epoch = rows.first().map_or(0, |row| row.get(rows::EPOCH));
        let (mut there, mut left) = (BTreeMap::new(), BTreeMap::new());
        for row in rows.iter().filter(|row| row.get::<_, Option<&str>>(0).is_some()) {
            match rows::found(row)? {
                Found::Entity(entity) => drop(there.insert(entity.id.clone(), entity)),
                Found::Large(size) => drop(left.insert(row.get::<_, String>(0), size)),
            }
        }
        drop(rows);
        let known = self.known_in(lease, tenant, epoch).await?;
        let epoch = known.epoch;
        let ids: Vec<&String> = part.ids.iter().filter(|id| !left.contains_key(*id)).collect();
        let mut grow = |told: usize| {
            // In its parameter, and in the message to the database.
            let all = needed + 2 * told;
            all <= UNCOUNTED || self.rooms.entities.try_grow(room, all).is_ok()
        };
        let beside = self.beside(known);
        let decided = async {
            let mut left_out = LeftOut::new();
            if !part.limits.is_empty() {
                let all = judge.decided(tenant, &ids, there.clone(), &left_out, &beside, &mut grow)?;
                left_out = part
                    .limits
                    .left_out(lease, tenant, &all.new, &all.changed)
                    .await?;
            }
            judge.decided(tenant, &ids, there, &left_out, &beside, &mut grow)
        };
        let decided = match decided.await {
            Ok(decided) => decided,
            Err(stop) => {
                lease.rollback().await;
                return match stop {
                    Stop::Failed(error) => Err(error),
                    Stop::NeedsRoom => Ok(Attempt::NeedsRoom(needed + 2 * MOST_TOLD)),
                };
            }
        };
        let Decided {
            new,
            changed,
            several,
            gone,
            outcome,
        } = decided;
        if !new.ids.is_empty() {
            let first = new.first_instance();
            let rows = lease
                .within(rows::INSERT, columns!(tenant, new, &epoch, &first))
                .await?;
            let inserted = rows::inserted(&rows);
            if inserted.ids.len() < new.ids.len() {
                lease.rollback().await;
                return Ok(Attempt::Overtaken(inserted.earliest));
            }
        }
        if !gone.ids.is_empty() {
            lease.within(rows::DELETE, gone!(tenant, gone)).await?;
        }
        if !several.entities.is_empty() {
            let params: [&(dyn ToSql + Sync); 6] = [
                &tenant.0,
                &several.entities,
                &several.bodies,
                &several.subscriptions,
                &several.lanes,
                &several.nth,
            ];
            lease.within(told::TELL, &params).await?;
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
        for told in [&new.told, &several, &changed.told, &gone.told] {
            self.tell(told);
        }
        Ok(Attempt::Done(Box::new(outcome), left.into_iter().collect()))
    }
}

/// Parts of at most [`PART`] bytes; what alone is larger is a part of its own.
fn in_parts(left: Vec<(String, usize)>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (id, size) in left {
        match parts.last_mut() {
            Some(part) if part.size + size <= PART => {
                part.ids.push(id);
                part.size += size;
            }
            _ => parts.push(Part::new(vec![id], size)),
        }
    }
    // The size is also a limit, and a small entity may have grown meanwhile.
    for part in &mut parts {
        part.size = part.size.max(PART);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_written_in_parts_of_a_bounded_size() {
        let left = [
            ("a", PART / 2),
            ("b", PART / 2),
            ("c", 1),
            ("d", 3 * PART),
            ("e", 5),
        ];
        let parts = in_parts(left.map(|(id, size)| (id.to_owned(), size)).to_vec());
        let parts: Vec<_> = parts
            .into_iter()
            .map(|part| (part.ids.concat(), part.size))
            .collect();
        assert_eq!(
            parts,
            [
                ("ab".to_owned(), PART),
                ("c".to_owned(), PART),
                ("d".to_owned(), 3 * PART),
                ("e".to_owned(), PART)
            ]
        );
    }
}
