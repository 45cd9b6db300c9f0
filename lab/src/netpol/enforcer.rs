//! Follows the cluster and keeps the table as it must be.

use std::{pin::pin, time::Duration};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher,
    },
};
use tokio::time::{Instant, sleep_until};

use super::{Endpoint, Error, Event, Options, Ruleset, Snapshot, render, translate};

/// A stream of what changed, and whether the first listing is whole.
type Change = Result<Progress, watcher::Error>;

enum Progress {
    Listed,
    Changed,
    Listing,
}

fn watched<K>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
) -> (Store<K>, impl Stream<Item = Change> + Send + 'static)
where
    K: Resource<DynamicType = ()> + ResourceExt + Clone + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let changes = events
        .modify(|object| object.managed_fields_mut().clear())
        .default_backoff()
        .reflect(writer)
        .map(|event| {
            event.map(|event| match event {
                watcher::Event::InitDone => Progress::Listed,
                watcher::Event::Apply(_) | watcher::Event::Delete(_) => Progress::Changed,
                watcher::Event::Init | watcher::Event::InitApply(_) => Progress::Listing,
            })
        });
    (store, changes)
}

/// One run: what the watches have shown so far.
pub struct Enforcer {
    policies: Store<NetworkPolicy>,
    pods: Store<Pod>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
    options: Options,
}

/// Between two tries after a failure.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(30);

impl Enforcer {
    /// Watches and writes until an error that no waiting heals.
    pub async fn enforce(client: Client, options: Options) -> Result<(), Error> {
        let everything = watcher::Config::default;
        let (policies, policy_changes) =
            watched(watcher(Api::<NetworkPolicy>::all(client.clone()), everything()));
        let (pods, pod_changes) = watched(watcher(Api::<Pod>::all(client.clone()), everything()));
        let (namespaces, namespace_changes) = watched(watcher(
            Api::<PartialObjectMeta<Namespace>>::all(client),
            everything(),
        ));
        let enforcer = Self {
            policies,
            pods,
            namespaces,
            options,
        };
        let changes = stream::select_all([
            policy_changes.map(|change| (0, change)).boxed(),
            pod_changes.map(|change| (1, change)).boxed(),
            namespace_changes.map(|change| (2, change)).boxed(),
        ]);
        enforcer.follow(changes).await
    }

    /// Waits for changes, lets them settle, writes.
    async fn follow(&self, changes: impl Stream<Item = (usize, Change)>) -> Result<(), Error> {
        let mut changes = pin!(changes);
        let mut listed = [false; 3];
        let mut written = None;
        let mut delay = FIRST_DELAY;
        // When to write next, and when the first change came that was not written yet.
        let mut due: Option<(Instant, Instant)> = None;
        loop {
            tokio::select! {
                change = changes.next() => {
                    let Some((watch, change)) = change else {
                        return Err(Error::WatchesEnded);
                    };
                    match change {
                        Err(error) => (self.options.observer)(&Event::WatchBroke(error)),
                        Ok(Progress::Listing) => {}
                        Ok(progress) => {
                            if let (Progress::Listed, Some(flag)) = (progress, listed.get_mut(watch)) {
                                *flag = true;
                            }
                            if listed.iter().all(|flag| *flag) {
                                let soon = Instant::now() + self.options.debounce;
                                due = Some(due.map_or((soon, Instant::now()), |(at, since)| (at.min(soon), since)));
                            }
                        }
                    }
                }
                () = until(due) => {
                    let since = due.take().map_or_else(Instant::now, |(_, since)| since);
                    match self.write(&mut written, since).await {
                        Ok(()) => delay = FIRST_DELAY,
                        Err(error) => {
                            due = Some((Instant::now() + delay, since));
                            (self.options.observer)(&Event::Failed { error, again_in: delay });
                            delay = LAST_DELAY.min(delay * 2);
                        }
                    }
                }
            }
        }
    }

    /// Replaces the table if it must say something else than `written`.
    async fn write(&self, written: &mut Option<String>, since: Instant) -> Result<(), Error> {
        let ruleset = self.ruleset();
        let text = render(&ruleset, &self.options.bridge);
        if written.as_ref() == Some(&text) {
            return Ok(());
        }
        self.options.nft.apply(&text).await?;
        *written = Some(text);
        (self.options.observer)(&Event::Replaced {
            ingress: ruleset.ingress.pods.len(),
            egress: ruleset.egress.pods.len(),
            after: since.elapsed(),
        });
        Ok(())
    }

    fn ruleset(&self) -> Ruleset {
        let policies = self.policies.state();
        let namespaces = self.namespaces.state();
        translate(&Snapshot {
            policies: policies.iter().map(AsRef::as_ref).collect(),
            endpoints: self
                .pods
                .state()
                .iter()
                .filter_map(|pod| Endpoint::of(pod))
                .collect(),
            namespaces: namespaces
                .iter()
                .map(|namespace| (namespace.name_any(), namespace.labels().clone()))
                .collect(),
        })
    }
}

async fn until(due: Option<(Instant, Instant)>) {
    match due {
        Some((at, _)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
