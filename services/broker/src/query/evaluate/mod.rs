//! The second evaluator of selections: whether one entity, in memory, is selected. SQL answers queries, this answers
//! subscriptions, and the two agree on everything; a test of 10,000 random pairs sees to it.
//!
//! * `condition`: the query language;
//! * `effort`: how much that may cost;
//! * `place`: geo-queries in the plane, as PostGIS answers them;
//! * `distance`: distances on the ellipsoid;
//! * `repair`: what becomes of geometries whose rings cross.

mod condition;
mod distance;
mod effort;
mod place;
mod repair;
mod vector;
mod weight;

use crate::model::entity::{Entity, Kind};
use crate::model::geometry::Geometry;
use crate::model::names::time_text;
use crate::model::{Refusal, refuse};
use crate::query::evaluate::effort::Effort;
use crate::query::evaluate::place::{Area, Place};
use crate::query::pattern::Pattern;
use crate::query::q::Query;
use crate::query::scope::ScopeQuery;
use crate::query::types::TypeSelection;
use crate::query::{EntitySelector, Selection};
use std::collections::HashMap;
use std::sync::OnceLock;

/// A selection that is ready to be asked about any number of entities. A simple one takes half a kilobyte, one with a
/// pattern one and a half, one with an area 16 bytes more for each position of it, or 60 where a distance is asked for.
#[derive(Debug)]
pub struct Prepared {
    /// Empty: any entity.
    entities: Box<[EntitySelector]>,
    attrs: Box<[String]>,
    q: Option<Query>,
    area: Option<Area>,
    scope: Option<ScopeQuery>,
}

impl Prepared {
    /// Prepares a selection. Refused is what SQL refuses too, when it runs: an area whose rings cross and that has too
    /// many positions to be repaired; and a query that asks for more than one entity.
    pub fn of(selection: &Selection) -> Result<Self, Refusal> {
        if selection.q.as_ref().is_some_and(|q| q.links() > 0) {
            return refuse("q asks for attributes of linked entities, which only a query may");
        }
        let mut entities: Box<[EntitySelector]> = selection.entities.clone().into();
        for one in &mut entities {
            one.ids.sort_unstable();
            one.ids.dedup();
        }
        Ok(Self {
            entities,
            attrs: selection.attrs.clone().into(),
            q: selection.q.clone(),
            area: selection.geo.as_ref().map(Area::of).transpose()?,
            scope: selection.scope.clone(),
        })
    }

    /// Whether the entity is selected; not, where that would cost more than it may ([`Subject::was_too_costly`]).
    pub fn selects(&self, subject: &mut Subject) -> bool {
        self.asked(subject).unwrap_or(false)
    }

    /// Whether the entity is selected, or that would cost more than it may: for what is left out where it is selected.
    pub fn may_select(&self, subject: &mut Subject) -> bool {
        self.asked(subject).unwrap_or(true)
    }

    /// `None`: it would cost more than it may.
    fn asked(&self, subject: &mut Subject) -> Option<bool> {
        subject.effort.begin();
        let selected = self.would_select(subject);
        let too_costly = subject.effort.is_spent();
        subject.too_costly |= too_costly;
        (!too_costly).then_some(selected)
    }

    /// What costs least is asked first.
    fn would_select(&self, subject: &mut Subject) -> bool {
        let entity = subject.entity;
        (self.attrs.is_empty() || self.attrs.iter().any(|iri| entity.attributes.contains_key(iri)))
            && self
                .scope
                .as_ref()
                .is_none_or(|scope| scope.selects(&entity.scope))
            && (self.entities.is_empty() || self.entities.iter().any(|one| is_meant(one, subject)))
            && self.q.as_ref().is_none_or(|q| condition::holds(q, subject))
            && self.area.as_ref().is_none_or(|area| area.meets(subject))
    }

    /// Which entities it asks for, any of these; empty: any.
    #[must_use]
    pub fn entities(&self) -> &[EntitySelector] {
        &self.entities
    }

    /// The query, where there is one.
    #[must_use]
    pub fn q(&self) -> Option<&Query> {
        self.q.as_ref()
    }

    /// How many bytes of memory it takes, nearly.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(|t| t.len() + size_of::<String>()).sum::<usize>();
        size_of::<Self>()
            + texts(&self.attrs)
            + self.entities.iter().map(of_selector).sum::<usize>()
            + self.q.as_ref().map_or(0, Query::weight)
            + self.area.as_ref().map_or(0, Area::weight)
            + self.scope.as_ref().map_or(0, ScopeQuery::weight)
    }
}

/// Whether the entity is one of these; ids are sorted.
fn is_meant(one: &EntitySelector, subject: &mut Subject) -> bool {
    let entity = subject.entity;
    one.types
        .as_ref()
        .is_none_or(|types| types.selects(&entity.types))
        && (one.ids.is_empty() || one.ids.binary_search(&entity.id).is_ok())
        && one
            .id_pattern
            .as_ref()
            .is_none_or(|pattern| subject.effort.finds(pattern, &entity.id))
}

fn of_selector(one: &EntitySelector) -> usize {
    size_of::<EntitySelector>()
        + one
            .ids
            .iter()
            .map(|id| id.len() + size_of::<String>())
            .sum::<usize>()
        + one.types.as_ref().map_or(0, TypeSelection::weight)
        + one.id_pattern.as_ref().map_or(0, Pattern::weight)
}

/// An entity that is asked about, with what several selections need to know of it and is made once.
#[derive(Debug)]
pub struct Subject<'e> {
    entity: &'e Entity,
    /// When it was created, as clients see it.
    created: OnceLock<String>,
    /// When it was modified, as clients see it.
    modified: OnceLock<String>,
    /// Its geometries by attribute, as they are searched.
    places: HashMap<&'e str, Vec<Place>>,
    effort: Effort,
    too_costly: bool,
}

impl<'e> Subject<'e> {
    /// Of an entity.
    #[must_use]
    pub fn of(entity: &'e Entity) -> Self {
        Self {
            entity,
            created: OnceLock::new(),
            modified: OnceLock::new(),
            places: HashMap::new(),
            effort: Effort::default(),
            too_costly: false,
        }
    }

    /// The entity.
    #[must_use]
    pub fn entity(&self) -> &'e Entity {
        self.entity
    }

    /// Whether some selection could not be asked about it, as that would have cost too much.
    #[must_use]
    pub fn was_too_costly(&self) -> bool {
        self.too_costly
    }

    fn created(&self) -> &str {
        self.created.get_or_init(|| time_text(self.entity.created))
    }

    fn modified(&self) -> &str {
        self.modified.get_or_init(|| time_text(self.entity.modified))
    }

    /// The geometries of an attribute.
    fn places(&mut self, attribute: &str) -> &[Place] {
        let Some((iri, instances)) = self.entity.attributes.get_key_value(attribute) else {
            return &[];
        };
        self.places.entry(iri).or_insert_with(|| {
            let geometries = instances.iter().filter(|i| i.kind == Kind::GeoProperty);
            let geometries = geometries.filter_map(|i| Geometry::of(&i.value).ok());
            geometries.map(|geometry| Place::stored(&geometry)).collect()
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
