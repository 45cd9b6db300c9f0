//! Which objects want a pass: a set per kind, so that a thousand events of one object are one pass, and the bound is the
//! number of objects.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, stream};
use kube::runtime::reflector::{Lookup, ObjectRef};
use tokio::sync::Notify;

use super::live::OwnerKey;

/// The sets of all kinds.
#[derive(Debug, Default)]
pub struct Triggers {
    queues: HashMap<&'static str, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<HashSet<(String, String)>>,
    notify: Notify,
}

impl Triggers {
    /// Sets for these kinds.
    #[must_use]
    pub fn new(kinds: &[&'static str]) -> Arc<Self> {
        Arc::new(Self {
            queues: kinds.iter().map(|kind| (*kind, Queue::default())).collect(),
        })
    }

    /// Asks for a pass; kinds that nobody reconciles are ignored.
    pub fn fire(&self, owner: OwnerKey) {
        if let Some(queue) = self.queues.get(owner.kind.as_str()) {
            let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.insert((owner.namespace, owner.name)) {
                queue.notify.notify_one();
            }
        }
    }

    /// The stream that a controller takes its passes from. There is one taker per kind.
    pub fn stream<K>(
        self: &Arc<Self>,
        kind: &'static str,
    ) -> impl Stream<Item = Result<ObjectRef<K>, Infallible>> + Send + use<K>
    where
        K: Lookup<DynamicType = ()> + Send + 'static,
    {
        stream::unfold(Arc::clone(self), move |triggers| async move {
            let (namespace, name) = triggers.queues.get(kind)?.next().await;
            Some((Ok(ObjectRef::new(&name).within(&namespace)), triggers))
        })
    }
}

impl Queue {
    async fn next(&self) -> (String, String) {
        loop {
            if let Some(key) = self.pop() {
                return key;
            }
            self.notify.notified().await;
        }
    }

    fn pop(&self) -> Option<(String, String)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = waiting.iter().next().cloned()?;
        waiting.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[tokio::test]
    async fn many_events_of_one_object_are_one_pass_and_none_is_lost() {
        let triggers = Triggers::new(&["A"]);
        for name in ["x", "x", "y"] {
            triggers.fire(OwnerKey {
                kind: "A".into(),
                namespace: "n".into(),
                name: name.into(),
            });
        }
        triggers.fire(OwnerKey {
            kind: "nobody".into(),
            namespace: "n".into(),
            name: "z".into(),
        });
        let mut names: Vec<String> = triggers
            .stream::<ConfigMap>("A")
            .take(2)
            .map(|key| key.unwrap().name)
            .collect()
            .await;
        names.sort();
        assert_eq!(names, ["x", "y"]);
    }

    #[tokio::test]
    async fn an_event_wakes_a_waiting_taker() {
        let triggers = Triggers::new(&["A"]);
        let taker = tokio::spawn({
            let triggers = Arc::clone(&triggers);
            async move { Box::pin(triggers.stream::<ConfigMap>("A")).next().await }
        });
        tokio::task::yield_now().await;
        triggers.fire(OwnerKey {
            kind: "A".into(),
            namespace: "n".into(),
            name: "x".into(),
        });
        assert_eq!(taker.await.unwrap().unwrap().unwrap().name, "x");
    }
}
