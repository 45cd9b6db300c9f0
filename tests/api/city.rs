//! A namespace with a kubelet and an operator that has the chart's rights and no others.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use mim_crds::{ContextBroker, UrbanDataPlatform};
use mim_operator::operator::{Handle, Options};
use mim_operator::reconcile::request::{Entry, Journal, Observer};
use mim_tests::cluster::{self, Cluster, api_of, apply};
use mim_tests::eventually::eventually;
use mim_tests::fake_broker::Doors;
use mim_tests::kubelet::Kubelet;
use mim_tests::operator::{self, Running};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::meddler::Meddler;
use crate::rights;

/// A namespace with an operator and a kubelet.
pub struct City {
    /// An administrator's client.
    pub client: Client,
    /// Of the operator: the identity of the chart's service account.
    pub config: kube::Config,
    pub namespace: String,
    pub kubelet: Kubelet,
    /// Where names of brokers lead, for operators that start from now on.
    pub doors: Doors,
    operator: Option<Running>,
}

impl City {
    /// With an operator that writes down what it does.
    pub async fn new(purpose: &str) -> Self {
        let mut city = Self::without_operator(purpose).await;
        city.start(Journal::new());
        city
    }

    /// In the cluster of all tests.
    pub async fn without_operator(purpose: &str) -> Self {
        Self::of(cluster::cluster().await, purpose).await
    }

    /// In a cluster of one's own.
    pub async fn of(cluster: &Cluster, purpose: &str) -> Self {
        let city = Self::without_rights(cluster, purpose).await;
        rights::grant(&city.config, &city.client, &city.namespace).await;
        city
    }

    /// A namespace that has not let the operator in.
    pub async fn without_rights(cluster: &Cluster, purpose: &str) -> Self {
        crate::logs::capture();
        let (client, namespace) = (cluster.admin().await, cluster.namespace(purpose).await);
        let config = rights::config(cluster).await;
        let kubelet = Kubelet::run(client.clone(), &namespace);
        Self {
            client,
            config,
            namespace,
            kubelet,
            doors: Doors::default(),
            operator: None,
        }
    }

    /// Options of an operator for this namespace.
    pub fn options(&self) -> Options {
        let mut options = operator::options(&self.namespace);
        if !self.doors.is_empty() {
            options.outgoing = Some(self.doors.client());
        }
        options
    }

    /// Starts the operator.
    pub fn start(&mut self, journal: Journal) {
        self.start_with(self.options(), journal);
    }

    /// Starts one with these options.
    pub fn start_with(&mut self, options: Options, journal: Journal) {
        assert!(self.operator.is_none(), "one operator at a time");
        self.operator = Some(operator::start(options, self.config.clone(), journal));
    }

    /// Starts one whose requests a test interferes with.
    pub fn start_meddled(&mut self, meddler: &Arc<Meddler>) {
        assert!(self.operator.is_none(), "one operator at a time");
        let observer: Arc<dyn Observer> = Arc::clone(meddler) as _;
        let journal = Arc::clone(&meddler.journal);
        let config = self.config.clone();
        self.operator = Some(operator::start_observed(
            self.options(),
            config,
            journal,
            observer,
        ));
    }

    /// Ends the operator as SIGTERM does.
    pub async fn stop(&mut self) -> Arc<Journal> {
        let operator = self.operator.take().expect("an operator runs");
        let journal = Arc::clone(&operator.journal);
        operator.stop().await.expect("the operator ends as it is told");
        journal
    }

    /// Ends the operator as SIGKILL does.
    pub fn kill(&mut self) -> Arc<Journal> {
        let operator = self.operator.take().expect("an operator runs");
        let journal = Arc::clone(&operator.journal);
        operator.kill();
        journal
    }

    /// A new process in place of the old one; gives the journal of the old one.
    pub async fn restart(&mut self) -> Arc<Journal> {
        let before = self.stop().await;
        self.start(Journal::new());
        before
    }

    pub fn operator(&self) -> &Running {
        self.operator.as_ref().expect("an operator runs")
    }

