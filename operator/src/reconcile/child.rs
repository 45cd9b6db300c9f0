//! What must exist: the children of one object, rendered.
//!
//! A child is refused here when it could never be found again (its labels, its namespace), so prune and
//! the watches may rely on them. The order of [`ChildKind`] is the order of apply.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Label that names the kind of the object a child belongs to.
pub const OWNER_KIND_LABEL: &str = "mim.city/kind";
/// Label that names the object a child belongs to.
pub const OWNER_NAME_LABEL: &str = "mim.city/name";
/// Label every object of ours carries, with the value [`MANAGER`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The one field manager, for ever: another name would orphan every field we own.
pub const MANAGER: &str = "mim-operator";
/// Annotation with the digest of the body that was applied last.
pub const APPLIED_ANNOTATION: &str = "mim.city/applied";

/// Every kind of object that a pass may write. The order of the variants is the order of apply: what a pod
/// mounts or runs as comes before what runs the pod, and another of our kinds comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// core/v1
    ServiceAccount,
    /// core/v1; written by [`super::secret`] only, never watched
    Secret,
    /// core/v1
    ConfigMap,
    /// core/v1
    PersistentVolumeClaim,
    /// networking.k8s.io/v1
    NetworkPolicy,
    /// core/v1
    Service,
    /// policy/v1
    PodDisruptionBudget,
    /// apps/v1
    StatefulSet,
    /// apps/v1
    Deployment,
    /// core/v1; made by a step (a preflight), seen for what it tells
    Pod,
    /// mim.city/v1alpha1
    ContextBroker,
}

/// How much of a child the watch brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Metadata is enough: what is only owned.
    Metadata,
    /// Status too: what tells how the object is.
    Status,
    /// Never listed or watched.
    Never,
    /// One of our kinds: its own controller's watch is shared.
    Shared,
}

impl Watch {
    /// Whether a watch is opened for the kind as a child.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Metadata | Self::Status)
    }
}

impl ChildKind {
    /// All kinds, in the order of apply.
    pub const ALL: [Self; 11] = [
        Self::ServiceAccount,
        Self::Secret,
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::NetworkPolicy,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::StatefulSet,
        Self::Deployment,
        Self::Pod,
        Self::ContextBroker,
    ];

    /// Group, version, kind and plural.
    #[must_use]
    pub const fn resource(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::PersistentVolumeClaim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::ContextBroker => (
                mim_crds::GROUP,
                mim_crds::VERSION,
                "ContextBroker",
                "contextbrokers",
            ),
        }
    }

    /// The kind's name, as in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.resource().2
    }

    /// `group/version`, or `version` for the core group.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.resource() {
            ("", version, ..) => version.to_owned(),
            (group, version, ..) => format!("{group}/{version}"),
        }
    }

    /// How this kind is watched.
    #[must_use]
    pub const fn watch(self) -> Watch {
        match self {
            Self::Secret => Watch::Never,
            Self::PersistentVolumeClaim | Self::StatefulSet | Self::Deployment | Self::Pod => Watch::Status,
            Self::ContextBroker => Watch::Shared,
            _ => Watch::Metadata,
        }
    }

    /// As kube describes a resource.
    #[must_use]
    pub fn api_resource(self) -> kube::api::ApiResource {
        let (group, version, kind, plural) = self.resource();
        kube::api::ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }

    fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|candidate| candidate.name() == kind && candidate.api_version() == api_version)
    }
}

/// The object that children belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind, as in manifests.
    pub kind: &'static str,
    /// `group/version`.
    pub api_version: String,
    /// Namespace of the object and of every child.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid: another object of the same name is another owner.
    pub uid: String,
}

impl Owner {
    /// The labels by which the children of this owner are found.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned()),
            (OWNER_KIND_LABEL.to_owned(), self.kind.to_owned()),
            (OWNER_NAME_LABEL.to_owned(), self.name.clone()),
        ])
    }

    /// Name of a child: `<name>-<component>`.
    #[must_use]
    pub fn child(&self, component: &str) -> String {
        format!("{}-{component}", self.name)
    }

    /// The reference that makes garbage collection take an object with this one.
    #[must_use]
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// What happens to a child when its owner goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// It carries an owner reference: garbage collection and prune take it.
    Owned,
    /// It carries none (invariant 8): data and the keys to it stay, found again by label and name. Only where their deletion is asked for and
    /// confirmed they carry one, too ([`Children::bind`]), and still nothing but garbage collection ever deletes them.
    Kept,
    /// As [`Self::Kept`], and taken back by its name alone, as long as nothing on it names another owner: a volume that is known to hold our data
    /// may have lost our labels, or been brought back by a tool that never knew them.
    Regained,
}

