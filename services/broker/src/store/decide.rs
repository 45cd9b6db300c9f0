//! What a batch makes of its entities, change by change, as the columns of statements.
//!
//! An id may come several times. Each of its changes is one of its own, a microsecond after the one before it: it is in the
//! past, and told. The entity itself is written as the first one made it where it is new, and as the last one left it.

use crate::model::entity::Entity;
use crate::model::stored;
use crate::store::batch::BatchOutcome;
use crate::store::entities::{goes_on, made_at};
use crate::store::history::after;
use crate::store::quota::LeftOut;
use crate::store::rows::{Beside, Columns, Gone};
use crate::store::told::Told;
use crate::store::{StoreError, TenantId};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many bytes of entities, as they are stored, a part of a batch may go through again: each change of an id after its
/// first one goes through all of the entity, and tells all of it.
const MOST_AGAIN: usize = 16 * 1024 * 1024;
/// How much may be told of ids that come several times: of each change what was before and after it.
pub(super) const MOST_TOLD: usize = 2 * MOST_AGAIN;

/// What is to become of one entity.
pub enum Decision {
    /// It stays as it is, there or not there.
    Leave,
    /// This is to be there.
    Put(Entity),
    /// It is to go. A batch that deletes changes nothing.
    Delete,
}

/// What comes of one change of one entity.
pub struct Verdict<R> {
    /// What is to become of it.
    pub decision: Decision,
    /// Why something that was asked for is no part of the decision.
    pub refused: Option<R>,
}

impl<R> Verdict<R> {
    /// Nothing was refused.
    #[must_use]
    pub fn only(decision: Decision) -> Self {
        Self {
            decision,
            refused: None,
        }
    }

    /// Nothing happens, and why.
    #[must_use]
    pub fn refused(why: R) -> Self {
        Self {
            decision: Decision::Leave,
            refused: Some(why),
        }
    }
}

/// Decides, given what is there, what is to be there.
pub trait Decide: Sync {
    /// Why something is refused.
    type Reason: Send;

    /// When the batch happens.
    fn now(&self) -> Timestamp;

    /// How many changes of an id there are.
    fn count(&self, id: &str) -> usize;

    /// Decides on one of them, given what is there after those before it. Must give the same for the same.
    fn decide(&self, id: &str, nth: usize, there: Option<&Entity>, at: Timestamp) -> Verdict<Self::Reason>;

    /// Why a change is refused that would go through what is there, a large entity, once too often.
    fn too_often(&self, id: &str, there: Option<&Entity>) -> Self::Reason;
}

/// Why nothing can be written now.
pub(super) enum Stop {
    /// It cannot be written at all.
    Failed(StoreError),
    /// What is told needs more room than there is at this moment.
    NeedsRoom,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Who decides, and when new entities can be made at the earliest.
pub(super) struct Judge<'d, D> {
    pub(super) decide: &'d D,
    pub(super) earliest: Timestamp,
}

/// What is to be written, and what is then told of it.
pub(super) struct Decided<R> {
    /// Entities that are inserted.
    pub(super) new: Columns,
    /// Entities that are there by then, with what is told of those that change once.
    pub(super) changed: Columns,
    /// What is told of the others, change by change.
    pub(super) several: Told,
    /// Entities that go.
    pub(super) gone: Gone,
    /// What came of each id.
    pub(super) outcome: BatchOutcome<R>,
}

impl<D: Decide> Judge<'_, D> {
    /// Decides on all of these ids but those that are left out. What is told of those that come several times must be
    /// granted, by its size so far.
    pub(super) fn decided(
        &self,
        tenant: TenantId,
        ids: &[&String],
        mut there: BTreeMap<String, Entity>,
        left_out: &LeftOut,
        beside: &Beside,
        mut grow: impl FnMut(usize) -> bool,
    ) -> Result<Decided<D::Reason>, Stop> {
        let mut decided = Decided {
            new: Columns::new(beside),
            changed: Columns::new(beside),
            several: Told::new(Arc::clone(&beside.known)),
            gone: Gone::new(beside),
            outcome: BatchOutcome::default(),
        };
        let several = ids.iter().filter(|id| self.decide.count(id) > 1).count();
        for id in ids {
            if let Some(over) = left_out.get(*id) {
                let over = StoreError::Quota(over.clone());
                decided.outcome.failed.insert((*id).clone(), over);
                continue;
            }
            let stored = there.remove(*id);
            let left = MOST_AGAIN / several.max(1);
            self.one(tenant, id, stored, left, &mut decided, &mut grow)?;
        }
        Ok(decided)
    }

    /// Decides on one id, of which so many bytes may be gone through again.
    fn one(
        &self,
        tenant: TenantId,
        id: &str,
        mut stored: Option<Entity>,
        mut left: usize,
        decided: &mut Decided<D::Reason>,
        grow: &mut impl FnMut(usize) -> bool,
    ) -> Result<(), Stop> {
        let count = self.decide.count(id);
        let (mut changed, mut at, mut refused) = (None, self.decide.now(), Vec::new());
        for nth in 0..count {
            let there = changed.as_ref().or(stored.as_ref());
            if nth > 0 && !may_go_through(&mut left, there) {
                refused.push(self.decide.too_often(id, there));
                continue;
            }
            let Verdict {
                decision,
                refused: why,
            } = self.decide.decide(id, nth, there, at);
            refused.extend(why);
            match (decision, there) {
                (Decision::Put(mut first), None) => {
                    made_at(&mut first, self.earliest);
                    decided.new.add_new(tenant, &first)?;
                    decided.outcome.created.insert(id.to_owned());
                    stored = Some(first);
                }
                (Decision::Put(mut next), Some(before)) => {
                    goes_on(&mut next, before);
                    if nth > 0 && next.modified <= before.modified {
                        next.modified = after(before.modified);
                    }
                    decided.changed.past.add(Some(before), &next);
                    if count > 1 {
                        decided.several.add(Some(before), Some(&next), next.modified);
                        if !grow(decided.several.bytes()) {
                            return Err(Stop::NeedsRoom);
                        }
                    } else {
                        decided.changed.told.add(Some(before), Some(&next), next.modified);
                    }
                    changed = Some(next);
                }
                (Decision::Delete, Some(before)) => {
                    decided.gone.add(before, at);
                    decided.outcome.deleted.insert(id.to_owned());
                    (stored, changed) = (None, None);
                }
                (Decision::Leave, _) | (Decision::Delete, None) => continue,
            }
            at = at.checked_add(SignedDuration::from_micros(1)).unwrap_or(at);
        }
        if let (Some(stored), Some(changed)) = (&stored, &changed) {
            decided.changed.add_state(tenant, stored, changed)?;
            if !decided.outcome.created.contains(id) {
                decided.outcome.existed.insert(id.to_owned());
            }
        }
        if !refused.is_empty() {
            decided.outcome.refused.insert(id.to_owned(), refused);
        }
        Ok(())
    }
}

/// Whether a change may go through all of an entity again. What is not left is not measured again either.
fn may_go_through(left: &mut usize, there: Option<&Entity>) -> bool {
    let size =
        |entity: &Entity| stored::write(&entity.attributes).map_or(stored::MAX_BYTES, |text| text.len());
    if *left > 0 {
        *left = left.saturating_sub(there.map_or(0, size));
    }
    *left > 0
}
