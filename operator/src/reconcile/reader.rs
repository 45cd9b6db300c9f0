//! The way to what a spec names, bound to the object's own namespace: invariant 6 holds because there is no other way but through an object that
//! lets this namespace in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use mim_crds::Reason;

use super::apply::{belongs, belongs_to};
use super::child::{Bond, ChildKind, Owner};
use super::context::{Context, Settings};
use super::live::{Live, LiveObject, OwnerKey};
use super::peers::{Host, Sight};
use super::probes::{Probe, Target};
use super::remote::{Finding, Remote};
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

/// What a spec's name of another object of ours leads to.
pub enum Peer<'a, K> {
    /// The object.
    There(Guest<'a, K>),
    /// An object that this operator cannot read.
    Unreadable,
    /// There is none of that name in this namespace.
    Absent,
    /// There is none in that other namespace that lets this one in. `gone`: there is none at all, which is told to those only who were let in once.
    Closed {
        /// Whether there is none.
        gone: bool,
    },
    /// This operator does not watch that namespace.
    OutOfSight,
}

/// An object of ours that lets this one's namespace in, and what it names.
pub struct Guest<'a, K> {
    reader: &'a Reader<'a>,
    object: Arc<DeserializeGuard<K>>,
    namespace: String,
}

impl<K: Host> Guest<'_, K> {
    /// The object.
    #[must_use]
    pub fn object(&self) -> Option<&K> {
        self.object.0.as_ref().ok()
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Values of a Secret that the object names, in its own namespace. `field` is the path in its spec.
    ///
    /// # Errors
    /// As [`Reader::secret`].
    pub async fn secret(
        &self,
        name: &str,
        field: &str,
        keys: &[&str],
    ) -> Result<BTreeMap<String, String>, Missing> {
        let read = self.reader.secret_in(&self.namespace, name, field, keys).await?;
        Ok(read.values)
    }
}

/// What was read of a Secret.
pub struct Read {
    /// The values of the keys that were asked for.
    pub values: BTreeMap<String, String>,
    /// Which Secret, and which version of it: another one may have other values.
    pub version: String,
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

    /// The clock of conditions.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.cx.now)()
    }

    /// Another object of ours, of this namespace (`None`) or of one where the object lets this one in. This one gets a pass whenever that changes.
    #[must_use]
    pub fn peer<K: Host>(&self, namespace: Option<&str>, name: &str) -> Peer<'_, K> {
        let own = self.owner.namespace.as_str();
        let namespace = namespace.unwrap_or(own);
        let from = OwnerKey {
            kind: self.owner.kind.to_owned(),
            namespace: own.to_owned(),
            name: self.owner.name.clone(),
        };
        let object = match self.cx.peers.find::<K>(from, namespace, name) {
            Sight::There(object) => object,
            Sight::Absent if namespace == own => return Peer::Absent,
            Sight::Absent => return Peer::Closed { gone: true },
            Sight::OutOfSight => return Peer::OutOfSight,
        };
        let lets_in = |object: &K| namespace == own || object.lets_in(own);
        match &object.0 {
            Ok(found) if lets_in(found) => Peer::There(Guest {
                reader: self,
                object: Arc::clone(&object),
                namespace: namespace.to_owned(),
            }),
            Err(_) if namespace == own => Peer::Unreadable,
            _ => Peer::Closed { gone: false },
        }
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
        Ok(self.secret_read(name, field, keys).await?.values)
    }

    /// As [`Self::secret`], with the version that was read.
    ///
    /// # Errors
    /// As [`Self::secret`].
    pub async fn secret_read(&self, name: &str, field: &str, keys: &[&str]) -> Result<Read, Missing> {
        self.secret_in(&self.owner.namespace, name, field, keys).await
    }

    async fn secret_in(
        &self,
        namespace: &str,
        name: &str,
        field: &str,
        keys: &[&str],
    ) -> Result<Read, Missing> {
        let kind = ChildKind::Secret;
        let answer = self
            .cx
            .requests
            .get::<Secret>(&kind.api_resource(), namespace, name, Purpose::Secret)
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
            Err(error) => return Err(self.away(error, kind, namespace, name)),
        };
        let meta = &secret.metadata;
        let version = format!(
            "{}/{}",
            meta.uid.as_deref().unwrap_or_default(),
            meta.resource_version.as_deref().unwrap_or_default()
        );
        let data = secret.data.unwrap_or_default();
        let values: Result<BTreeMap<_, _>, Missing> = keys
            .iter()
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
            .collect();
        Ok(Read {
            values: values?,
            version,
        })
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
            Err(error) => Err(self.away(error, kind, &self.owner.namespace, name)),
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
            Err(error) => Err(self.away(error, kind, namespace, name)),
        }
    }

    /// What went wrong is kept as it was: the pass tells it, not what the spec names.
    fn away(&self, error: kube::Error, kind: ChildKind, namespace: &str, name: &str) -> Missing {
        let asked = Asked {
            kind: kind.name(),
            name,
            namespace,
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

    /// What the last turn of the object's errand has found.
    #[must_use]
    pub fn finding<R: Remote>(&self) -> Option<Finding<R::Found>> {
        self.cx.errands.finding::<R>(&self.owner.uid)
    }

    /// What really went wrong, where the API server was the trouble and not what the spec names.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
