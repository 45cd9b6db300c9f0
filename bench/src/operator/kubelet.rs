//! What kubelet and the controllers would do, as quickly as the API server takes it: volumes bind at once, pods run at once.
//!
//! For every StatefulSet it makes the database's pod and writes its status, with the message of the init container, and that of the
//! StatefulSet; for every Deployment its pods and their status, and that of the Deployment; for every claim its status. ReplicaSets,
//! EndpointSlices and events are not made: nobody here reads them. It is the same in every run and costs both sides the same.

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::rig::NAMESPACE;
use crate::bare::Bare;
use crate::error::Error;

/// Children that are worked on at the same time.
const HANDS: usize = 16;
/// Requests per ContextBroker: the claim's status; pod, pod status and set status; two pods with status and the deployment's status.
pub const REQUESTS: usize = 9;
/// Children that it works on, per ContextBroker.
const CHILDREN: usize = 3;
const THEN: &str = "2026-01-01T00:00:00Z";

/// A running kubelet for the namespace, until it is dropped.
pub struct Kubelet {
    task: JoinHandle<()>,
    done: watch::Receiver<Done>,
}

#[derive(Default)]
struct Done {
    children: usize,
    trouble: Option<String>,
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    /// Starts it.
    #[must_use]
    pub fn start(client: Client, bare: Bare) -> Self {
        let (sender, done) = watch::channel(Done::default());
        let task = tokio::spawn(async move {
            children(client)
                .for_each_concurrent(HANDS, |child| async {
                    let ended = tend(&bare, child).await;
                    sender.send_modify(|done| match ended {
                        Ok(()) => done.children += 1,
                        Err(trouble) => {
                            done.trouble.get_or_insert(trouble.to_string());
                        }
                    });
                })
                .await;
        });
        Self { task, done }
    }

    /// Waits until the children of so many brokers have their status.
    pub async fn settled(&self, brokers: usize, limit: Duration) -> Result<(), Error> {
        let wanted = brokers * CHILDREN;
        let mut receiver = self.done.clone();
        let all = receiver.wait_for(|done| done.children >= wanted || done.trouble.is_some());
        match tokio::time::timeout(limit, all).await {
            Ok(Ok(done)) => match &done.trouble {
                None => Ok(()),
                Some(trouble) => Err(Error::Unexpected(format!("the simulated kubelet: {trouble}"))),
            },
            Ok(Err(_)) => Err(Error::Unexpected("the simulated kubelet has ended".to_owned())),
            Err(_) => Err(Error::Timeout {
                what: format!("a status of the {wanted} children that have one"),
                seconds: limit.as_secs(),
                last: format!("{} have one", self.done.borrow().children),
            }),
        }
    }
}

/// A child whose status is to be written.
enum Child {
    Claim(Box<PersistentVolumeClaim>),
    Database(DynamicObject),
    Broker(DynamicObject),
}

fn children(client: Client) -> impl Stream<Item = Child> + Send {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), NAMESPACE);
    let claims = watcher(claims, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .filter_map(async |claim| {
            let claim = claim.ok()?;
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
            (phase != Some("Bound")).then(|| Child::Claim(Box::new(claim)))
        });
    let databases = workloads(client.clone(), "StatefulSet").map(Child::Database);
    let brokers = workloads(client, "Deployment").map(Child::Broker);
    stream::select(claims.boxed(), stream::select(databases.boxed(), brokers.boxed()))
}

/// Workloads whose status does not speak of their newest spec.
fn workloads(client: Client, kind: &str) -> impl Stream<Item = DynamicObject> + Send + use<> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &resource);
    watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .filter_map(async |object| {
            let object = object.ok()?;
            let observed = object
                .data
                .pointer("/status/observedGeneration")
                .and_then(Value::as_i64);
            (observed != object.metadata.generation).then_some(object)
        })
}

async fn tend(bare: &Bare, child: Child) -> Result<(), Error> {
    match child {
        Child::Claim(claim) => {
            let requests = claim
                .spec
                .as_ref()
                .and_then(|spec| spec.resources.as_ref()?.requests.clone());
            let status = json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": requests});
            let path = format!(
                "/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{}",
                claim.name_any()
            );
            bare.merge_status(&path, &status).await
        }
        Child::Database(set) => database(bare, &set).await,
        Child::Broker(deployment) => broker(bare, &deployment).await,
    }
}

