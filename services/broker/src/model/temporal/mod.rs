//! The past of entities as clients see it: instances of attributes over time.
//!
//! * [`evolution`]: the temporal representation, normalized or values only (clauses 4.5.6 to 4.5.9);
//! * [`aggregate`]: what is counted and computed of values, period by period (clause 4.5.19);
//! * [`period`]: the periods;
//! * [`brought`]: what a body brings to it.

pub mod aggregate;
pub mod brought;
pub mod evolution;
pub mod period;

use crate::model::{Refusal, refuse};

/// By which of its times an instance of the past is found, shown and cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// By when it was observed; where that is not known, by when it was stored. Deletions are among them: this is the
    /// whole past, where no temporal query was asked.
    #[default]
    Any,
    /// By `observedAt`; what has none is not found.
    Observed,
    /// By `createdAt`: when it was stored.
    Created,
    /// By `modifiedAt`: when it was corrected, or else stored.
    Modified,
    /// By `deletedAt`: deletions only.
    Deleted,
}

impl Clock {
    /// The clock with the name of this property.
    pub fn named(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "observedAt" => Self::Observed,
            "createdAt" => Self::Created,
            "modifiedAt" => Self::Modified,
            "deletedAt" => Self::Deleted,
            other => {
                let other: String = other.chars().take(60).collect();
                return refuse(format!(
                    "timeproperty is observedAt, createdAt, modifiedAt or deletedAt, not {other:?}"
                ));
            }
        })
    }
}
