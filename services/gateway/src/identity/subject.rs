//! Whom a request is from.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Who asks, as rules speak of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its name, which nobody else has: `<issuer>#<sub>`, `key:<id>`, `certificate:<name>`. Empty: nobody that is known.
    pub id: String,
    /// The program that it uses, where a token says so.
    pub client: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// Other claims, those that the configuration names.
    pub claims: BTreeMap<String, Vec<String>>,
}

static NOBODY: LazyLock<Arc<Subject>> = LazyLock::new(Arc::default);

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

    /// Who holds an API key.
    #[must_use]
    pub fn of_key(id: &str, roles: Vec<String>, groups: Vec<String>) -> Self {
        Self {
            id: format!("key:{id}"),
            roles,
            groups,
            ..Self::default()
        }
    }

    /// Who has shown a certificate.
    #[must_use]
    pub fn of_certificate(name: &str, roles: Vec<String>, groups: Vec<String>) -> Self {
        Self {
            id: format!("certificate:{name}"),
            roles,
            groups,
            ..Self::default()
        }
    }
}
