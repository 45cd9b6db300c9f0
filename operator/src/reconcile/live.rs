//! What the API server last showed of the children: one index for all kinds, filled by the watches and by the answers
//! to our own writes.
//!
//! An entry is a slim copy (no spec, no managed fields of others), so that a thousand brokers fit in a few
//! mebibytes. Nothing here calls anybody: [`Live`] is a view of one owner's entries, and everything that a kind concludes
//! from it is a pure function.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::ApiResource;
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::answers::Awaited;
use super::child::{ChildKind, OWNER_KIND_LABEL, OWNER_NAME_LABEL};
use super::kind::Kind;
use super::seen::Slimmer;

pub use super::seen::{Few, Seen, SeenStatus};

/// The object that entries belong to: kind, namespace, name, as the labels of the child say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerKey {
    /// Kind, as in manifests.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl OwnerKey {
    /// Of an object of this kind.
    #[must_use]
    pub fn of<K: Kind>(object: &impl ResourceExt) -> Self {
        Self {
            kind: K::KIND.to_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

/// A child as it comes over the wire: metadata, and the parts of the status that tell how it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LiveObject {
    /// Standard metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the kinds that we watch with status tell; absent for the others.
    #[serde(default)]
    pub status: Option<LiveStatus>,
}

impl Resource for LiveObject {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(dt: &ApiResource) -> std::borrow::Cow<'_, str> {
        dt.kind.as_str().into()
    }
    fn group(dt: &ApiResource) -> std::borrow::Cow<'_, str> {
        dt.group.as_str().into()
    }
    fn version(dt: &ApiResource) -> std::borrow::Cow<'_, str> {
        dt.version.as_str().into()
    }
    fn plural(dt: &ApiResource) -> std::borrow::Cow<'_, str> {
        dt.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The members that we read of the status of Deployments, StatefulSets, Pods, claims and our own kinds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveStatus {
    /// Generation that the status speaks of.
    pub observed_generation: Option<i64>,
    /// Pods that exist.
    pub replicas: Option<i32>,
    /// Pods of the newest template.
    pub updated_replicas: Option<i32>,
    /// Pods that are ready.
    pub ready_replicas: Option<i32>,
    /// Pods that have been ready for `minReadySeconds`.
    pub available_replicas: Option<i32>,
    /// StatefulSet: name of the newest template.
    pub update_revision: Option<String>,
    /// Pod or claim: `Pending`, `Running`, `Bound` …
    pub phase: Option<String>,
    /// Why the phase is what it is.
    pub reason: Option<String>,
    /// The same in words.
    pub message: Option<String>,
    /// Conditions. Times of built-in kinds are not read.
    pub conditions: Vec<LiveCondition>,
    /// Pod: containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// Pod: init containers.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Claim: what was provisioned.
    pub capacity: BTreeMap<String, String>,
    /// Our kinds: release in use.
    pub release: Option<String>,
}

/// A condition of any kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveCondition {
    /// Its type.
    pub r#type: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// The same in words.
    pub message: Option<String>,
}

impl From<&Condition> for LiveCondition {
    fn from(condition: &Condition) -> Self {
        Self {
            r#type: condition.type_.clone(),
            status: condition.status.clone(),
            reason: Some(condition.reason.clone()),
            message: Some(condition.message.clone()),
        }
    }
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Whether its readiness probe passes.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: i32,
    /// What it does now.
    pub state: ContainerState,
    /// How it ended last.
    pub last_state: ContainerState,
}

/// The state of a container; at most one member is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerState {
    /// It has not started.
    pub waiting: Option<Waiting>,
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Waiting {
    /// One word, `ImagePullBackOff` for example.
    pub reason: Option<String>,
    /// The same in words.
    pub message: Option<String>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// One word, `Error` or `OOMKilled` for example.
    pub reason: Option<String>,
    /// The termination message.
    pub message: Option<String>,
}

/// Entries of one owner, by kind and name.
pub type Entries = BTreeMap<(ChildKind, String), Arc<Seen>>;

/// All children of all owners.
#[derive(Debug, Default)]
pub struct Index {
    held: RwLock<Held>,
    slimmer: Slimmer,
}

