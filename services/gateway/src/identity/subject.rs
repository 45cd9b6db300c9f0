//! Whom a request is from.

use mim_policy::{Identity, Subject as Holder};
use std::sync::{Arc, LazyLock};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name, which nobody else has: `<issuer>#<sub>`, `key:<id>`, `certificate:<name>`. Empty: nobody that is known.
    pub id: String,
    /// What rules know of it: its roles, its groups, the program that it uses, and claims that the configuration names.
    pub holder: Holder,
}

static NOBODY: LazyLock<Arc<Subject>> = LazyLock::new(|| {
    Arc::new(Subject {
        id: String::new(),
        holder: Holder::Anonymous,
    })
});

impl Subject {
    /// Nobody that is known.
    #[must_use]
    pub fn nobody() -> Arc<Self> {
        Arc::clone(&NOBODY)
    }

    /// Whether it is nobody that is known.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.id.is_empty()
    }

    /// Somebody of whom this is known.
    #[must_use]
    pub const fn known(id: String, identity: Identity) -> Self {
        Self {
            id,
            holder: Holder::Known(identity),
        }
    }

    /// Who holds an API key, whose name is that of a client.
    #[must_use]
    pub fn of_key(name: &str, roles: Vec<String>, groups: Vec<String>) -> Self {
        Self::known(format!("key:{name}"), client(name, roles, groups))
    }

    /// Who has shown a certificate, whose name is that of a client.
    #[must_use]
    pub fn of_certificate(name: &str, roles: Vec<String>, groups: Vec<String>) -> Self {
        Self::known(format!("certificate:{name}"), client(name, roles, groups))
    }

    /// The program that it uses, where that is known.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.identity()?.client.as_deref()
    }

    /// Whether it has a role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.identity()
            .is_some_and(|identity| identity.roles.contains(role))
    }

    /// What is known of it.
    #[must_use]
    pub const fn identity(&self) -> Option<&Identity> {
        match &self.holder {
            Holder::Known(identity) => Some(identity),
            Holder::Anonymous => None,
        }
    }
}

fn client(name: &str, roles: Vec<String>, groups: Vec<String>) -> Identity {
    Identity {
        client: Some(name.to_owned()),
        roles: roles.into_iter().collect(),
        groups: groups.into_iter().collect(),
        ..Identity::default()
    }
}
