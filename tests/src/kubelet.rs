//! A kubelet of a few lines: what it says of pods is what the real one would say of our operands (`docs/operands.md`).
//!
//! Volumes are remembered by the claim's uid: a claim that was made anew is an empty volume, and a database that finds its volume
//! empty where a ConfigMap names an identity says `DataLost`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a part of tests: a failed expectation is the result"
)]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::apply;

/// What is wrong with an image, as a registry would say it; `UnexpectedAdmissionError`: its node does not let the pod in; [`UNHEALTHY`]: it runs, and a
/// probe of it fails in these words.
pub type Trouble = (&'static str, &'static str);

/// Reason of the event in which a kubelet tells of a probe that failed.
pub const UNHEALTHY: &str = "Unhealthy";

/// A running kubelet for one namespace.
pub struct Kubelet {
    task: JoinHandle<()>,
    /// Images that cannot be run, with the waiting reason and the words.
    pub troubles: Arc<Mutex<HashMap<String, Trouble>>>,
    /// Claims that nobody binds.
    pub unbound: Arc<Mutex<HashSet<String>>>,
    /// What is on each volume: uid of the claim to the identifier of the database.
    pub volumes: Arc<Mutex<HashMap<String, String>>>,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    /// Runs every pod of the namespace.
    #[must_use]
    pub fn run(client: Client, namespace: &str) -> Self {
        let troubles: Arc<Mutex<HashMap<String, Trouble>>> = Arc::default();
        let unbound: Arc<Mutex<HashSet<String>>> = Arc::default();
        let volumes: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let node = Node {
            client,
            namespace: namespace.to_owned(),
            troubles: Arc::clone(&troubles),
            unbound: Arc::clone(&unbound),
            volumes: Arc::clone(&volumes),
        };
        Self {
            task: tokio::spawn(async move { Box::pin(node.work()).await }),
            troubles,
            unbound,
            volumes,
        }
    }
}

struct Node {
    client: Client,
    namespace: String,
    troubles: Arc<Mutex<HashMap<String, Trouble>>>,
    unbound: Arc<Mutex<HashSet<String>>>,
    volumes: Arc<Mutex<HashMap<String, String>>>,
}

impl Node {
    async fn work(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let pod_events = watcher(pods.clone(), watcher::Config::default())
            .default_backoff()
            .applied_objects();
        let claim_events = watcher(claims.clone(), watcher::Config::default())
            .default_backoff()
            .applied_objects();
        let (mut pod_events, mut claim_events) = (Box::pin(pod_events), Box::pin(claim_events));
        let mut again = tokio::time::interval(std::time::Duration::from_millis(300));
        let (mut waiting_pods, mut waiting_claims) = (HashSet::new(), HashSet::new());
        loop {
            tokio::select! {
                Some(Ok(pod)) = pod_events.next() => {
                    let name = pod.name_any();
                    if self.tend(&pods, pod).await {
                        waiting_pods.remove(&name);
                    } else {
                        waiting_pods.insert(name);
                    }
                }
                Some(Ok(claim)) = claim_events.next() => {
                    let name = claim.name_any();
                    if !self.bind(&claims, claim).await {
                        waiting_claims.insert(name);
                    }
                }
                // What waits for something is looked at again, as the real one does.
                _ = again.tick() => {
                    for name in std::mem::take(&mut waiting_claims) {
                        if let Ok(Some(claim)) = claims.get_opt(&name).await
                            && !self.bind(&claims, claim).await
                        {
                            waiting_claims.insert(name);
                        }
                    }
                    for name in std::mem::take(&mut waiting_pods) {
                        if let Ok(Some(pod)) = pods.get_opt(&name).await
                            && !self.tend(&pods, pod).await
                        {
                            waiting_pods.insert(name);
                        }
                    }
                }
            }
        }
    }

