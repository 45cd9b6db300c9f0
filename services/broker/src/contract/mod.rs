//! The read-only contract: what GeoService, indicators and analytics may read of a tenant, in SQL. Pure.
//!
//! * [`names`]: of schemas and roles, the same for the same tenant in every replica and in the operator;
//! * [`view`]: a view of one type of entity: what is asked for, and how it may change;
//! * [`sql`]: the text of views and indexes.
//!
//! What is promised to whoever reads: `docs/contract.md`.

pub use mim_contract as names;
pub mod sql;
pub mod view;

use serde::Deserialize;
use std::num::{NonZeroU8, NonZeroU32};

/// What the configuration says of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terms {
    /// After how many seconds a statement of a reader is ended.
    pub statement_timeout: NonZeroU32,
    /// How many sessions a reader may have at once.
    pub connections: NonZeroU8,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            statement_timeout: NonZeroU32::MIN.saturating_add(29),
            connections: NonZeroU8::MIN.saturating_add(4),
        }
    }
}
