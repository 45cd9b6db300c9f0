//! What a client searches: grammar → tree → SQL, all pure. User text reaches the database as bound parameters only.
//!
//! * [`q`]: the query language of clause 4.9;
//! * [`types`]: the type selection language of clause 4.17;
//! * [`geo`]: geo-queries of clause 4.10;
//! * [`order`]: the entity ordering language of clause 4.23;
//! * [`scope`]: the scope query language of clause 4.19;
//! * [`temporal`]: the temporal query language of clause 4.11;
//! * [`pattern`]: regular expressions that both PostgreSQL and the broker understand alike;
//! * [`sought`]: what a client searches as it wrote it, in a URL or in JSON;
//! * [`sql`]: from all of these to statements;
//! * [`evaluate`]: the same asked of an entity in memory;
//! * [`index`]: which of many are worth to be asked about an entity.

pub mod evaluate;
pub mod geo;
pub mod index;
pub mod order;
pub mod q;
pub mod sought;
pub mod sql;
pub mod temporal;
pub mod types;

pub use mim_grammar::{pattern, scope};

use crate::query::geo::GeoQuery;
use crate::query::pattern::Pattern;
use crate::query::q::Query;
use crate::query::scope::ScopeQuery;
use crate::query::types::TypeSelection;

/// Everything a query asks for; what is absent does not restrict. Names are IRIs.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Any of these; empty: any entity.
    pub entities: Vec<EntitySelector>,
    /// At least one of these attributes; empty: any.
    pub attrs: Vec<String>,
    /// The query.
    pub q: Option<Query>,
    /// The area.
    pub geo: Option<GeoQuery>,
    /// The scopes.
    pub scope: Option<ScopeQuery>,
}

/// Some entities (clause 5.2.33).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntitySelector {
    /// Which types.
    pub types: Option<TypeSelection>,
    /// One of these ids; empty: any.
    pub ids: Vec<String>,
    /// Ids that contain a match of this pattern.
    pub id_pattern: Option<Pattern>,
}

impl Selection {
    /// Whether it is enough of a restriction where not everything may be asked for (clause 5.7.2).
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        let by_type = !self.entities.is_empty() && self.entities.iter().all(|one| one.types.is_some());
        by_type
            || self.geo.is_some()
            || !self.attrs.is_empty()
            || self.q.as_ref().is_some_and(Query::names_an_attribute)
    }

    /// Whether it asks for all types there are, which only a query of this broker alone may.
    #[must_use]
    pub fn has_all_types(&self) -> bool {
        self.entities
            .iter()
            .any(|one| one.types == Some(TypeSelection::All))
    }
}
