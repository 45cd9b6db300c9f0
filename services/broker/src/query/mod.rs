//! What a client searches: grammar → tree → SQL, all pure. User text reaches the database as bound parameters only.
//!
//! * [`q`]: the query language of clause 4.9;
//! * [`types`]: the type selection language of clause 4.17;
//! * [`geo`]: geo-queries of clause 4.10;
//! * [`scope`]: the scope query language of clause 4.19;
//! * [`pattern`]: regular expressions that both PostgreSQL and the broker understand alike;
//! * [`sql`]: from all of these to statements.

pub mod geo;
pub mod pattern;
pub mod q;
pub mod scope;
pub mod sql;
pub mod types;

use crate::query::geo::GeoQuery;
use crate::query::q::Query;
use crate::query::scope::ScopeQuery;
use crate::query::types::TypeSelection;

/// Everything a query asks for; what is absent does not restrict. Names are IRIs.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Which types.
    pub types: Option<TypeSelection>,
    /// One of these ids; empty: any.
    pub ids: Vec<String>,
    /// Ids that contain a match of this pattern.
    pub id_pattern: Option<String>,
    /// At least one of these attributes; empty: any.
    pub attrs: Vec<String>,
    /// The query.
    pub q: Option<Query>,
    /// The area.
    pub geo: Option<GeoQuery>,
    /// The scopes.
    pub scope: Option<ScopeQuery>,
}
