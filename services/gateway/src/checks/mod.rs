//! What is asked of the head of a request before anybody looks at what it means. Pure.
//!
//! What could be read in two ways is refused with 400; what may be written in several ways is brought into one, and only that one is
//! judged and forwarded.

pub mod fields;
pub mod forwarded;
pub mod target;

/// Why a head is refused, in a sentence that quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub &'static str);