/// One rendered child.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name; the namespace is the owner's.
    pub name: String,
    /// Whether it goes with its owner.
    pub bond: Bond,
    /// The body to apply, digest annotation included.
    pub body: Value,
    /// The digest in that annotation.
    pub digest: String,
}

/// The children of one object, in the order of apply.
#[derive(Clone, Debug)]
pub struct Children {
    owner: Owner,
    children: BTreeMap<(ChildKind, String), Child>,
}

impl Children {
    /// No children yet.
    #[must_use]
    pub const fn new(owner: Owner) -> Self {
        Self {
            owner,
            children: BTreeMap::new(),
        }
    }

    /// The object they belong to.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Adds a child that goes with its owner.
    pub fn own(&mut self, object: &impl Serialize) {
        self.add(object, Bond::Owned);
    }

    /// Adds a child that outlives its owner.
    pub fn keep(&mut self, object: &impl Serialize) {
        self.add(object, Bond::Kept);
    }

    /// Adds a child that outlives its owner, and is taken back without our labels, too.
    pub fn regain(&mut self, object: &impl Serialize) {
        self.add(object, Bond::Regained);
    }

    /// Renders the object: namespace, the labels it is found by, owner reference and digest are set here, over
    /// whatever the builder wrote, so that nothing can be added that could never be found again.
    fn add(&mut self, object: &impl Serialize, bond: Bond) {
        let rendered = serde_json::to_value(object)
            .ok()
            .and_then(|body| self.render(body, bond));
        debug_assert!(
            rendered.is_some(),
            "a builder must render an object of a known kind with a name"
        );
        if let Some(child) = rendered {
            self.children.insert((child.kind, child.name.clone()), child);
        }
    }

    fn render(&self, body: Value, bond: Bond) -> Option<Child> {
        let Value::Object(mut body) = prune_nulls(body) else {
            return None;
        };
        let kind = ChildKind::of(body.get("apiVersion")?.as_str()?, body.get("kind")?.as_str()?)?;
        body.remove("status");
        let metadata = body.get_mut("metadata")?.as_object_mut()?;
        let name = metadata.get("name")?.as_str()?.to_owned();
        metadata.insert("namespace".into(), self.owner.namespace.clone().into());
        let labels = object_at(metadata, "labels")?;
        labels.extend(
            self.owner
                .labels()
                .into_iter()
                .map(|(key, value)| (key, Value::from(value))),
        );
        if bond == Bond::Owned {
            metadata.insert(
                "ownerReferences".into(),
                serde_json::to_value([self.owner.reference()]).ok()?,
            );
        }
        let (body, digest) = signed(Value::Object(body))?;
        Some(Child {
            kind,
            name,
            bond,
            body,
            digest,
        })
    }

    /// Makes what outlives its owner go with it: the deletion of the data is asked for and confirmed.
    pub fn bind(&mut self) {
        let reference = self.owner.reference();
        for child in self
            .children
            .values_mut()
            .filter(|child| child.bond != Bond::Owned)
        {
            if let Some((body, digest)) = bound(child.body.clone(), &reference) {
                (child.body, child.digest) = (body, digest);
            }
        }
    }

    /// In the order of apply.
    pub fn iter(&self) -> impl Iterator<Item = &Child> {
        self.children.values()
    }

