//! What is kept of a child: a slim copy, as a thousand objects have sixteen thousand children and pods.
//!
//! What is equal for many is kept once: keys, uids of owners, and our entries of `managedFields`, which differ between objects by
//! the owner's uid alone. Children without a status have no room for one. Conditions that nobody reads are dropped.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use super::child::{APPLIED_ANNOTATION, ChildKind, MANAGER, Watch};
use super::live::{LiveCondition, LiveObject, LiveStatus, OwnerKey, by_labels, version_of};
use super::ownership;

/// The conditions of children that anybody reads.
const READ_CONDITIONS: [&str; 8] = [
    "Ready",
    "Reconciling",
    "Stalled",
    "PodScheduled",
    "ReplicaFailure",
    "ControllerResizeError",
    "NodeResizeError",
    "FileSystemResizePending",
];

/// The annotations of children that anybody reads, beside the digest.
const READ_ANNOTATIONS: [&str; 3] = [
    "mim.city/system-identifier",
    "mim.city/template-parts",
    "mim.city/revision",
];

/// The labels of pods that anybody reads.
const READ_LABELS: [&str; 2] = ["app.kubernetes.io/component", "controller-revision-hash"];

/// Longest annotation that is kept, in bytes. Ours are of at most a few hundred; anybody who can write to a labelled object can write 256 KiB.
const LONGEST: usize = 1024;

/// One entry of the index.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Uid: the precondition of every delete.
    pub uid: String,
    /// Version of the object, for the order of what is seen.
    pub resource_version: u64,
    /// Generation of the spec; 0 where the kind has none.
    pub generation: i64,
    /// Digest of the body that we applied last, from the annotation.
    pub applied: Option<String>,
    /// Our entry of `managedFields`, with [`ANY_KEY`] in place of the owner's uid; equal entries share one allocation.
    pub fields: Option<Arc<Value>>,
    /// Who else has written it since we did, by the name of a field manager.
    pub writer: Option<Arc<str>>,
    /// Uid of the controlling owner.
    pub owner_uid: Option<Arc<str>>,
    /// Whether our labels name its owner. One that lost them is still known by its owner's reference, and is given them back; but only what
    /// carries them is ever pruned.
    pub labelled: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Labels that are read: those of pods that are not the same for all.
    pub labels: Few,
    annotations: Few,
    /// Status, where the kind is watched with it.
    pub status: SeenStatus,
}

/// The key of an item of `managedFields` that every item has.
const ANY_KEY: &str = "k:{}";

impl Seen {
    /// Whether the object is as our body left it: same digest, same owner, and every field still ours.
    #[must_use]
    pub fn is_as_applied(&self, body: &Value, digest: &str) -> bool {
        let owner = body
            .pointer("/metadata/ownerReferences/0/uid")
            .and_then(Value::as_str);
        self.applied.as_deref() == Some(digest)
            && owner.is_none_or(|owner| self.owner_uid.as_deref() == Some(owner))
            && self
                .fields
                .as_deref()
                .is_some_and(|fields| ownership::owns_all(body, fields))
    }

    /// A condition of that type, which must be one of those that are kept.
    #[must_use]
    pub fn condition(&self, r#type: &str) -> Option<&LiveCondition> {
        debug_assert!(
            READ_CONDITIONS.contains(&r#type),
            "{type} is dropped on arrival: name it in READ_CONDITIONS"
        );
        self.status
            .conditions
            .iter()
            .find(|condition| condition.r#type == r#type)
    }

    /// An annotation, which must be one of those that are kept.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        debug_assert!(
            READ_ANNOTATIONS.contains(&key),
            "{key} is dropped on arrival: name it in READ_ANNOTATIONS"
        );
        self.annotations.get(key).map(String::as_str)
    }

    /// Pod: whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.deleting
            && self
                .condition("Ready")
                .is_some_and(|ready| ready.status == "True")
    }
}

/// A status that takes no room where there is none.
#[derive(Clone, Debug, Default)]
pub struct SeenStatus(Option<Box<LiveStatus>>);

impl Deref for SeenStatus {
    type Target = LiveStatus;