/// What is known, and what is still to be answered: under one lock, so that the news of an end meets either the entry or the answer.
#[derive(Debug, Default)]
struct Held {
    owners: HashMap<OwnerKey, Entries>,
    awaited: Awaited,
}

impl Held {
    /// Whose an object was when it was last seen, where it no longer says so itself. Rare: the whole namespace is searched.
    fn known(&self, kind: ChildKind, metadata: &ObjectMeta) -> Option<OwnerKey> {
        let (namespace, uid) = (metadata.namespace.as_ref()?, metadata.uid.as_ref()?);
        let key = (kind, metadata.name.clone()?);
        let found = self.owners.iter().find(|(owner, entries)| {
            owner.namespace == *namespace && entries.get(&key).is_some_and(|seen| seen.uid == *uid)
        });
        found.map(|(owner, _)| owner.clone())
    }
}

/// A write of ours that is about to be sent, or under way.
#[derive(Debug)]
pub struct Sent<'a> {
    index: &'a Index,
    number: u64,
    kind: ChildKind,
}

impl Sent<'_> {
    /// Takes in the object that the answer shows, and says whether that is still there: a watch may have shown meanwhile that it is gone again.
    #[must_use]
    pub fn answered(self, object: LiveObject) -> bool {
        let version = version_of(&object.metadata);
        self.index.take_in(self.kind, object, Some(self.number));
        let is_gone = self.index.read().awaited.is_gone(self.number, version);
        !is_gone
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.index.write().awaited.end(self.number);
    }
}

impl Index {
    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view of one owner's children.
    #[must_use]
    pub fn of(&self, owner: &OwnerKey) -> Live {
        Live {
            entries: self.read().owners.get(owner).cloned().unwrap_or_default(),
        }
    }

    /// Call it before a write is sent; its answer is taken in with [`Sent::answered`].
    #[must_use]
    pub fn send(&self, kind: ChildKind, namespace: &str, name: &str) -> Sent<'_> {
        Sent {
            index: self,
            number: self.write().awaited.begin(kind, namespace, name),
            kind,
        }
    }

    /// Takes in an object that a watch has shown, and says whose it is, where it shows anything new. What is as old as what is held, or
    /// older, does not: a watch trails our own writes and shows each of them again, and of a thousand new brokers these echoes are most of the events.
    pub fn apply(&self, kind: ChildKind, object: LiveObject) -> Option<OwnerKey> {
        self.take_in(kind, object, None)
    }

    /// `answer`: the number of the write whose answer has shown it.
    fn take_in(&self, kind: ChildKind, object: LiveObject, answer: Option<u64>) -> Option<OwnerKey> {
        let owner = owner_of(&object.metadata).or_else(|| self.read().known(kind, &object.metadata))?;
        let key = (kind, object.metadata.name.clone()?);
        let version = version_of(&object.metadata);
        // Of another uid, too: a later object has a later version. What has no version that can be compared is news.
        let is_old = |entries: &Entries| {
            let held = entries.get(&key);
            version > 0 && held.is_some_and(|held| held.resource_version >= version)
        };
        if self.read().owners.get(&owner).is_some_and(is_old) {
            return None;
        }
        let seen = self.slimmer.slim(kind, object, &owner);
        let mut held = self.write();
        // Another may have been taken in since.
        let is_late = answer.is_some_and(|number| held.awaited.is_gone(number, version));
        if is_late || held.owners.get(&owner).is_some_and(is_old) {
            return None;
        }
        let entries = held.owners.entry(owner.clone()).or_default();
        entries.insert(key, Arc::new(seen));
        Some(owner)
    }

    /// Forgets an object that a watch has shown to be gone, and says whose it was.
    pub fn delete(&self, kind: ChildKind, object: &LiveObject) -> Option<OwnerKey> {
        let metadata = &object.metadata;
        let key = (kind, metadata.name.clone()?);
        let mut held = self.write();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        held.awaited.gone(kind, namespace, &key.1, version_of(metadata));
        let owner = owner_of(metadata).or_else(|| held.known(kind, metadata))?;
        let entries = held.owners.get_mut(&owner)?;
        let same = entries
            .get(&key)
            .is_some_and(|seen| metadata.uid.as_ref() == Some(&seen.uid));
        if same {
            entries.remove(&key);
        }
        if entries.is_empty() {
            held.owners.remove(&owner);
        }
        same.then_some(owner)
    }

    /// After a relist of one kind in one scope (a namespace, or all): forgets what the list no longer has, and says
    /// whose children went missing. `version` is that of the list: what is newer was made after it, and the watch that follows the list tells what
    /// becomes of it. What is not went before the list was made, and no watch will say so.
    pub fn retain(
        &self,
        kind: ChildKind,
        namespace: Option<&str>,
        listed: &HashSet<String>,
        version: u64,
    ) -> Vec<OwnerKey> {
        let mut touched = Vec::new();
        let mut held = self.write();
        let Held { owners, awaited } = &mut *held;
        for (owner, entries) in owners.iter_mut() {
            if namespace.is_some_and(|namespace| namespace != owner.namespace) {
                continue;
            }
            let before = entries.len();
            entries.retain(|(of, _), seen| {
                *of != kind || listed.contains(&seen.uid) || seen.resource_version > version
            });
            if entries.len() != before {
                touched.push(owner.clone());
            }
        }
        owners.retain(|_, entries| !entries.is_empty());
        awaited.listed(kind, namespace, version, |namespace, name| {
            let key = (kind, name.to_owned());
            let mut of_namespace = owners.iter().filter(|(owner, _)| owner.namespace == namespace);
            of_namespace.any(|(_, entries)| entries.contains_key(&key))
        });
        touched
    }
}

