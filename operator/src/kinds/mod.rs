//! What each kind becomes, a folder per kind.

pub mod context_broker;
pub mod context_subscription;
pub mod urban_data_platform;

use mim_crds::Reason;

use crate::reconcile::trouble::Refusal;

/// Violations of the schema's rules as refusals.
fn guard(violations: Vec<mim_crds::Violation>) -> Vec<Refusal> {
    let refusal = |of: mim_crds::Violation| Refusal {
        reason: Reason::InvalidSpec,
        path: of.path,
        message: of.message,
    };
    violations.into_iter().map(refusal).collect()
}

#[cfg(test)]
#[path = "effect_tests.rs"]
mod tests;
