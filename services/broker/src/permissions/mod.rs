//! What somebody may see and do: a *permission set*, which the platform's gateway sends with each request, and which this
//! broker obeys. Pure.
//!
//! Who asks with a set sees a world in which what it does not allow is not there: entities that it does not allow are
//! missing, and those that it allows have only the attributes that it shows. Every read is one of that world, in SQL
//! where entities are searched, and in memory where one is at hand; the two agree, and where they should not, less is
//! shown. What is written is checked against the entity as it was and as it would be.
//!
//! * [`wire`]: the set as it travels;
//! * [`reach`]: whose data a statement is about, and how much of it;
//! * [`change`]: what may become of an entity;
//! * [`past`]: what may be written to the past of one;
//! * [`owner`]: whose a subscription is.

pub mod change;
pub mod owner;
pub mod past;
pub mod reach;
pub mod wire;

use crate::model::Refusal;
use crate::model::entity::{Entity, SCOPE};
use crate::query::Selection;
use crate::query::evaluate::{Prepared, Subject};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Who {
    /// Somebody of the platform itself, who came to the port of its own network: everything may be seen and done.
    Platform,
    /// Somebody for whom the gateway asks.
    Subject(Arc<Permissions>),
}

impl Who {
    /// Whether there is nothing that it may not see and do.
    #[must_use]
    pub fn may_everything(&self) -> bool {
        match self {
            Self::Platform => true,
            Self::Subject(permissions) => permissions.are_unlimited(),
        }
    }

    /// Whether it sees and changes what belongs to nobody.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        match self {
            Self::Platform => true,
            Self::Subject(permissions) => permissions.admin,
        }
    }

    /// Whether entities may be purged. A purge is never narrowed to what is allowed: who asks for it would take for done
    /// what is not. `whole`: the entities go, and not only attributes of theirs.
    #[must_use]
    pub fn may_purge(&self, whole: bool) -> bool {
        match self {
            Self::Platform => true,
            Self::Subject(permissions) => {
                let rules = if whole {
                    &permissions.delete
                } else {
                    &permissions.update
                };
                permissions.read.are_unlimited() && rules.are_unlimited()
            }
        }
    }
}

/// A permission set.
#[derive(Debug)]
pub struct Permissions {
    /// Who asks, as the gateway knows it; subscriptions belong to it.
    pub subject: String,
    /// Whether it also sees and changes what belongs to others or to nobody: subscriptions and contexts.
    pub admin: bool,
    /// What may be seen.
    pub read: Arc<Rules>,
    /// Which entities may be made.
    pub create: Rules,
    /// Which entities may be changed.
    pub update: Rules,
    /// Which entities may be deleted.
    pub delete: Rules,
    weight: usize,
}

impl Permissions {
    /// Whether it allows everything.
    #[must_use]
    pub fn are_unlimited(&self) -> bool {
        let all = [&*self.read, &self.create, &self.update, &self.delete];
        self.admin && all.into_iter().all(Rules::are_unlimited)
    }

    /// How many bytes of memory it takes, nearly.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.weight
    }
}

/// What one operation may be done to: what any grant allows and none denies. By default nothing.
#[derive(Debug, Default)]
pub struct Rules {
    allow: Vec<Grant>,
    deny: Vec<Grant>,
    /// As they came: JSON.
    text: Box<str>,
}

/// Some entities, and which of their attributes.
#[derive(Debug)]
pub struct Grant {
    selection: Selection,
    prepared: Prepared,
    /// The same without scopes and area, where it has any: which entities may be meant of which neither is known.
    by_name: Option<Prepared>,
    /// `None`: all of them, and the entity as such.
    attributes: Option<BTreeSet<String>>,
}

impl Grant {
    fn new(selection: Selection, attributes: Option<BTreeSet<String>>) -> Result<Self, Refusal> {
        let by_name = if selection.scope.is_some() || selection.geo.is_some() {
            Some(Prepared::of(&Selection {
                entities: selection.entities.clone(),
                ..Selection::default()
            })?)
        } else {
            None
        };
        Ok(Self {
            prepared: Prepared::of(&selection)?,
            by_name,
            selection,
            attributes,
        })
    }

    /// The entities.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The attributes, by IRI; `None`: all of them, and the entity as such.
    #[must_use]
    pub fn attributes(&self) -> Option<&BTreeSet<String>> {
        self.attributes.as_ref()
    }

