//! Which objects want a pass: a set per kind, so that a thousand events of one object are one pass, and the bound is the
//! number of objects.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, stream};
use kube::runtime::reflector::{Lookup, ObjectRef};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::live::OwnerKey;

/// How long the news of a child waits for more: a controller that makes a pod writes its workload's status next, and kubelet the pod's. Far below the
/// two seconds in which an edit by hand is set back.
pub const SETTLE: Duration = Duration::from_millis(100);

/// The sets of all kinds.
#[derive(Debug, Default)]
pub struct Triggers {
    queues: HashMap<&'static str, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    notify: Notify,
}

/// Namespace and name.
type Key = (String, String);

/// Who waits, and from when on each may go.
#[derive(Debug, Default)]
struct Waiting {
    due: HashMap<Key, Instant>,
    order: BTreeSet<(Instant, Key)>,
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
        self.ask(owner, Duration::ZERO);
    }

    /// Asks for a pass after [`SETTLE`]. What else happens until then is part of it, and does not put it off.
    pub fn fire_settled(&self, owner: OwnerKey) {
        self.ask(owner, SETTLE);
    }

    fn ask(&self, owner: OwnerKey, delay: Duration) {
        if let Some(queue) = self.queues.get(owner.kind.as_str()) {
            let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.ask((owner.namespace, owner.name), Instant::now() + delay) {
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

impl Waiting {
    /// Whether that is news to the taker.
    fn ask(&mut self, key: Key, at: Instant) -> bool {
        match self.due.get_mut(&key) {
            Some(due) if *due <= at => return false,
            Some(due) => {
                self.order.remove(&(*due, key.clone()));
                *due = at;
            }
            None => {
                self.due.insert(key.clone(), at);
            }
        }
        self.order.insert((at, key))
    }

    /// The first whose time has come, or when that is.
    fn take(&mut self, now: Instant) -> Result<Key, Option<Instant>> {
        if let Some((at, _)) = self.order.first()
            && *at > now
        {
            return Err(Some(*at));
        }
        let (_, key) = self.order.pop_first().ok_or(None)?;
        self.due.remove(&key);
        Ok(key)
    }
}

impl Queue {
    async fn next(&self) -> Key {
        loop {
            match self.take() {
                Ok(key) => return key,
                Err(None) => self.notify.notified().await,
                Err(Some(at)) => tokio::select! {
                    () = self.notify.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    fn take(&self) -> Result<Key, Option<Instant>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.take(Instant::now())
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

    #[tokio::test(start_paused = true)]
    async fn news_of_a_child_waits_for_more_but_never_longer_and_a_new_spec_for_nothing() {
        let owner = |name: &str| OwnerKey {
            kind: "A".into(),
            namespace: "n".into(),
            name: name.into(),
        };
        let triggers = Triggers::new(&["A"]);
        let mut passes = Box::pin(triggers.stream::<ConfigMap>("A"));
        let began = Instant::now();
        triggers.fire_settled(owner("x"));
        triggers.fire_settled(owner("y"));
        tokio::time::sleep(SETTLE / 2).await;
        triggers.fire_settled(owner("x"));
        triggers.fire(owner("y"));
        let mut next = async || passes.next().await.unwrap().unwrap().name;
        assert_eq!((next().await.as_str(), began.elapsed()), ("y", SETTLE / 2));
        assert_eq!(next().await, "x");
        assert!(
            (SETTLE..SETTLE * 3 / 2).contains(&began.elapsed()),
            "{:?}",
            began.elapsed()
        );
        let more = tokio::time::timeout(SETTLE * 10, passes.next()).await;
        assert!(more.is_err(), "one pass each");
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