    /// The changes so far, of the operator that runs.
    pub fn changes(&self) -> Vec<Entry> {
        self.operator().journal.changes()
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn brokers(&self) -> Api<ContextBroker> {
        self.api()
    }

    pub fn platforms(&self) -> Api<UrbanDataPlatform> {
        self.api()
    }

    pub fn claims(&self) -> Api<PersistentVolumeClaim> {
        self.api()
    }

    pub fn secrets(&self) -> Api<Secret> {
        self.api()
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub fn deployments(&self) -> Api<Deployment> {
        self.api()
    }

    pub fn stateful_sets(&self) -> Api<StatefulSet> {
        self.api()
    }

    pub fn config_maps(&self) -> Api<ConfigMap> {
        self.api()
    }

    /// As `kubectl apply --server-side`.
    pub async fn apply(&self, object: &Value) -> DynamicObject {
        apply(&self.client, &self.namespace, object)
            .await
            .expect("the API server takes the manifest")
    }

    /// As `kubectl patch --type=merge`.
    pub async fn patch(&self, kind: &Value, name: &str, patch: &Value) -> DynamicObject {
        api_of(&self.client, &self.namespace, kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("the API server takes the patch")
    }

    /// As `kubectl annotate` of a ContextBroker.
    pub async fn annotate_broker(&self, name: &str, key: &str, value: &str) {
        self.brokers()
            .patch(
                name,
                &PatchParams::default(),
                &Patch::Merge(json!({"metadata": {"annotations": {key: value}}})),
            )
            .await
            .expect("an annotation");
    }

    pub async fn broker_says(&self, name: &str, status: &str, reason: &str) -> ContextBroker {
        eventually(
            &format!("ContextBroker {name} says {status}/{reason}"),
            || async {
                let broker = self
                    .brokers()
                    .get(name)
                    .await
                    .map_err(|error| error.to_string())?;
                says(
                    broker.metadata.generation,
                    broker.status.clone().unwrap_or_default(),
                    status,
                    reason,
                )
                .map(|()| broker)
            },
        )
        .await
    }

    pub async fn platform_says(&self, name: &str, status: &str, reason: &str) -> UrbanDataPlatform {
        eventually(
            &format!("UrbanDataPlatform {name} says {status}/{reason}"),
            || async {
                let platform = self
                    .platforms()
                    .get(name)
                    .await
                    .map_err(|error| error.to_string())?;
                says(
                    platform.metadata.generation,
                    platform.status.clone().unwrap_or_default(),
                    status,
                    reason,
                )
                .map(|()| platform)
            },
        )
        .await
    }

    /// The condition Ready of a ContextBroker that must say this, in words that hold `words`.
    pub async fn broker_complains(&self, name: &str, reason: &str, stalled: bool, words: &[&str]) -> String {
        let what = format!("ContextBroker {name} complains {reason} with {words:?}");
        eventually(&what, || async {
            let broker = self
                .brokers()
                .get(name)
                .await
                .map_err(|error| error.to_string())?;
            let held = broker.status.clone().unwrap_or_default();
            says(broker.metadata.generation, held.clone(), "False", reason)?;
            let ready = held.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
            let is_stalled = held
                .conditions
                .iter()
                .any(|c| c.type_ == "Stalled" && c.status == "True");
            if is_stalled == stalled && words.iter().all(|word| ready.message.contains(word)) {
                Ok(ready.message.clone())
            } else {
                Err(format!("{:?}", held.conditions))
            }
        })
        .await
    }

    /// The children of an object, Secrets included, as the API server has them.
    pub async fn children(&self, kind: &str, name: &str) -> Vec<DynamicObject> {
        let params = ListParams::default().labels(&format!("mim.city/kind={kind},mim.city/name={name}"));
        let mut found = Vec::new();
        for (api_version, kind) in CHILD_KINDS {
            let api = api_of(
                &self.client,
                &self.namespace,
                &json!({"apiVersion": api_version, "kind": kind}),
            );
            let listed = api.list(&params).await.expect("a list of children").items;
            // Pods that a controller of Kubernetes made are its children, not ours.
            found.extend(
                listed
                    .into_iter()
                    .filter(|object| *kind != "Pod" || object.annotations().contains_key("mim.city/applied")),
            );
        }
        found
    }

    /// Waits until no pass has been made and nothing changed for a while, and gives the number of passes.
    pub async fn quiet(&self) -> u64 {
        let handle = &self.operator().handle;
        let mut before = (0, usize::MAX);
        eventually("the operator comes to rest", || {
            let now = (passes(handle), self.changes().len());
            let rests = now == before;
            before = now;
            let newest: Vec<_> = self.changes().iter().rev().take(4).map(told).collect();
            async move {
                tokio::time::sleep(Duration::from_millis(700)).await;
                if rests && now.0 > 0 {
                    Ok(now.0)
                } else {
                    Err((now, newest))
                }
            }
        })
        .await
    }

    /// Waits until vienna's database runs this image.
    pub async fn database_runs(&self, image: &str) {
        eventually(&format!("the database runs {image}"), || async {
            let pod = self
                .pods()
                .get("vienna-database-0")
                .await
                .map_err(|error| error.to_string())?;
            let runs = pod.spec.and_then(|spec| spec.containers[0].image.clone());
            if runs.as_deref() == Some(image) {
                Ok(())
            } else {
                Err(format!("{runs:?}"))
            }
        })
        .await;
    }

    /// What events say about an object, as `reason: note`.
    pub async fn events(&self, kind: &str, name: &str) -> Vec<String> {
        let events: Api<Event> = self.api();
        let listed = events.list(&ListParams::default()).await.expect("events");
        listed
            .items
            .into_iter()
            .filter(|event| {
                event
                    .regarding
                    .as_ref()
                    .is_some_and(|of| of.kind.as_deref() == Some(kind) && of.name.as_deref() == Some(name))
            })
            .map(|event| {
                format!(
                    "{}: {}",
                    event.reason.unwrap_or_default(),
                    event.note.unwrap_or_default()
                )
            })
            .collect()
    }

    /// Waits for an event about an object that holds all words.
    pub async fn event_says(&self, kind: &str, name: &str, words: &[&str]) {
        eventually(&format!("an event of {kind} {name} with {words:?}"), || async {
            let events = self.events(kind, name).await;
            if events
                .iter()
                .any(|event| words.iter().all(|word| event.contains(word)))
            {
                Ok(())
            } else {
                Err(events)
            }
        })
        .await;
    }
}

/// All kinds of children.
pub const CHILD_KINDS: &[(&str, &str)] = &[
    ("v1", "ServiceAccount"),
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("v1", "Service"),
    ("policy/v1", "PodDisruptionBudget"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "Deployment"),
    ("v1", "Pod"),
    ("mim.city/v1alpha1", "ContextBroker"),
];

/// Our kinds that are no children.
pub const TOP_KINDS: &[(&str, &str)] = &[
    ("mim.city/v1alpha1", "UrbanDataPlatform"),
    ("mim.city/v1alpha1", "ContextSubscription"),
];

/// A kind that is forgotten here would be cut nowhere, and its status would be searched for no Secret.
#[test]
fn each_kind_that_there_is_is_looked_at_by_the_tests_of_crashes_and_of_secrets() {
    for definition in mim_crds::all() {
        let kind = definition.spec.names.kind;
        let mut looked_at = CHILD_KINDS.iter().chain(TOP_KINDS);
        assert!(looked_at.any(|(_, known)| *known == kind), "{kind}");
    }
}

/// Whether the condition Ready speaks of the newest generation and says this.
pub fn says(
    generation: Option<i64>,
    held: impl serde::Serialize,
    status: &str,
    reason: &str,
) -> Result<(), String> {
    let held = serde_json::to_value(held).unwrap();
    let current = held["observedGeneration"].as_i64() == generation;
    let ready = held["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Ready");
    match ready {
        Some(ready) if current && ready["status"] == status && ready["reason"] == reason => Ok(()),
        _ => Err(format!(
            "generation {generation:?}, observed {}, {}",
            held["observedGeneration"], held["conditions"]
        )),
    }
}

/// A ContextBroker.
pub fn broker(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker", "metadata": {"name": name}, "spec": spec})
}

/// An UrbanDataPlatform.
pub fn platform(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "mim.city/v1alpha1", "kind": "UrbanDataPlatform", "metadata": {"name": name}, "spec": spec})
}

/// A pod of somebody else, as PodSecurity `restricted` takes it.
pub fn stranger_pod(name: &str) -> Value {
    let container = json!({"name": "a", "image": "a", "securityContext": {
        "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}})
}

/// A request, for the message of a failed test. Never of a Secret.
pub fn told(entry: &Entry) -> String {
    let body = entry
        .record
        .body
        .as_deref()
        .filter(|_| entry.record.resource != "secrets");
    let body = body.map(String::from_utf8_lossy).unwrap_or_default();
    let status = entry.status.map(|status| status.as_u16());
    format!("{} {status:?} {body}", entry.record)
}

/// Passes that an operator has made.
pub fn passes(handle: &Handle) -> u64 {
    let text = handle.metrics.render().expect("metrics");
    text.lines()
        .filter(|line| line.starts_with("mim_passes_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Image of an operand, of a release whose images are named by this letter.
pub fn image(operand: &str, letter: char) -> String {
    format!("registry.test/mim/{operand}@{}", operator::digest(letter))
}