    /// Says of the pod what is true, and whether it needs no further look.
    async fn tend(&self, pods: &Api<Pod>, pod: Pod) -> bool {
        let name = pod.name_any();
        if pod.metadata.deletion_timestamp.is_some() {
            // Of this very pod: another of its name may be there by now.
            let ended = DeleteParams::default()
                .grace_period(0)
                .preconditions(Preconditions {
                    uid: pod.uid(),
                    resource_version: None,
                });
            let _ = pods.delete(&name, &ended).await;
            return true;
        }
        let wanted = self.status_of(&pod).await;
        let is_ready = wanted.pointer("/containerStatuses/0/ready") == Some(&Value::Bool(true));
        let held = serde_json::to_value(pod.status.clone().unwrap_or_default()).unwrap();
        if wanted
            .as_object()
            .unwrap()
            .iter()
            .all(|(key, value)| held.get(key) == Some(value))
        {
            return is_ready;
        }
        let said = pods
            .patch_status(
                &name,
                &PatchParams::default(),
                &Patch::Merge(json!({"metadata": {"uid": pod.uid()}, "status": wanted})),
            )
            .await;
        is_ready && said.is_ok()
    }

    async fn status_of(&self, pod: &Pod) -> Value {
        let spec = pod.spec.as_ref().unwrap();
        let images: Vec<String> = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .filter_map(|container| container.image.clone())
            .collect();
        let trouble = {
            let troubles = self.troubles.lock().unwrap();
            images.iter().find_map(|image| troubles.get(image).copied())
        };
        let ready = match trouble {
            Some((reason @ "UnexpectedAdmissionError", message)) => {
                return json!({"phase": "Failed", "reason": reason, "message": message});
            }
            Some((UNHEALTHY, words)) => {
                self.warn(pod, words).await;
                false
            }
            Some((reason, message)) => return waiting(pod, reason, message),
            None => true,
        };
        match self.volume(pod).await {
            Volume::Missing => json!({"phase": "Pending"}),
            Volume::Unbound => unschedulable(UNBOUND),
            Volume::None => running(pod, None, ready),
            Volume::Holds(identifier) => {
                let said = json!({"systemIdentifier": identifier}).to_string();
                running(pod, Some(&said), ready)
            }
            Volume::Lost(words) => lost(pod, &words),
        }
    }

    /// Tells of a probe that failed, in the one Warning event that a pod of this kubelet has.
    async fn warn(&self, pod: &Pod, words: &str) {
        let name = pod.name_any();
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{name}.{}", pod.uid().unwrap())},
            "type": "Warning", "reason": UNHEALTHY, "message": words, "lastTimestamp": THEN,
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": self.namespace, "uid": pod.uid()},
        });
        // What cannot be told is told at the next look.
        let _ = apply(&self.client, &self.namespace, &event).await;
    }

    /// What `mim-database initialise` would find.
    async fn volume(&self, pod: &Pod) -> Volume {
        let spec = pod.spec.as_ref().unwrap();
        let initialises = spec
            .init_containers
            .iter()
            .flatten()
            .any(|container| container.name == "initialise");
        if !initialises {
            return Volume::None;
        }
        let volumes = spec.volumes.as_deref().unwrap_or_default();
        let claim = volumes
            .iter()
            .find_map(|volume| volume.persistent_volume_claim.as_ref());
        let Some(claim) = claim else {
            return Volume::Holds("7000000000000000000".into());
        };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let Ok(claim) = claims.get(&claim.claim_name).await else {
            return Volume::Missing;
        };
        if self.unbound.lock().unwrap().contains(&claim.name_any()) {
            return Volume::Unbound;
        }
        let uid = claim.uid().unwrap();
        let held = self.volumes.lock().unwrap().get(&uid).cloned();
        let expected = self.expected(volumes).await;
        match (held, expected) {
            (Some(held), Some(expected)) if held != expected => {
                Volume::Lost(format!("DataLost: the volume holds {held}, not {expected}"))
            }
            (Some(held), _) => Volume::Holds(held),
            (None, Some(expected)) => {
                Volume::Lost(format!("DataLost: the volume is empty where {expected} was"))
            }
            (None, None) => {
                let identifier = format!("7{:018}", rand::random::<u32>());
                self.volumes.lock().unwrap().insert(uid, identifier.clone());
                Volume::Holds(identifier)
            }
        }
    }

    /// Makes the volume of a claim, which the controllers of Kubernetes then bind, or grows it; says whether it needs no further look.
    async fn bind(&self, claims: &Api<PersistentVolumeClaim>, claim: PersistentVolumeClaim) -> bool {
        let name = claim.name_any();
        if self.unbound.lock().unwrap().contains(&name) {
            return false;
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return true;
        }
        let spec = serde_json::to_value(&claim.spec).unwrap();
        let asked = spec.pointer("/resources/requests/storage").cloned();
        if spec["volumeName"].is_null() {
            let volume = json!({
                "metadata": {"name": format!("volume-{}", claim.uid().unwrap())},
                "spec": {
                    "capacity": {"storage": asked}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"},
                    "storageClassName": spec.get("storageClassName").and_then(Value::as_str).unwrap_or_default(),
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "namespace": self.namespace, "uid": claim.uid()},
                },
            });
            let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
            return volumes
                .create(&PostParams::default(), &serde_json::from_value(volume).unwrap())
                .await
                .is_ok();
        }
        let status = claim.status.unwrap_or_default();
        let held = status.capacity.unwrap_or_default();
        if status.phase.as_deref() != Some("Bound") || serde_json::to_value(held.get("storage")).ok() == asked
        {
            return true;
        }
        claims
            .patch_status(
                &name,
                &PatchParams::default(),
                &Patch::Merge(json!({"status": {"capacity": {"storage": asked}}})),
            )
            .await
            .is_ok()
    }

    async fn expected(&self, volumes: &[k8s_openapi::api::core::v1::Volume]) -> Option<String> {
        let name = volumes.iter().find_map(|volume| {
            volume
                .config_map
                .as_ref()
                .map(|map| map.name.clone())
                .filter(|name| name.ends_with("-identity"))
        })?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        maps.get_opt(&name)
            .await
            .ok()
            .flatten()?
            .data?
            .get("system-identifier")
            .cloned()
    }
}

