//! The objects: made by a user of sixteen hands, and followed as the API server shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use mim_crds::ContextBroker;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::rig::NAMESPACE;
use crate::bare::Bare;
use crate::error::Error;

/// Objects that are created at the same time.
const HANDS: usize = 16;

/// An object that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// When each object was made: the moment before its request was sent.
pub type Begun = BTreeMap<String, Instant>;

/// Makes ContextBrokers with an empty spec, and tells each as soon as it is there.
pub async fn create(
    bare: &Bare,
    names: &[String],
    made: Option<mpsc::UnboundedSender<Made>>,
) -> Result<Begun, Error> {
    let collection = format!("/apis/mim.city/v1alpha1/namespaces/{NAMESPACE}/contextbrokers");
    stream::iter(names)
        .map(|name| {
            let (collection, made) = (&collection, made.clone());
            async move {
                let object = json!({
                    "apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker",
                    "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {},
                });
                let begun = Instant::now();
                let uid = bare.create(collection, &object).await?;
                if let Some(made) = made {
                    // Whoever takes them has ended with an error of its own.
                    let _ = made.send(Made {
                        name: name.clone(),
                        uid,
                    });
                }
                Ok((name.clone(), begun))
            }
        })
        .buffer_unordered(HANDS)
        .try_collect()
        .await
}

/// Names of equal length, so that a recorded body is as long under each.
#[must_use]
pub fn names(prefix: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{prefix}-{number:05}")).collect()
}

/// Follows the objects of the namespace until it is dropped.
pub struct Follower {
    task: JoinHandle<()>,
    ready: watch::Receiver<BTreeMap<String, Instant>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Starts to follow.
    #[must_use]
    pub fn start(client: Client) -> Self {
        let (sender, ready) = watch::channel(BTreeMap::new());
        let task = tokio::spawn(async move {
            let api: Api<ContextBroker> = Api::namespaced(client, NAMESPACE);
            let mut objects = watcher(api, watcher::Config::default())
                .default_backoff()
                .applied_objects()
                .boxed();
            while let Some(object) = objects.next().await {
                if let Ok(object) = object
                    && is_ready(&object)
                {
                    let (name, now) = (object.name_any(), Instant::now());
                    sender.send_if_modified(|ready: &mut BTreeMap<String, Instant>| {
                        let before = ready.len();
                        ready.entry(name).or_insert(now);
                        ready.len() != before
                    });
                }
            }
        });
        Self { task, ready }
    }

    /// Waits until all of them are Ready, and says since when each is.
    pub async fn ready(&self, names: &[String], limit: Duration) -> Result<BTreeMap<String, Instant>, Error> {
        let wanted: BTreeSet<&String> = names.iter().collect();
        let mut receiver = self.ready.clone();
        let all = receiver.wait_for(|ready| {
            ready.len() >= wanted.len() && wanted.iter().all(|name| ready.contains_key(*name))
        });
        match tokio::time::timeout(limit, all).await {
            Ok(Ok(ready)) => Ok(ready.clone()),
            Ok(Err(_)) => Err(Error::Unexpected(
                "the watch of ContextBrokers has ended".to_owned(),
            )),
            Err(_) => Err(Error::Timeout {
                what: format!("Ready of {} ContextBrokers", names.len()),
                seconds: limit.as_secs(),
                last: format!("{} are Ready", self.ready.borrow().len()),
            }),
        }
    }
}

/// Ready of the generation that the object has.
fn is_ready(object: &ContextBroker) -> bool {
    object.status.as_ref().is_some_and(|status| {
        status.conditions.iter().any(|condition| {
            condition.type_ == "Ready"
                && condition.status == "True"
                && condition.observed_generation == object.metadata.generation
        })
    })
}
