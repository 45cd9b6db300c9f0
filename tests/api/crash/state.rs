//! What a namespace looks like, without what is never the same twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use mim_tests::cluster::api_of;
use serde_json::{Value, json};

use crate::chronicle::Fact;
use crate::city::{CHILD_KINDS, City, TOP_KINDS};

/// Every object of a namespace, by kind and name.
#[derive(Debug, Default, PartialEq)]
pub struct Snapshot(BTreeMap<String, Value>);

impl Snapshot {
    pub async fn take(city: &City) -> Self {
        let mut objects = BTreeMap::new();
        let kinds = CHILD_KINDS.iter().chain(TOP_KINDS);
        for (api_version, kind) in kinds {
            let api = api_of(
                &city.client,
                &city.namespace,
                &json!({"apiVersion": api_version, "kind": kind}),
            );
            for object in api.list(&ListParams::default()).await.unwrap() {
                // Of pods that a controller of Kubernetes made, the controller's object tells.
                if *kind == "Pod" && !object.annotations().contains_key("mim.city/applied") {
                    continue;
                }
                let name = format!("{kind} {}", object.name_any());
                if !matches!(
                    name.as_str(),
                    "ConfigMap kube-root-ca.crt" | "ServiceAccount default"
                ) {
                    objects.insert(name, masked(&object, kind, &city.namespace));
                }
            }
        }
        Self(objects)
    }

    /// Where another is not the same.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = String> + 'a {
        let lacks = self
            .0
            .iter()
            .filter_map(|(name, expected)| match other.0.get(name) {
                None => Some(format!("{name} is not there")),
                Some(found) if found == expected => None,
                Some(found) => Some(format!("{name}: {}", first_difference(expected, found, ""))),
            });
        let more = other.0.keys().filter(|name| !self.0.contains_key(*name));
        lacks.chain(more.map(|name| format!("{name} is there")))
    }
}

fn first_difference(expected: &Value, found: &Value, path: &str) -> String {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let keys = expected.keys().chain(found.keys());
            for key in keys {
                let (one, other) = (expected.get(key), found.get(key));
                if one != other {
                    let (one, other) = (one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null));
                    return first_difference(one, other, &format!("{path}.{key}"));
                }
            }
            String::new()
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let at = expected
                .iter()
                .zip(found)
                .position(|(one, other)| one != other)
                .unwrap_or(0);
            first_difference(&expected[at], &found[at], &format!("{path}[{at}]"))
        }
        _ => format!("{path}: expected {expected}, found {found}"),
    }
}

/// Metadata that is another in every namespace or at every time.
const FLEETING: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "namespace",
];
/// Annotations with digests of bodies that hold a uid, and those of Kubernetes' controllers.
const FLEETING_ANNOTATIONS: &[&str] = &[
    "mim.city/applied",
    "mim.city/system-identifier",
    "mim.city/accept-data-loss",
];

fn masked(object: &DynamicObject, kind: &str, namespace: &str) -> Value {
    let text = serde_json::to_string(object)
        .unwrap()
        .replace(namespace, "NAMESPACE");
    let mut value: Value = serde_json::from_str(&text).unwrap();
    // Fields that our manager owns are part of what is the same; who else owns what is Kubernetes' business.
    let ours: Vec<Value> = value["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] == "mim-operator")
        .map(|entry| {
            json!([
                entry["operation"],
                entry["subresource"],
                without_uids(&entry["fieldsV1"])
            ])
        })
        .collect();
    let metadata = value["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| !FLEETING.contains(&key.as_str()));
    metadata.insert("ours".into(), sorted(ours));
    for reference in metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        reference["uid"] = "UID".into();
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        for key in FLEETING_ANNOTATIONS {
            if let Some(value) = annotations.get_mut(*key) {
                *value = "DIGEST".into();
            }
        }
    }
    let parts = value.as_object_mut().unwrap();
    match kind {
        "Secret" => {
            let keys: Vec<_> = parts["data"].as_object().unwrap().keys().cloned().collect();
            parts.insert("data".into(), json!(keys));
        }
        "ConfigMap" => {
            if let Some(identifier) = parts["data"].get_mut("system-identifier") {
                *identifier = "IDENTIFIER".into();
            }
        }
        "Service" => parts["spec"]
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !key.starts_with("clusterIP")),
        "PersistentVolumeClaim" => {
            parts["spec"].as_object_mut().unwrap().remove("volumeName");
            parts.remove("status");
        }
        "ContextBroker" | "UrbanDataPlatform" | "ContextSubscription" => mask_status(&mut parts["status"]),
        // How far Kubernetes' controllers are is not what the operator wrote; that they are done is what Ready says.
        _ => drop(parts.remove("status")),
    }
    value
}

fn mask_status(status: &mut Value) {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = "TIME".into();
    }
    if let Some(identifier) = status.pointer_mut("/storage/systemIdentifier") {
        *identifier = "IDENTIFIER".into();
    }
    for (field, masked) in [
        ("/external/lastProbeTime", "TIME"),
        // With the uid of the object, and digests of that.
        ("/subscription/id", "ID"),
        ("/subscription/applied", "DIGEST"),
        ("/subscription/shown", "DIGEST"),
    ] {
        if let Some(value) = status.pointer_mut(field) {
            *value = masked.into();
        }
    }
}

/// What is in a broker, without what is never the same twice.
pub fn masked_subscription(held: Option<Value>, namespace: &str) -> Value {
    let Some(mut held) = held else {
        return Value::Null;
    };
    held["id"] = "ID".into();
    let text = held.to_string().replace(namespace, "NAMESPACE");
    serde_json::from_str(&text).unwrap()
}

