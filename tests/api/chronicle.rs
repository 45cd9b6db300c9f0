//! Everything that happens to objects, in the order of etcd.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use mim_tests::eventually::eventually;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// One state of one object.
#[derive(Clone, Debug)]
pub struct Fact {
    /// `metadata.resourceVersion`: one sequence for all objects of a cluster, as all are kept in one etcd.
    pub version: u64,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// It was deleted; `object` is its last state.
    pub gone: bool,
    pub object: Value,
}

/// Watches kinds from its start on.
pub struct Chronicle {
    client: Client,
    namespace: Option<String>,
    kinds: Vec<(String, String)>,
    facts: Arc<Mutex<Vec<Fact>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Chronicle {
    /// Of one namespace, or of all.
    pub async fn begin(client: &Client, namespace: Option<&str>, kinds: &[(&str, &str)]) -> Self {
        Self::keeping(client, namespace, kinds, |object| {
            serde_json::to_value(object).unwrap()
        })
        .await
    }

    /// The same with nothing of the objects themselves but who owns them.
    pub async fn slim(client: &Client, namespace: Option<&str>, kinds: &[(&str, &str)]) -> Self {
        Self::keeping(
            client,
            namespace,
            kinds,
            |object| json!({"metadata": {"ownerReferences": object.metadata.owner_references}}),
        )
        .await
    }

    async fn keeping(
        client: &Client,
        namespace: Option<&str>,
        kinds: &[(&str, &str)],
        keep: fn(&DynamicObject) -> Value,
    ) -> Self {
        let facts: Arc<Mutex<Vec<Fact>>> = Arc::default();
        let tasks = kinds
            .iter()
            .map(|(api_version, kind)| {
                let api = api(client, namespace, api_version, kind);
                tokio::spawn(follow(api, (*kind).to_owned(), keep, Arc::clone(&facts)))
            })
            .collect();
        let chronicle = Self {
            client: client.clone(),
            namespace: namespace.map(str::to_owned),
            kinds: kinds
                .iter()
                .map(|(version, kind)| ((*version).to_owned(), (*kind).to_owned()))
                .collect(),
            facts,
            tasks,
        };
        chronicle.caught_up().await;
        chronicle
    }

    /// Waits until everything that is there now is written down, and gives all facts in order.
    pub async fn read(&self) -> Vec<Fact> {
        self.caught_up().await;
        let mut facts = self.facts.lock().unwrap().clone();
        facts.sort_by_key(|fact| fact.version);
        facts
    }

    /// Watches of different kinds do not wait for each other: each has to show what a list shows, and nothing that it does not.
    async fn caught_up(&self) {
        for (api_version, kind) in &self.kinds {
            let api = api(&self.client, self.namespace.as_deref(), api_version, kind);
            eventually(&format!("the chronicle has every {kind}"), || async {
                let list = api
                    .list(&ListParams::default())
                    .await
                    .map_err(|error| error.to_string())?;
                let listed_at = list
                    .metadata
                    .resource_version
                    .as_deref()
                    .and_then(|at| at.parse().ok());
                let listed: HashMap<String, u64> = list
                    .items
                    .iter()
                    .map(|object| (object.uid().unwrap(), version(object)))
                    .collect();
                self.lacks(kind, &listed, listed_at.unwrap_or(u64::MAX))
            })
            .await;
        }
    }

    /// What a list shows and the chronicle does not, or what is gone from the list and not from the chronicle.
    fn lacks(&self, kind: &str, listed: &HashMap<String, u64>, listed_at: u64) -> Result<(), String> {
        let mut newest: HashMap<String, (u64, bool)> = HashMap::new();
        for fact in self.facts.lock().unwrap().iter().filter(|fact| fact.kind == kind) {
            newest.insert(fact.uid.clone(), (fact.version, fact.gone));
        }
        let late = listed
            .iter()
            .filter(|(uid, version)| newest.get(*uid).is_none_or(|(known, _)| known < *version))
            .count();
        let ghosts = newest
            .iter()
            .filter(|(uid, (version, gone))| !gone && *version <= listed_at && !listed.contains_key(*uid))
            .count();
        if (late, ghosts) == (0, 0) {
            Ok(())
        } else {
            Err(format!(
                "{late} of {} not known, {ghosts} not known to be gone",
                listed.len()
            ))
        }
    }
}

fn api(client: &Client, namespace: Option<&str>, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn version(object: &DynamicObject) -> u64 {
    object
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

async fn follow(
    api: Api<DynamicObject>,
    kind: String,
    keep: fn(&DynamicObject) -> Value,
    facts: Arc<Mutex<Vec<Fact>>>,
) {
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        let (object, gone) = match event {
            Ok(Event::InitApply(object) | Event::Apply(object)) => (object, false),
            Ok(Event::Delete(object)) => (object, true),
            Ok(Event::Init | Event::InitDone) => continue,
            Err(_) => {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
        };
        facts.lock().unwrap().push(Fact {
            version: version(&object),
            kind: kind.clone(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            gone,
            object: keep(&object),
        });
    }
}

/// The newest state of an object that is there at a version.
pub fn at<'a>(facts: &'a [Fact], version: u64, kind: &str, name: &str) -> Option<&'a Fact> {
    facts
        .iter()
        .rfind(|fact| fact.version <= version && fact.kind == kind && fact.name == name)
        .filter(|fact| !fact.gone)
}
