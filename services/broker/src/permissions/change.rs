//! What may become of an entity: a write is judged by the entity as it was and as it would be.
//!
//! What somebody neither sees nor may write is not there for a write either: an entity of which that holds cannot be
//! found, and an attribute of which it holds is put aside before a write that speaks of parts of an entity, and put back
//! after it. A write that replaces or deletes the whole entity needs the right to each attribute that there is.

use crate::model::diff::changes;
use crate::model::entity::{Attributes, Entity};
use crate::permissions::{Permissions, Rules, Share, Who};
use crate::query::evaluate::Subject;

/// Why something is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// For who asks there is no such entity.
    NotSeen,
    /// It is not allowed.
    NotAllowed,
}

/// How much of an entity a write speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What it names; all else stays.
    Parts,
    /// All of it.
    Whole,
}

impl Who {
    /// Whether an entity may be made.
    pub fn may_create(&self, entity: &Entity) -> Result<(), Denied> {
        match self {
            Self::Platform => Ok(()),
            Self::Subject(permissions) => covers(&permissions.create, entity),
        }
    }

    /// Whether an entity may be deleted.
    pub fn may_delete(&self, entity: &Entity) -> Result<(), Denied> {
        let Self::Subject(permissions) = self else {
            return Ok(());
        };
        let covered = covers(&permissions.delete, entity);
        match covered {
            Err(_) if !permissions.sees(entity) && share(&permissions.delete, entity).is_none() => {
                Err(Denied::NotSeen)
            }
            covered => covered,
        }
    }

    /// Whether an entity is there for who asks to change it.
    #[must_use]
    pub fn knows(&self, entity: &Entity) -> bool {
        match self {
            Self::Platform => true,
            Self::Subject(permissions) => {
                permissions.sees(entity) || share(&permissions.update, entity).is_some()
            }
        }
    }

    /// Lets `change` change an entity, and says what came of it if all of that is allowed; else the entity is not to be kept.
    pub fn change<T, E>(
        &self,
        entity: &mut Entity,
        extent: Extent,
        denied: impl Fn(Denied) -> E,
        change: impl FnOnce(&mut Entity) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Platform => change(entity),
            Self::Subject(permissions) => permissions.change(entity, extent, denied, change),
        }
    }
}

impl Permissions {
    fn sees(&self, entity: &Entity) -> bool {
        share(&self.read, entity).is_some()
    }

    fn change<T, E>(
        &self,
        entity: &mut Entity,
        extent: Extent,
        denied: impl Fn(Denied) -> E,
        change: impl FnOnce(&mut Entity) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = entity.clone();
        let seen = share(&self.read, &before);
        let Some(may_before) = share(&self.update, &before) else {
            return Err(denied(seen.map_or(Denied::NotSeen, |_| Denied::NotAllowed)));
        };
        let mut hidden = Attributes::new();
        if extent == Extent::Parts {
            let is_known = |iri: &str| may_before.has(iri) || seen.as_ref().is_some_and(|seen| seen.has(iri));
            let (known, unknown) = std::mem::take(&mut entity.attributes)
                .into_iter()
                .partition(|(iri, _)| is_known(iri));
            entity.attributes = known;
            hidden = unknown;
        }
        let done = change(entity)?;
        if hidden.keys().any(|iri| entity.attributes.contains_key(iri)) {
            return Err(denied(Denied::NotAllowed));
        }
        entity.attributes.append(&mut hidden);
        let may_after = share(&self.update, entity).ok_or_else(|| denied(Denied::NotAllowed))?;
        let may = |iri: &str| may_before.has(iri) && may_after.has(iri);
        let touched = changes(Some(&before.attributes), Some(&entity.attributes));
        let mut allowed = touched.iter().all(|change| may(change.iri));
        if extent == Extent::Whole {
            let mut all = before.attributes.keys().chain(entity.attributes.keys());
            allowed &= all.all(|iri| may(iri));
        }
        if before.types != entity.types || before.scope != entity.scope {
            // They are of the entity as such.
            allowed &= may_before.is_of_entity() && may_after.is_of_entity();
        }
        if allowed {
            Ok(done)
        } else {
            Err(denied(Denied::NotAllowed))
        }
    }
}

fn share<'r>(rules: &'r Rules, entity: &Entity) -> Option<Share<'r>> {
    rules.share(&mut Subject::of(entity))
}

/// Whether rules allow an entity with all that it has.
fn covers(rules: &Rules, entity: &Entity) -> Result<(), Denied> {
    let share = share(rules, entity).ok_or(Denied::NotAllowed)?;
    if entity.attributes.keys().all(|iri| share.has(iri)) {
        Ok(())
    } else {
        Err(Denied::NotAllowed)
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
