//! What may be written to the past of an entity. Who may update an entity may write the past of the attributes that it may
//! update; what is added to the past of an unknown entity makes it, and who may delete all of an entity may have its past
//! forgotten.

use crate::model::entity::{Attributes, Entity, SCOPE};
use crate::permissions::change::Denied;
use crate::permissions::{Rules, Share, Who};
use crate::query::evaluate::Subject;
use jiff::Timestamp;

/// An entity of which only the past is known: it has neither scope nor place.
#[must_use]
pub fn past_only(id: &str, types: &[String]) -> Entity {
    Entity {
        id: id.to_owned(),
        types: types.to_vec(),
        scope: Vec::new(),
        attributes: Attributes::new(),
        created: Timestamp::UNIX_EPOCH,
        modified: Timestamp::UNIX_EPOCH,
    }
}

/// Whose past it is, as rules are asked of it.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'e> {
    /// That of an entity that there is now.
    Current(&'e Entity),
    /// That of one of which nothing else is known.
    PastOnly(&'e Entity),
}

impl<'e> Whose<'e> {
    fn entity(self) -> &'e Entity {
        match self {
            Self::Current(entity) | Self::PastOnly(entity) => entity,
        }
    }

    fn share(self, rules: &Rules) -> Option<Share<'_>> {
        match self {
            Self::Current(entity) => rules.share(&mut Subject::of(entity)),
            Self::PastOnly(entity) => rules.share_of_past_only(&mut Subject::of(entity)),
        }
    }
}

/// Scopes are of the entity as such.
fn has(share: &Share<'_>, iri: &str) -> bool {
    if iri == SCOPE {
        share.is_of_entity()
    } else {
        share.has(iri)
    }
}

impl Who {
    /// Whether instances of these attributes may be added to the past of an entity that becomes another one by that.
    pub fn may_add_past(&self, before: Whose<'_>, after: Whose<'_>, touched: &[&str]) -> Result<(), Denied> {
        let Self::Subject(permissions) = self else {
            return Ok(());
        };
        let Some(was) = before.share(&permissions.update) else {
            return Err(if before.share(&permissions.read).is_some() {
                Denied::NotAllowed
            } else {
                Denied::NotSeen
            });
        };
        let is = after.share(&permissions.update).ok_or(Denied::NotAllowed)?;
        let is_same = {
            let (before, after) = (before.entity(), after.entity());
            before.types == after.types && before.scope == after.scope
        };
        let allowed = touched.iter().all(|iri| has(&was, iri) && has(&is, iri))
            && (is_same || (was.is_of_entity() && is.is_of_entity()));
        if allowed { Ok(()) } else { Err(Denied::NotAllowed) }
    }

    /// Whether the past of an entity may be begun with instances of these attributes.
    pub fn may_begin_past(&self, whose: Whose<'_>, touched: &[&str]) -> Result<(), Denied> {
        let Self::Subject(permissions) = self else {
            return Ok(());
        };
        match whose.share(&permissions.create) {
            Some(share) if touched.iter().all(|iri| has(&share, iri)) => Ok(()),
            _ => Err(Denied::NotAllowed),
        }
    }

    /// Whether instances of an attribute may be corrected and taken away. One that is not seen is not there.
    pub fn may_correct_past(&self, whose: Whose<'_>, iri: &str) -> Result<(), Denied> {
        let Self::Subject(permissions) = self else {
            return Ok(());
        };
        if whose
            .share(&permissions.update)
            .is_some_and(|share| has(&share, iri))
        {
            return Ok(());
        }
        let is_seen = whose
            .share(&permissions.read)
            .is_some_and(|share| iri == SCOPE || share.has(iri));
        Err(if is_seen {
            Denied::NotAllowed
        } else {
            Denied::NotSeen
        })
    }

    /// Whether the past of an entity may be forgotten, whatever attributes it had.
    pub fn may_forget_past(&self, whose: Whose<'_>) -> Result<(), Denied> {
        let Self::Subject(permissions) = self else {
            return Ok(());
        };
        match whose.share(&permissions.delete) {
            Some(share) if share.is_whole() => Ok(()),
            None if whose.share(&permissions.read).is_none() => Err(Denied::NotSeen),
            _ => Err(Denied::NotAllowed),
        }
    }
}
