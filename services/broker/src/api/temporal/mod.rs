//! The temporal evolution of entities: `/temporal/entities` and what is below it, and `/temporal/entityOperations/query`
//! (clauses 6.18 to 6.22 and 6.24).
//!
//! * [`asked`]: what a client asks to see of the past;
//! * [`read`]: retrieve and query;
//! * [`answer`]: instances as they become an answer; [`aggregated`]: values as they do;
//! * [`write`]: create, append, correct and delete.

pub mod aggregated;
pub mod answer;
pub mod asked;
pub mod read;
pub mod write;
