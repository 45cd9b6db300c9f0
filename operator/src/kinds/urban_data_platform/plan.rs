//! What an UrbanDataPlatform asks for: a value that cannot be wrong. Everything after validation works on this.

use mim_crds::{ContextBrokerSpec, DeletionPolicy};

use crate::reconcile::child::Owner;

/// What an UrbanDataPlatform becomes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The UrbanDataPlatform.
    pub owner: Owner,
    /// Name of the release in force: of the spec, else the one on record. Components that name none get it.
    pub release: String,
    /// Edition of the MIMs whose rows the status has.
    pub profile: Profile,
    /// Policy of components that name none.
    pub deletion_policy: DeletionPolicy,
    /// Whether the platform is suspended, and so every component.
    pub suspend: bool,
    /// The section of the broker, as the user wrote it: what is absent there is not applied to the ContextBroker.
    pub broker: Option<ContextBrokerSpec>,
    /// Whether the annotation `mim.city/confirm-deletion` holds the platform's name.
    pub deletion_confirmed: bool,
    /// Value of `mim.city/restartedAt`.
    pub restarted_at: Option<String>,
    /// Value of `mim.city/requestedAt`.
    pub requested_at: Option<String>,
}

/// An edition of the MIMs: numbers mean other things in other editions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The MIMs as OASC adopted them in 2022.
    Oasc2022,
    /// MIMs Plus, version 9.0.
    MimsPlus90,
}

#[cfg(test)]
#[path = "fixtures.rs"]
pub(super) mod fixtures;