    fn deref(&self) -> &LiveStatus {
        static NONE: LazyLock<LiveStatus> = LazyLock::new(LiveStatus::default);
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl SeenStatus {
    /// Keeps what is read, in no more room than it needs.
    fn slim(status: Option<LiveStatus>) -> Self {
        Self(status.map(|mut status| {
            status
                .conditions
                .retain(|condition| READ_CONDITIONS.contains(&&*condition.r#type));
            status.conditions.shrink_to_fit();
            status.container_statuses.shrink_to_fit();
            status.init_container_statuses.shrink_to_fit();
            Box::new(status)
        }))
    }
}

/// A map of a few entries, in no more room than they need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Few(Box<[(Arc<str>, String)]>);

impl Few {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&String> {
        self.0
            .iter()
            .find_map(|(of, value)| (**of == *key).then_some(value))
    }
}

/// Makes entries slim.
#[derive(Debug, Default)]
pub struct Slimmer {
    fields: Shared<Value>,
    words: Shared<str>,
}

impl Slimmer {
    /// The entry of an object of this owner's.
    pub fn slim(&self, kind: ChildKind, object: LiveObject, owner: &OwnerKey) -> Seen {
        let mut metadata = object.metadata;
        let resource_version = version_of(&metadata);
        let owner_uid = metadata
            .owner_references
            .iter()
            .flatten()
            .find(|reference| reference.controller == Some(true))
            .map(|reference| self.words.one(reference.uid.as_str()));
        let writer = other_writer(&metadata).map(|writer| self.words.one(writer));
        let fields = our_fields(&mut metadata).map(|mut fields| {
            if let Some(uid) = &owner_uid {
                forget_uid(&mut fields, uid);
            }
            self.fields.one(fields)
        });
        let applied = metadata
            .annotations
            .as_mut()
            .and_then(|all| all.remove(APPLIED_ANNOTATION));
        let labelled = by_labels(&metadata).as_ref() == Some(owner);
        let labels = metadata.labels.filter(|_| kind == ChildKind::Pod);
        Seen {
            uid: metadata.uid.unwrap_or_default(),
            resource_version,
            generation: metadata.generation.unwrap_or(0),
            applied,
            fields,
            writer,
            owner_uid,
            labelled,
            deleting: metadata.deletion_timestamp.is_some(),
            labels: self.few(labels, |key| READ_LABELS.contains(&key)),
            annotations: self.few(metadata.annotations, |key| READ_ANNOTATIONS.contains(&key)),
            // The answer to a write has the status of any kind.
            status: SeenStatus::slim(object.status.filter(|_| kind.watch() != Watch::Metadata)),
        }
    }

    fn few(&self, map: Option<BTreeMap<String, String>>, is_read: fn(&str) -> bool) -> Few {
        let read = map
            .into_iter()
            .flatten()
            .filter(|(key, value)| is_read(key) && value.len() <= LONGEST);
        Few(read
            .map(|(key, value)| (self.words.one(key.as_str()), value))
            .collect())
    }
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
}

/// The last that wrote anything but the status, where it was not us. Times are of whole seconds.
fn other_writer(metadata: &ObjectMeta) -> Option<&str> {
    let time = |entry: &ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
    let entries = || metadata.managed_fields.iter().flatten();
    let ours = entries().filter(|entry| is_ours(entry)).filter_map(time).max();
    let others = entries().filter(|entry| {
        entry.manager.as_deref() != Some(MANAGER) && entry.subresource.as_deref() != Some("status")
    });
    let last = others.max_by_key(|entry| time(entry))?;
    last.manager.as_deref().filter(|_| time(last) >= ours)
}

/// Our entry of `managedFields`, for the object itself.
fn our_fields(metadata: &mut ObjectMeta) -> Option<Value> {
    metadata.managed_fields.take()?.into_iter().find_map(|entry| {
        let ours = is_ours(&entry) && entry.subresource.as_deref().is_none_or(str::is_empty);
        entry.fields_v1.filter(|_| ours).map(|fields| fields.0)
    })
}

/// The owner's uid is in the key of its reference, and nothing else in the entry differs between objects of one shape.
fn forget_uid(fields: &mut Value, uid: &str) {
    let references = fields
        .pointer_mut("/f:metadata/f:ownerReferences")
        .and_then(Value::as_object_mut);
    if let Some(references) = references
        && let Some(owned) = references.remove(&format!("k:{{\"uid\":\"{uid}\"}}"))
    {
        references.insert(ANY_KEY.to_owned(), owned);
    }
}

/// One allocation for all that is equal.
#[derive(Debug)]
struct Shared<T: ?Sized>(Mutex<Held<T>>);

#[derive(Debug)]
struct Held<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// With so many, what nobody holds any more is looked for.
    full_at: usize,
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::new(Held {
            values: HashSet::new(),
            full_at: 64,
        }))
    }
}

impl<T: Eq + Hash + ?Sized> Shared<T> {
    fn one(&self, value: impl Into<Arc<T>>) -> Arc<T> {
        let value = value.into();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.values.get(&value) {
            return Arc::clone(known);
        }
        if held.values.len() >= held.full_at {
            held.values.retain(|known| Arc::strong_count(known) > 1);
            held.full_at = (held.values.len() * 2).max(64);
        }
        held.values.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn child(owner: &str, digest: &str) -> LiveObject {
        serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "city", "uid": "1", "resourceVersion": "1",
                "labels": {"app.kubernetes.io/component": "broker"},
                "annotations": {APPLIED_ANNOTATION: digest, "mim.city/revision": "x",
                                "mim.city/template-parts": "x".repeat(LONGEST + 1), "mim.city/other": "y"},
                "ownerReferences": [{"apiVersion": "v", "kind": "K", "name": "n", "uid": owner, "controller": true}],
                "managedFields": [
                    {"manager": MANAGER, "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
                    {"manager": MANAGER, "operation": "Apply", "fieldsV1": {
                        "f:metadata": {"f:ownerReferences": {(format!("k:{{\"uid\":\"{owner}\"}}")): {}}}, "f:spec": {"f:a": {}}}},
                ],
            }
        }))
        .unwrap()
    }

    fn body(owner: &str) -> Value {
        json!({"metadata": {"name": "a", "ownerReferences": [{"uid": owner, "kind": "K"}]}, "spec": {"a": 1}})
    }

    fn vienna() -> OwnerKey {
        OwnerKey {
            kind: "ContextBroker".into(),
            namespace: "city".into(),
            name: "vienna".into(),
        }
    }

    #[test]
    fn children_of_different_owners_share_one_entry_of_fields_and_are_still_told_apart() {
        let slimmer = Slimmer::default();
        let one = slimmer.slim(ChildKind::Service, child("u-1", "d"), &vienna());
        let other = slimmer.slim(ChildKind::Service, child("u-2", "d"), &vienna());
        assert!(Arc::ptr_eq(
            one.fields.as_ref().unwrap(),
            other.fields.as_ref().unwrap()
        ));
        assert!(one.is_as_applied(&body("u-1"), "d"));
        assert!(!one.is_as_applied(&body("u-2"), "d"), "another owner");
        assert!(!one.is_as_applied(&body("u-1"), "e"), "another body");
    }

    #[test]
    fn a_reference_that_somebody_else_took_is_missed() {
        let slimmer = Slimmer::default();
        let mut taken = child("u-1", "d");
        let fields = taken.metadata.managed_fields.as_mut().unwrap();
        fields[1].fields_v1.as_mut().unwrap().0["f:metadata"] =
            json!({"f:ownerReferences": {"k:{\"uid\":\"u-3\"}": {}}});
        let seen = slimmer.slim(ChildKind::Service, taken, &vienna());
        assert!(!seen.is_as_applied(&body("u-1"), "d"));
    }

    #[test]
    fn only_what_is_read_is_kept() {
        let slimmer = Slimmer::default();
        let seen = slimmer.slim(ChildKind::Service, child("u-1", "d"), &vienna());
        assert_eq!(seen.annotation("mim.city/revision"), Some("x"));
        assert_eq!(
            seen.annotation("mim.city/template-parts"),
            None,
            "too long to be ours"
        );
        assert_eq!(seen.annotations.0.len(), 1, "nobody reads the others");
        assert_eq!(seen.labels, Few::default(), "only pods are told apart by labels");
        let mut pod = child("u-1", "d");
        pod.status = serde_json::from_value(json!({"conditions": [
            {"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"},
        ]}))
        .unwrap();
        let seen = slimmer.slim(ChildKind::Pod, pod.clone(), &vienna());
        assert!(seen.labels.get("app.kubernetes.io/component").is_some() && seen.is_ready());
        assert_eq!(seen.status.conditions.len(), 1);
        let seen = slimmer.slim(ChildKind::Service, pod, &vienna());
        assert_eq!(
            *seen.status,
            LiveStatus::default(),
            "nobody reads the status of a Service"
        );
    }

    #[test]
    fn the_last_other_writer_is_known_unless_we_wrote_after_it_or_it_wrote_the_status() {
        let writer = |ours: &str, other: &str, subresource: &str| {
            let mut object = child("u-1", "d");
            object.metadata.managed_fields = serde_json::from_value(json!([
                {"manager": MANAGER, "operation": "Apply", "time": ours},
                {"manager": "before", "operation": "Update", "time": "2026-01-01T00:00:00Z"},
                {"manager": "other", "operation": "Update", "time": other, "subresource": subresource},
            ]))
            .unwrap();
            let seen = Slimmer::default().slim(ChildKind::Deployment, object, &vienna());
            seen.writer.map(|writer| writer.to_string())
        };
        let (early, late) = ("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z");
        assert_eq!(writer(early, late, "").as_deref(), Some("other"));
        assert_eq!(writer(late, late, "scale").as_deref(), Some("other"));
        assert_eq!(writer(late, early, ""), None);
        assert_eq!(writer(early, late, "status"), None);
    }

    #[test]
    fn what_nobody_holds_any_more_is_given_up() {
        let shared = Shared::<str>::default();
        let kept = shared.one("kept");
        for number in 0..1000 {
            drop(shared.one(format!("word {number}")));
        }
        assert!(shared.0.lock().unwrap().values.len() <= 128);
        assert!(Arc::ptr_eq(&kept, &shared.one("kept")));
    }
}