fn without_uids(fields: &Value) -> Value {
    match fields {
        Value::Object(members) => members
            .iter()
            .map(|(key, member)| {
                let key = if key.starts_with("k:{\"uid\"") {
                    "k:UID"
                } else {
                    key
                };
                (key.to_owned(), without_uids(member))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn sorted(mut values: Vec<Value>) -> Value {
    values.sort_by_key(ToString::to_string);
    values.into()
}

/// How many objects of each name were made, and how many are gone.
#[derive(PartialEq)]
pub struct Counts(BTreeMap<String, (usize, usize)>);

/// What the chronicle tells of one object.
struct Life<'a> {
    name: String,
    made: u64,
    gone: Option<u64>,
    owner: Option<&'a str>,
}

impl Counts {
    pub fn of(facts: &[Fact], namespace: &str) -> Self {
        let lives = lives(facts, namespace);
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for life in lives.values().filter(|life| !is_belated(life, &lives)) {
            let count = counts.entry(life.name.clone()).or_default();
            count.0 += 1;
            count.1 += usize::from(life.gone.is_some());
        }
        counts.retain(|name, _| {
            !matches!(
                name.as_str(),
                "ConfigMap kube-root-ca.crt" | "ServiceAccount default"
            )
        });
        Self(counts)
    }

    /// Whether nothing is left.
    pub fn all_gone(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|(made, gone)| made == gone)
    }

    /// Where another, which is of these facts, is not the same, and when what is more or less was made and went.
    pub fn difference(&self, other: &Self, facts: &[Fact], namespace: &str) -> String {
        let names: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differ = names
            .into_iter()
            .filter(|name| self.0.get(*name) != other.0.get(*name));
        let lives = lives(facts, namespace);
        let words: Vec<_> = differ
            .map(|name| {
                let mut when: Vec<_> = lives
                    .values()
                    .filter(|life| life.name == *name)
                    .map(|life| (life.made, life.gone))
                    .collect();
                when.sort_unstable();
                format!(
                    "{name}: expected {:?}, found {:?}, at {when:?}",
                    self.0.get(name),
                    other.0.get(name)
                )
            })
            .collect();
        format!(
            "{}; the ContextBroker was written at {:?}",
            words.join("; "),
            writes(facts, namespace)
        )
    }
}

/// Each state of the ContextBroker: what a difference is to be held against.
fn writes(facts: &[Fact], namespace: &str) -> Vec<u64> {
    let of_broker = |fact: &&Fact| fact.namespace == namespace && fact.kind == "ContextBroker";
    facts.iter().filter(of_broker).map(|fact| fact.version).collect()
}

/// Each object of a namespace by its uid.
fn lives<'a>(facts: &'a [Fact], namespace: &str) -> HashMap<&'a str, Life<'a>> {
    let mut lives: HashMap<&str, Life<'_>> = HashMap::new();
    for fact in facts.iter().filter(|fact| fact.namespace == namespace) {
        let name = if fact.name.starts_with("vienna-broker-") {
            // A pod or a set of pods of the Deployment: how many it makes on its way is its own business, of how many templates is not.
            if fact.kind == "Pod" {
                continue;
            }
            "vienna-broker-…"
        } else {
            &fact.name
        };
        let life = lives.entry(&fact.uid).or_insert_with(|| Life {
            name: format!("{} {name}", fact.kind),
            made: fact.version,
            gone: None,
            owner: fact.object["metadata"]["ownerReferences"][0]["uid"].as_str(),
        });
        life.gone = life.gone.or(fact.gone.then_some(fact.version));
    }
    lives
}

/// Whether a controller of Kubernetes made it after what it was for had gone: it had not yet heard of that, and garbage collection takes it away. What is
/// made for an object of ours that has gone is made by the operator, and counts.
fn is_belated(life: &Life<'_>, lives: &HashMap<&str, Life<'_>>) -> bool {
    let owner = life.owner.and_then(|uid| lives.get(uid));
    owner.is_some_and(|owner| {
        let of_kubernetes = ["StatefulSet ", "Deployment ", "ReplicaSet "];
        of_kubernetes.iter().any(|kind| owner.name.starts_with(kind))
            && owner.gone.is_some_and(|gone| gone < life.made)
    })
}

#[test]
fn what_kubernetes_makes_for_what_has_gone_is_not_counted_and_what_the_operator_makes_is() {
    let fact = |version, kind: &str, uid: &str, owner: &str, gone| Fact {
        version,
        kind: kind.into(),
        namespace: "n".into(),
        name: kind.to_lowercase(),
        uid: uid.into(),
        gone,
        object: json!({"metadata": {"ownerReferences": [{"uid": owner}]}}),
    };
    let facts = [
        fact(1, "ContextBroker", "broker", "", false),
        fact(2, "StatefulSet", "set", "broker", false),
        fact(3, "Pod", "first", "set", false),
        fact(4, "Pod", "first", "set", true),
        fact(5, "Pod", "second", "set", false),
        fact(6, "ContextBroker", "broker", "", true),
        fact(7, "StatefulSet", "set", "broker", true),
        fact(8, "Pod", "second", "set", true),
        fact(9, "Pod", "belated", "set", false),
        fact(10, "StatefulSet", "again", "broker", false),
        fact(11, "Pod", "belated", "set", true),
    ];
    let counts = Counts::of(&facts, "n");
    assert_eq!(counts.0["Pod pod"], (2, 2));
    assert_eq!(counts.0["StatefulSet statefulset"], (2, 1));
    assert!(!counts.all_gone());
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.0.iter().filter(|(_, (made, gone))| made != gone);
        f.debug_map().entries(left).finish()
    }
}