    /// Whether a child of that kind and name must exist.
    #[must_use]
    pub fn contains(&self, kind: ChildKind, name: &str) -> bool {
        self.children.contains_key(&(kind, name.to_owned()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }
}

/// A body with its digest in it.
fn signed(mut body: Value) -> Option<(Value, String)> {
    let digest = digest(&body);
    let metadata = body.get_mut("metadata")?.as_object_mut()?;
    object_at(metadata, "annotations")?.insert(APPLIED_ANNOTATION.into(), digest.clone().into());
    Some((body, digest))
}

fn bound(mut body: Value, reference: &OwnerReference) -> Option<(Value, String)> {
    let metadata = body.get_mut("metadata")?.as_object_mut()?;
    object_at(metadata, "annotations")?.remove(APPLIED_ANNOTATION);
    metadata.insert("ownerReferences".into(), serde_json::to_value([reference]).ok()?);
    signed(body)
}

fn object_at<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.entry(key.to_owned())
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
}

/// Drops members that are null: under server-side apply a null is a claim, not an absence.
fn prune_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, prune_nulls(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(prune_nulls).collect()),
        other => other,
    }
}

/// A digest of a JSON value that does not depend on the order of members. `v1` names the way it is made: another way
/// gets another name, so that a new operator can tell an old digest from a changed body.
#[must_use]
pub fn digest(value: &Value) -> String {
    let mut hasher = Sha256::new();
    feed(&mut hasher, value);
    let bytes = hasher.finalize();
    let head = bytes.iter().take(10);
    head.fold("v1-".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            hasher.update(b"{");
            for (key, value) in members {
                hasher.update((key.len() as u64).to_le_bytes());
                hasher.update(key.as_bytes());
                feed(hasher, value);
            }
            hasher.update(b"}");
        }
        Value::Array(items) => {
            hasher.update(b"[");
            for item in items {
                feed(hasher, item);
            }
            hasher.update(b"]");
        }
        scalar => {
            let text = scalar.to_string();
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner() -> Owner {
        Owner {
            kind: "ContextBroker",
            api_version: "mim.city/v1alpha1".into(),
            namespace: "city".into(),
            name: "vienna".into(),
            uid: "u1".into(),
        }
    }

    fn config_map(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "elsewhere"}, "data": {"a": "b"}})
    }

    #[test]
    fn a_child_is_always_found_again_and_stays_in_its_owners_namespace() {
        let mut children = Children::new(owner());
        children.own(&config_map("vienna-broker"));
        let child = children.iter().next().unwrap();
        assert_eq!(child.body["metadata"]["namespace"], "city");
        assert_eq!(child.body["metadata"]["labels"][OWNER_NAME_LABEL], "vienna");
        assert_eq!(child.body["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert_eq!(
            child.body["metadata"]["annotations"][APPLIED_ANNOTATION],
            child.digest
        );
    }

    #[test]
    fn what_outlives_its_owner_carries_no_owner_reference() {
        let mut children = Children::new(owner());
        children.keep(&config_map("vienna-database-identity"));
        assert!(
            children.iter().next().unwrap().body["metadata"]
                .get("ownerReferences")
                .is_none()
        );
    }

    #[test]
    fn what_is_bound_goes_with_its_owner_and_has_another_digest() {
        let mut children = Children::new(owner());
        children.keep(&config_map("vienna-database-identity"));
        let before = children.iter().next().unwrap().clone();
        children.bind();
        let after = children.iter().next().unwrap().clone();
        assert_eq!(after.body["metadata"]["ownerReferences"][0]["uid"], "u1");
        assert_eq!(
            after.body["metadata"]["annotations"][APPLIED_ANNOTATION],
            after.digest
        );
        assert_eq!(after.bond, Bond::Kept, "prune never looks at it");
        assert_ne!(after.digest, before.digest);
        children.bind();
        assert_eq!(children.iter().next().unwrap(), &after, "once is enough");
    }

    #[test]
    fn the_digest_ignores_the_order_of_members_and_nothing_else() {
        assert_eq!(
            digest(&json!({"a": 1, "b": [1, 2]})),
            digest(&json!({"b": [1, 2], "a": 1}))
        );
        assert_ne!(digest(&json!([1, 2])), digest(&json!([2, 1])));
        assert_ne!(digest(&json!({"a": "1"})), digest(&json!({"a": 1})));
        assert_ne!(digest(&json!(["ab", "c"])), digest(&json!(["a", "bc"])));
    }

    #[test]
    fn accounts_come_before_workloads() {
        let mut children = Children::new(owner());
        children.own(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}));
        children.own(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "z"}}));
        let kinds: Vec<_> = children.iter().map(|child| child.kind).collect();
        assert_eq!(kinds, [ChildKind::ServiceAccount, ChildKind::Deployment]);
    }
}