    /// Whether every entity is one of them.
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        let Selection {
            entities,
            attrs,
            q,
            geo,
            scope,
        } = &self.selection;
        entities.is_empty() && attrs.is_empty() && q.is_none() && geo.is_none() && scope.is_none()
    }

    fn weight(&self) -> usize {
        // The selection and what was made of it are of one size, nearly.
        let names = self.attributes.iter().flatten();
        let by_name = self.by_name.as_ref().map_or(0, Prepared::weight);
        size_of::<Self>()
            + 2 * self.prepared.weight()
            + by_name
            + names.map(|name| name.len() + 64).sum::<usize>()
    }
}

/// Which attributes of one entity.
#[derive(Debug)]
pub struct Share<'r> {
    /// Only these; `None`: any.
    only: Option<BTreeSet<&'r str>>,
    /// None of these.
    without: BTreeSet<&'r str>,
}

impl Share<'_> {
    /// Whether an attribute is one of them.
    #[must_use]
    pub fn has(&self, iri: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(iri)) && !self.without.contains(iri)
    }

    /// Whether it is all of them, and the entity as such.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.only.is_none() && self.without.is_empty()
    }

    /// Whether the entity as such is meant, its types and scopes too, and not only some of its attributes.
    #[must_use]
    pub fn is_of_entity(&self) -> bool {
        self.only.is_none()
    }
}

impl Rules {
    /// As they came: JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is allowed.
    #[must_use]
    pub fn allow(&self) -> &[Grant] {
        &self.allow
    }

    /// What of it is not.
    #[must_use]
    pub fn deny(&self) -> &[Grant] {
        &self.deny
    }

    /// Whether everything is allowed.
    #[must_use]
    pub fn are_unlimited(&self) -> bool {
        let everything = |grant: &Grant| grant.attributes.is_none() && grant.is_of_all();
        self.deny.is_empty() && self.allow.iter().any(everything)
    }

    /// Which attributes of an entity are allowed; `None`: not even the entity as such.
    pub fn share(&self, subject: &mut Subject<'_>) -> Option<Share<'_>> {
        self.share_unless(subject, |grant| &grant.prepared)
    }

    /// The same of an entity of which only the past is known, and with that neither scope nor place: what is allowed by those
    /// is not allowed, and what is denied by those is denied.
    pub fn share_of_past_only(&self, subject: &mut Subject<'_>) -> Option<Share<'_>> {
        self.share_unless(subject, |grant| grant.by_name.as_ref().unwrap_or(&grant.prepared))
    }

    fn share_unless(
        &self,
        subject: &mut Subject<'_>,
        denied: impl Fn(&Grant) -> &Prepared,
    ) -> Option<Share<'_>> {
        let mut without = BTreeSet::new();
        for grant in &self.deny {
            if denied(grant).may_select(subject) {
                without.extend(grant.attributes.as_ref()?.iter().map(String::as_str));
            }
        }
        let mut only: Option<BTreeSet<&str>> = None;
        for grant in &self.allow {
            if !grant.prepared.selects(subject) {
                continue;
            }
            match &grant.attributes {
                None => {
                    return Some(Share { only: None, without });
                }
                Some(names) => only
                    .get_or_insert_default()
                    .extend(names.iter().map(String::as_str)),
            }
        }
        only.map(|only| Share {
            only: Some(only),
            without,
        })
    }

    /// The entity as it is seen; `None`: it is not.
    #[must_use]
    pub fn seen(&self, mut entity: Entity) -> Option<Entity> {
        // What the subject holds is of the entity as it is.
        let hidden: Vec<String> = {
            let mut subject = Subject::of(&entity);
            let share = self.share(&mut subject)?;
            let names = entity.attributes.keys();
            names.filter(|iri| !share.has(iri)).cloned().collect()
        };
        for iri in &hidden {
            entity.attributes.remove(iri);
        }
        Some(entity)
    }

    fn weight(&self) -> usize {
        let grants = self.allow.iter().chain(&self.deny).map(Grant::weight);
        self.text.len() + grants.sum::<usize>()
    }
}

/// Whether a name may stand among the attributes of a grant: scopes, ids and types are seen wherever the entity is.
fn is_attribute(iri: &str) -> bool {
    iri != SCOPE
}

#[cfg(test)]
mod tests;
