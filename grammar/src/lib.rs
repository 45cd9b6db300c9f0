//! What the broker, the gateway and the operator must read alike: an access rule is checked by the
//! operator, decided by the gateway and obeyed by the broker, and means one thing to all three. Pure.
//!
//! * [`json`], [`number`]: JSON that keeps numbers as sent, and numbers compared as what they mean;
//! * [`context`]: @context documents, and what names mean in them;
//! * [`names`]: what may be a URI, a name, a scope, a tenant;
//! * [`pattern`]: regular expressions that both PostgreSQL and we understand alike;
//! * [`scope`]: the scope query language of clause 4.19;
//! * [`validity`]: whether predicates take a geometry as it is.

pub mod context;
pub mod json;
pub mod names;
pub mod number;
pub mod pattern;
pub mod scope;
pub mod validity;

/// Why data is not taken: one sentence that names the member. Of the broker's API it becomes `BadRequestData`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Refuses with a sentence.
pub fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(why.into()))
}
