//! Plans for tests.

use mim_crds::{ContextBrokerSpec, DeletionPolicy};

use super::{Plan, Profile};
use crate::reconcile::child::Owner;

/// A platform that asks for a broker and says nothing else.
pub(crate) fn minimal() -> Plan {
    Plan {
        owner: Owner {
            kind: "UrbanDataPlatform",
            api_version: "mim.city/v1alpha1".into(),
            namespace: "city".into(),
            name: "vienna".into(),
            uid: "6f2e3a54-0000-4000-8000-000000000002".into(),
        },
        release: "2026.1".into(),
        profile: Profile::Oasc2022,
        deletion_policy: DeletionPolicy::Retain,
        suspend: false,
        broker: Some(ContextBrokerSpec::default()),
        deletion_confirmed: false,
        restarted_at: None,
        requested_at: None,
    }
}