enum Volume {
    None,
    Missing,
    Unbound,
    Holds(String),
    Lost(String),
}

fn containers(pod: &Pod, state: &Value, ready: bool) -> Vec<Value> {
    let spec = pod.spec.as_ref().unwrap();
    spec.containers
        .iter()
        .map(|container| {
            json!({"name": container.name, "image": container.image, "imageID": "", "ready": ready, "restartCount": 0,
                   "started": state.get("running").is_some(), "state": state})
        })
        .collect()
}

fn init_containers(pod: &Pod, state: &Value) -> Vec<Value> {
    let spec = pod.spec.as_ref().unwrap();
    spec.init_containers
        .iter()
        .flatten()
        .map(|container| {
            json!({"name": container.name, "image": container.image, "imageID": "", "ready": true, "restartCount": 0, "state": state})
        })
        .collect()
}

/// In the scheduler's words.
const UNBOUND: &str = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found";

fn unschedulable(message: &str) -> Value {
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message, "lastTransitionTime": THEN},
    ]})
}

const THEN: &str = "2026-01-01T00:00:00Z";

fn conditions(ready: &str) -> Value {
    json!([
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": THEN},
        {"type": "Initialized", "status": "True", "lastTransitionTime": THEN},
        {"type": "ContainersReady", "status": ready, "lastTransitionTime": THEN},
        {"type": "Ready", "status": ready, "lastTransitionTime": THEN},
    ])
}

fn running(pod: &Pod, initialised: Option<&str>, ready: bool) -> Value {
    let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed", "message": initialised, "startedAt": THEN, "finishedAt": THEN}});
    json!({
        "phase": "Running", "conditions": conditions(if ready { "True" } else { "False" }),
        "containerStatuses": containers(pod, &json!({"running": {"startedAt": THEN}}), ready),
        "initContainerStatuses": init_containers(pod, &ended),
    })
}

fn waiting(pod: &Pod, reason: &str, message: &str) -> Value {
    let state = json!({"waiting": {"reason": reason, "message": message}});
    json!({
        "phase": "Pending", "conditions": conditions("False"),
        "containerStatuses": containers(pod, &state, false),
        "initContainerStatuses": init_containers(pod, &state),
    })
}

fn lost(pod: &Pod, words: &str) -> Value {
    let waiting = json!({"waiting": {"reason": "PodInitializing"}});
    let init: Vec<Value> = init_containers(pod, &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}))
        .into_iter()
        .map(|mut status| {
            status["ready"] = false.into();
            status["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": words, "startedAt": THEN, "finishedAt": THEN}});
            status
        })
        .collect();
    json!({
        "phase": "Pending", "conditions": conditions("False"),
        "containerStatuses": containers(pod, &waiting, false), "initContainerStatuses": init,
    })
}
