//! The way to what a spec names, bound to the object's own namespace: invariant 6 holds because there is no other way.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use mim_crds::Reason;

use super::apply::{belongs, belongs_to};
use super::child::{Bond, ChildKind, Owner};
use super::context::{Context, Settings};
use super::live::{Live, LiveObject};
use super::probes::{Probe, Target};
use super::request::Purpose;
use super::trouble::{Asked, Missing, Trouble};

/// What a look by name finds of a child that no watch shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlabelled {
    /// Nothing.
    Absent,
    /// An object that nobody else claims.
    Ours,
    /// An object of somebody else: whose, in words.
    Theirs(String),
}

/// The way to what a spec names.
pub struct Reader<'a> {
    cx: &'a Context,
    owner: &'a Owner,
    live: Live,
    trouble: Mutex<Option<Trouble>>,
}

impl<'a> Reader<'a> {
    /// Bound to the owner's namespace.
    #[must_use]
    pub const fn new(cx: &'a Context, owner: &'a Owner, live: Live) -> Self {
        Self {
            cx,
            owner,
            live,
            trouble: Mutex::new(None),
        }
    }

    /// The children, as last seen.
    #[must_use]
    pub const fn live(&self) -> &Live {
        &self.live
    }

    /// The object itself, as owner.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        self.owner
    }

    /// Settings of the operator.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.cx.settings
    }

    /// Values of a Secret of the same namespace. `field` is the path in the spec that names it.
    ///
    /// # Errors
    /// It does not exist, or a key is missing or no text; the message names both and says what to do.
    pub async fn secret(
        &self,
        name: &str,
        field: &str,
        keys: &[&str],
    ) -> Result<BTreeMap<String, String>, Missing> {
        let kind = ChildKind::Secret;
        let answer = self
            .cx
            .requests
            .get::<Secret>(&kind.api_resource(), &self.owner.namespace, name, Purpose::Secret)
            .await;
        let secret = match answer {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                return Err(Missing {
                    reason: Reason::DependencyNotFound,
                    message: format!(
                        "{field}: Secret {name} does not exist; make it, and it goes on by itself"
                    ),
                });
            }
            Err(error) => return Err(self.away(error, kind, name)),
        };
        let data = secret.data.unwrap_or_default();
        keys.iter()
            .map(|key| {
                let text = data
                    .get(*key)
                    .and_then(|value| String::from_utf8(value.0.clone()).ok());
                let text = text.filter(|text| !text.trim().is_empty());
                text.map(|text| ((*key).to_owned(), text)).ok_or_else(|| Missing {
                    reason: Reason::DependencyInvalid,
                    message: format!("{field}: Secret {name} has no text under the key {key}; add it"),
                })
            })
            .collect()
    }

    /// The texts of a ConfigMap of the same namespace. `field` is the path in the spec that names it.
    ///
    /// # Errors
    /// It does not exist; the message names it and says what to do.
    pub async fn config_map(&self, name: &str, field: &str) -> Result<BTreeMap<String, String>, Missing> {
        let kind = ChildKind::ConfigMap;
        let answer = self
            .cx
            .requests
            .get::<ConfigMap>(
                &kind.api_resource(),
                &self.owner.namespace,
                name,
                Purpose::Dereference,
            )
            .await;
        match answer {
            Ok(Some(map)) => Ok(map.data.unwrap_or_default()),
            Ok(None) => Err(Missing {
                reason: Reason::DependencyNotFound,
                message: format!(
                    "{field}: ConfigMap {name} does not exist; make it, and it goes on by itself"
                ),
            }),
            Err(error) => Err(self.away(error, kind, name)),
        }
    }

    /// Whether a child is there that no watch shows, since it lacks the labels by which children are found.
    ///
    /// # Errors
    /// The API server is the trouble.
    pub async fn unlabelled(&self, kind: ChildKind, name: &str) -> Result<Unlabelled, Missing> {
        let namespace = &self.owner.namespace;
        let found: Result<Option<LiveObject>, _> = self
            .cx
            .requests
            .get_meta(&kind.api_resource(), namespace, name, Purpose::Ownership)
            .await;
        match found {
            Ok(None) => Ok(Unlabelled::Absent),
            Ok(Some(found)) if belongs(&found, self.owner, Bond::Regained) => Ok(Unlabelled::Ours),
            Ok(Some(found)) => Ok(Unlabelled::Theirs(belongs_to(&found))),
            Err(error) => Err(self.away(error, kind, name)),
        }
    }

    /// What went wrong is kept as it was: the pass tells it, not what the spec names.
    fn away(&self, error: kube::Error, kind: ChildKind, name: &str) -> Missing {
        let asked = Asked {
            kind: kind.name(),
            name,
            namespace: &self.owner.namespace,
        };
        let trouble = Trouble::of(error, asked);
        let message = trouble.to_string();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        Missing {
            reason: Reason::ApiUnavailable,
            message,
        }
    }

    /// The last probe of a service that somebody else runs; asking makes it be probed from now on.
    pub fn probe(&self, target: Target) -> Option<Probe> {
        self.cx.probes.watch(self.owner, target)
    }

    /// What really went wrong, where the API server was the trouble and not what the spec names.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