/// The version of an object, for the order of what is seen: numbers that grow (KEP-5504). 0 where there is none.
#[must_use]
pub fn version_of(metadata: &ObjectMeta) -> u64 {
    let version = metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Whose child an object is: by the reference of its controller, where that is of our kinds, else by its labels. The reference goes
/// first, for labels are edited by hand more easily.
#[must_use]
pub fn owner_of(metadata: &ObjectMeta) -> Option<OwnerKey> {
    let mut references = metadata.owner_references.iter().flatten();
    let controller = references.find(|reference| {
        reference.controller == Some(true) && reference.api_version.split('/').next() == Some(mim_crds::GROUP)
    });
    let by_reference = controller.and_then(|of| {
        Some(OwnerKey {
            kind: of.kind.clone(),
            namespace: metadata.namespace.clone()?,
            name: of.name.clone(),
        })
    });
    by_reference.or_else(|| by_labels(metadata))
}

/// Whose child an object is, by our labels alone.
pub(super) fn by_labels(metadata: &ObjectMeta) -> Option<OwnerKey> {
    let labels = metadata.labels.as_ref()?;
    Some(OwnerKey {
        kind: labels.get(OWNER_KIND_LABEL)?.clone(),
        namespace: metadata.namespace.clone()?,
        name: labels.get(OWNER_NAME_LABEL)?.clone(),
    })
}

/// The children of one owner, as last seen.
#[derive(Clone, Debug, Default)]
pub struct Live {
    entries: Entries,
}

impl Live {
    /// A view of given entries.
    #[must_use]
    pub const fn new(entries: Entries) -> Self {
        Self { entries }
    }

    /// One child.
    #[must_use]
    pub fn get(&self, kind: ChildKind, name: &str) -> Option<&Seen> {
        self.entries.get(&(kind, name.to_owned())).map(AsRef::as_ref)
    }

    /// All children.
    pub fn iter(&self) -> impl Iterator<Item = (ChildKind, &str, &Seen)> {
        self.entries
            .iter()
            .map(|((kind, name), seen)| (*kind, name.as_str(), seen.as_ref()))
    }

    /// The pods of one component, by name.
    pub fn pods<'a>(&'a self, component: &'a str) -> impl Iterator<Item = (&'a str, &'a Seen)> {
        self.iter().filter_map(move |(kind, name, seen)| {
            let of_component = seen
                .labels
                .get("app.kubernetes.io/component")
                .is_some_and(|of| of == component);
            (kind == ChildKind::Pod && of_component).then_some((name, seen))
        })
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
