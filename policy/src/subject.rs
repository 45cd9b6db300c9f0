//! Who asks, as the gateway has found out.

use std::collections::{BTreeMap, BTreeSet};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Somebody who has shown nothing of itself. Whoever has shown something that does not hold is not anonymous: that
    /// request is refused before.
    Anonymous,
    /// Somebody whose token, key or certificate holds.
    Known(Identity),
}

/// What is known of somebody. Nothing of it is a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its roles.
    pub roles: BTreeSet<String>,
    /// Its groups.
    pub groups: BTreeSet<String>,
    /// The client that it comes by.
    pub client: Option<String>,
    /// Its claims by name, each with its value or values as texts.
    pub claims: BTreeMap<String, BTreeSet<String>>,
}