async fn database(bare: &Bare, set: &DynamicObject) -> Result<(), Error> {
    let name = set.name_any();
    let revision = format!("{name}-1");
    let labels = json!({
        "controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": format!("{name}-0"),
        "apps.kubernetes.io/pod-index": "0",
    });
    let identifier = json!({"systemIdentifier": "7412345678901234567"}).to_string();
    run_pod(
        bare,
        set,
        "StatefulSet",
        &format!("{name}-0"),
        &labels,
        Some(&identifier),
    )
    .await?;
    let status = json!({
        "observedGeneration": first_generation(set)?, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "currentReplicas": 1, "updatedReplicas": 1, "currentRevision": revision, "updateRevision": revision, "collisionCount": 0,
    });
    bare.merge_status(&workload_path("statefulsets", &name), &status)
        .await
}

async fn broker(bare: &Bare, deployment: &DynamicObject) -> Result<(), Error> {
    let name = deployment.name_any();
    let replicas = deployment
        .data
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    for number in 0..replicas {
        let labels = json!({"pod-template-hash": "7d9f8c6b54"});
        let pod = format!("{name}-7d9f8c6b54-{number:05}");
        run_pod(bare, deployment, "Deployment", &pod, &labels, None).await?;
    }
    let condition = |kind: &str, reason: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": "as wanted",
               "lastTransitionTime": THEN, "lastUpdateTime": THEN})
    };
    let status = json!({
        "observedGeneration": first_generation(deployment)?, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [condition("Available", "MinimumReplicasAvailable"), condition("Progressing", "NewReplicaSetAvailable")],
    });
    bare.merge_status(&workload_path("deployments", &name), &status)
        .await
}

fn workload_path(plural: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/{plural}/{name}")
}

/// No spec changes in this benchmark, and a second template would want other pods than these.
fn first_generation(workload: &DynamicObject) -> Result<i64, Error> {
    match workload.metadata.generation {
        Some(1) => Ok(1),
        other => Err(Error::Unexpected(format!(
            "{} has generation {other:?}: the simulated kubelet knows no rollout",
            workload.name_any()
        ))),
    }
}

/// Makes a pod from the workload's template, and says that it runs.
async fn run_pod(
    bare: &Bare,
    workload: &DynamicObject,
    kind: &str,
    name: &str,
    labels: &Value,
    initialised: Option<&str>,
) -> Result<(), Error> {
    let template = workload
        .data
        .pointer("/spec/template")
        .cloned()
        .unwrap_or_default();
    let part = |pointer: &str| template.pointer(pointer).cloned().unwrap_or_default();
    let mut all_labels = part("/metadata/labels");
    if let (Some(all), Some(more)) = (all_labels.as_object_mut(), labels.as_object()) {
        all.extend(more.clone());
    }
    let spec = part("/spec");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "labels": all_labels, "annotations": part("/metadata/annotations"),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": kind, "name": workload.name_any(), "uid": workload.uid(),
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    });
    let collection = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    bare.create(&collection, &pod).await?;
    bare.merge_status(&format!("{collection}/{name}"), &running(&spec, initialised))
        .await
}

/// The status of a pod that runs, with the message of its init containers.
fn running(spec: &Value, initialised: Option<&str>) -> Value {
    let ended = json!({"terminated": {
        "exitCode": 0, "reason": "Completed", "message": initialised, "startedAt": THEN, "finishedAt": THEN,
        "containerID": container_id("init"),
    }});
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": THEN, "observedGeneration": 1});
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    .map(condition);
    let mut status = json!({
        "phase": "Running", "observedGeneration": 1, "qosClass": "Burstable", "startTime": THEN,
        "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}], "podIP": "10.244.0.10", "podIPs": [{"ip": "10.244.0.10"}],
        "conditions": conditions,
        "containerStatuses": containers(spec, "containers", &json!({"running": {"startedAt": THEN}}), true),
    });
    let inits = containers(spec, "initContainers", &ended, false);
    if let Some(status) = status.as_object_mut().filter(|_| !inits.is_empty()) {
        status.insert("initContainerStatuses".to_owned(), inits.into());
    }
    status
}

fn containers(spec: &Value, which: &str, state: &Value, started: bool) -> Vec<Value> {
    let listed = spec.get(which).and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .map(|container| {
            let of = |key: &str| container.get(key).cloned().unwrap_or_default();
            Value::Object(Map::from_iter([
                ("name".to_owned(), of("name")),
                ("image".to_owned(), of("image")),
                ("imageID".to_owned(), of("image")),
                ("containerID".to_owned(), container_id("main").into()),
                ("ready".to_owned(), true.into()),
                ("started".to_owned(), started.into()),
                ("restartCount".to_owned(), 0.into()),
                ("state".to_owned(), state.clone()),
                ("lastState".to_owned(), json!({})),
            ]))
        })
        .collect()
}

fn container_id(of: &str) -> String {
    format!("containerd://{of:0>64}")
}
