//! The operator as a value: from options and a way to the API server to a running process, for `main` and for tests alike.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use kube::Client;
use mim_crds::{ContextBroker, ContextSubscription, UrbanDataPlatform};
use thiserror::Error;
use tokio::sync::watch::{Receiver, Sender};
use tracing::warn;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::reconcile::child::ChildKind;
use crate::reconcile::client::{self, ConnectError, Requests};
use crate::reconcile::context::{Context, Settings};
use crate::reconcile::controller;
use crate::reconcile::kind::Kind;
use crate::reconcile::lease::{Election, Ended, LEASE_NAME, LeaseClock, RELEASE_LIMIT, Timing};
use crate::reconcile::peers::Peers;
use crate::reconcile::probes::{self, Probes};
use crate::reconcile::remote::{self, Errands};
use crate::reconcile::request::{Limits, Observer, RequestLayer};
use crate::reconcile::trigger::Triggers;
use crate::reconcile::watch::{self, Objects, Progress, Scope, Sinks};
use crate::release::Releases;
use crate::version::{self, TooOld};

/// How long after SIGTERM the process may take to end: passes under way, and then the lease that is given back.
const DRAIN: Duration = Duration::from_secs(5);

/// Of these, how long passes under way may take: what remains is always enough to give the lease back, so that the next operator does not have to wait
/// until it expires.
const DRAIN_OF_PASSES: Duration = DRAIN.saturating_sub(RELEASE_LIMIT);

/// A watch ends by its own time limit after less than four minutes; one that is open for longer has lost its other side.
const WATCH_MOVES: Duration = Duration::from_mins(5);

/// How often objects are counted for metrics: more often than anybody scrapes.
const GAUGES: Duration = Duration::from_secs(10);

/// What an operator is started with.
pub struct Options {
    /// Where objects are watched.
    pub scope: Scope,
    /// The operator's own namespace, for the lease.
    pub namespace: String,
    /// Name of the lease: two installations in one namespace have two.
    pub lease: String,
    /// Unique for every start of a process.
    pub identity: String,
    /// The times of the election; `None`: no election, somebody else sees to it that there is one operator.
    pub election: Option<Timing>,
    /// Passes at the same time, per kind.
    pub concurrency: u16,
    /// The catalogue.
    pub releases: Releases,
    /// Settings of builders and validation.
    pub settings: Settings,
    /// Time between two looks at a service that somebody else runs.
    pub probe_period: Duration,
    /// Time between two looks at what is kept outside Kubernetes.
    pub remote_period: Duration,
    /// Calls to URLs of specs; `None`: as the settings allow. Tests have servers on this machine, which no setting allows.
    pub outgoing: Option<mim_egress::Client>,
}

impl Options {
    /// For one namespace, with this catalogue.
    #[must_use]
    pub fn new(scope: Scope, namespace: &str, identity: &str, releases: Releases) -> Self {
        Self {
            scope,
            namespace: namespace.to_owned(),
            lease: LEASE_NAME.to_owned(),
            identity: identity.to_owned(),
            election: Some(Timing::default()),
            concurrency: 32,
            releases,
            settings: Settings::default(),
            probe_period: probes::PERIOD,
            remote_period: remote::PERIOD,
            outgoing: None,
        }
    }
}

/// Why an operator ends although nobody told it to.
#[derive(Debug, Error)]
pub enum Fatal {
    /// There is no way to the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The cluster is too old.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The lease was lost: another operator may be acting.
    #[error("the lease was lost ({0:?}); another operator may be acting, so this one ends")]
    LeaseLost(Ended),
    /// A task that must not end has ended.
    #[error("{0} has ended although it must not; this process ends, so that it is started anew")]
    TaskEnded(&'static str),
}

/// A started operator: what may be asked of it while it runs.
#[derive(Clone)]
pub struct Handle {
    /// Metrics.
    pub metrics: Metrics,
    /// What `/healthz` and `/readyz` say.
    pub health: Health,
    resync: Sender<u64>,
}

impl Handle {
    /// Looks at every object again.
    pub fn resync(&self) {
        self.resync.send_modify(|count| *count += 1);
    }
}

/// An operator that is ready to run.
pub struct Operator {
    options: Options,
    requests: Requests,
    clock: LeaseClock,
    handle: Handle,
    resync: Receiver<u64>,
}

/// Every kind of ours. This is the list: whatever an operator does with a kind, it does for each of these.
fn kinds() -> Vec<Box<dyn Registered>> {
    vec![
        registered::<ContextBroker>(),
        registered::<UrbanDataPlatform>(),
        registered::<ContextSubscription>(),
    ]
}

fn registered<K: Kind>() -> Box<dyn Registered> {
    Box::new(Arc::new(Objects::<K>::default()))
}

/// A kind with its objects, whatever its type.
trait Registered: Send + Sync {
    fn kind(&self) -> &'static str;
    fn watch(
        &self,
        client: &Client,
        namespace: Option<String>,
        sinks: Sinks,
        progress: Told,
    ) -> BoxFuture<'static, ()>;
    fn control(
        &self,
        cx: Arc<Context>,
        triggers: Arc<Triggers>,
        concurrency: u16,
        stop: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, ()>;
    fn lend(&self, peers: &mut Peers);
    fn count(&self, metrics: &Metrics);
    fn fire_all(&self, triggers: &Triggers);
}

impl<K: Kind> Registered for Arc<Objects<K>> {
    fn kind(&self) -> &'static str {
        K::KIND
    }

    fn watch(
        &self,
        client: &Client,
        namespace: Option<String>,
        sinks: Sinks,
        progress: Told,
    ) -> BoxFuture<'static, ()> {
        watch::objects(client, namespace, Self::clone(self), sinks, progress)
    }

    fn control(
        &self,
        cx: Arc<Context>,
        triggers: Arc<Triggers>,
        concurrency: u16,
        stop: BoxFuture<'static, ()>,
    ) -> BoxFuture<'static, ()> {
        controller::run(cx, Self::clone(self), triggers, concurrency, stop).boxed()
    }

    fn lend(&self, peers: &mut Peers) {
        peers.add::<K>(self.reader.clone());
    }

    fn count(&self, metrics: &Metrics) {
        Objects::count(self, metrics);
    }

    fn fire_all(&self, triggers: &Triggers) {
        Objects::fire_all(self, triggers);
    }
}

impl Operator {
    /// Builds one. `observer` sees every request; production has none.
    pub fn new(
        options: Options,
        config: kube::Config,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, Fatal> {
        Self::over(options, observer, |layer| client::connect(config, layer))
    }

    /// Builds one with another way to the API server.
    fn over(
        options: Options,
        observer: Option<Arc<dyn Observer>>,
        connect: impl FnOnce(&RequestLayer) -> Result<Client, ConnectError>,
    ) -> Result<Self, Fatal> {
        let clock = if options.election.is_some() {
            LeaseClock::not_held()
        } else {
            LeaseClock::always()
        };
        let metrics = Metrics::new();
        let layer = RequestLayer::new(metrics.clone(), clock.clone(), Limits::default(), observer);
        let requests = Requests::new(connect(&layer)?);
        let (sender, resync) = tokio::sync::watch::channel(0);
        let health = Health::new();
        health.moving("watches", WATCH_MOVES, {
            let layer = layer.clone();
            move || layer.longest_watch()
        });
        let handle = Handle {
            health,
            metrics,
            resync: sender,
        };
        Ok(Self {
            options,
            requests,
            clock,
            handle,
            resync,
        })
    }

    /// What may be asked of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until `stop` resolves or something ends that must not. Stores are warm before the lease is held; passes run only while it is.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), Fatal> {
        let stop = stop.shared();
        let kinds = kinds();
        let names: Vec<_> = kinds.iter().map(|kind| kind.kind()).collect();
        let triggers = Triggers::new(&names);
        let sinks = Sinks {
            index: Arc::default(),
            triggers: Arc::clone(&triggers),
            memories: Arc::default(),
            probes: self.probes(&triggers),
            errands: self.errands(&triggers),
            links: Arc::default(),
        };
        let mut watches = self.watches(&kinds, &sinks);
        let cx = Arc::new(self.context(&kinds, &sinks));
        let lead = self.lead(Arc::clone(&cx), &kinds, &triggers, stop.clone());
        let resync = again(self.resync.clone(), &kinds, &triggers);
        let gauges = self.gauges(&kinds, &sinks);
        tokio::select! {
            ended = lead => ended,
            Some(()) = watches.next() => Err(Fatal::TaskEnded("a watch")),
            () = cx.probes.run() => Err(Fatal::TaskEnded("the task that probes")),
            () = cx.errands.run() => Err(Fatal::TaskEnded("the task that keeps what is outside")),
            () = resync => Err(Fatal::TaskEnded("the task that looks again")),
            () = gauges => Err(Fatal::TaskEnded("the task that counts")),
        }
    }

    fn probes(&self, triggers: &Arc<Triggers>) -> Arc<Probes> {
        Probes::new(
            self.outgoing(),
            Arc::clone(triggers),
            self.options.probe_period,
            Timestamp::now,
        )
    }

    fn errands(&self, triggers: &Arc<Triggers>) -> Arc<Errands> {
        let timing = remote::Timing {
            period: self.options.remote_period,
            now: Timestamp::now,
            jitter: rand::random::<f64>,
        };
        Errands::new(
            self.outgoing(),
            self.clock.clone(),
            self.handle.metrics.clone(),
            Arc::clone(triggers),
            timing,
        )
    }

    /// For calls to URLs of specs.
    fn outgoing(&self) -> mim_egress::Client {
        let settings = &self.options.settings;
        let as_allowed = || {
            mim_egress::Client::new(mim_egress::Policy::new(
                settings.allowed_private_cidrs.clone(),
                settings.forbidden_cidrs.clone(),
            ))
        };
        self.options.outgoing.clone().unwrap_or_else(as_allowed)
    }

    fn context(&self, kinds: &[Box<dyn Registered>], sinks: &Sinks) -> Context {
        let mut peers = Peers::new(self.options.scope.clone(), Arc::clone(&sinks.links));
        for kind in kinds {
            kind.lend(&mut peers);
        }
        Context {
            requests: self.requests.clone(),
            index: Arc::clone(&sinks.index),
            memories: Arc::clone(&sinks.memories),
            releases: Arc::new(self.options.releases.clone()),
            probes: Arc::clone(&sinks.probes),
            errands: Arc::clone(&sinks.errands),
            peers,
            settings: self.options.settings.clone(),
            metrics: self.handle.metrics.clone(),
            now: Timestamp::now,
            jitter: rand::random::<f64>,
            instance: self.options.identity.clone(),
        }
    }

    fn watches(
        &self,
        kinds: &[Box<dyn Registered>],
        sinks: &Sinks,
    ) -> FuturesUnordered<BoxFuture<'static, ()>> {
        let client = self.requests.client();
        let mut watches = FuturesUnordered::new();
        for namespace in self.options.scope.namespaces() {
            for kind in ChildKind::ALL.into_iter().filter(|kind| kind.watch().is_own()) {
                let progress = self.progress(kind.name(), namespace.as_deref());
                watches.extend(watch::children(
                    client,
                    kind,
                    namespace.clone(),
                    sinks.clone(),
                    progress,
                ));
            }
            for kind in kinds {
                let progress = self.progress(kind.kind(), namespace.as_deref());
                watches.push(kind.watch(client, namespace.clone(), sinks.clone(), progress));
            }
        }
        watches
    }

    /// Stands for election with warm stores and in a cluster that is new enough, and runs the controllers while it leads.
    async fn lead(
        &self,
        cx: Arc<Context>,
        kinds: &[Box<dyn Registered>],
        triggers: &Arc<Triggers>,
        stop: impl Future<Output = ()> + Clone + Send + 'static,
    ) -> Result<(), Fatal> {
        let warm = async {
            self.handle.health.filled().await;
            Ok(())
        };
        tokio::select! {
            ready = futures::future::try_join(version::check(&self.requests), warm) => drop(ready?),
            () = stop.clone() => return Ok(()),
        }
        let Some(timing) = self.options.election else {
            self.controllers(cx, kinds, triggers, stop).await;
            return Ok(());
        };
        let election = Election {
            requests: self.requests.clone(),
            namespace: self.options.namespace.clone(),
            lease: self.options.lease.clone(),
            identity: self.options.identity.clone(),
            timing,
            clock: self.clock.clone(),
            metrics: self.handle.metrics.clone(),
            wall: Timestamp::now,
            jitter: rand::random::<f64>,
        };
        let Some(leader) = election.stand().elect(stop.clone()).await else {
            return Ok(());
        };
        let (drained, drain) = tokio::sync::oneshot::channel::<()>();
        let work = async {
            self.controllers(cx, kinds, triggers, stop.clone()).await;
            // The lease is given back when no pass is under way any more.
            let _ = drained.send(());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = leader.keep(async { drain.await.unwrap_or(()) }) => match ended {
                Ended::Released => Ok(()),
                lost => Err(Fatal::LeaseLost(lost)),
            },
            () = work => Ok(()),
        }
    }

    /// All controllers, until `stop`; what is then under way has [`DRAIN_OF_PASSES`].
    async fn controllers(
        &self,
        cx: Arc<Context>,
        kinds: &[Box<dyn Registered>],
        triggers: &Arc<Triggers>,
        stop: impl Future<Output = ()> + Clone + Send + 'static,
    ) {
        let concurrency = self.options.concurrency;
        let all = kinds.iter().map(|kind| {
            kind.control(
                Arc::clone(&cx),
                Arc::clone(triggers),
                concurrency,
                stop.clone().boxed(),
            )
        });
        let all = futures::future::join_all(all);
        let too_long = async {
            stop.await;
            tokio::time::sleep(DRAIN_OF_PASSES).await;
            warn!("passes under way took more than {DRAIN_OF_PASSES:?} to end and are given up");
        };
        tokio::select! {
            _ = all => {}
            () = too_long => {}
        }
    }

    /// Counts objects by state, for ever.
    async fn gauges(&self, kinds: &[Box<dyn Registered>], sinks: &Sinks) {
        let metrics = &self.handle.metrics;
        let mut tick = tokio::time::interval(GAUGES);
        loop {
            tick.tick().await;
            for kind in kinds {
                kind.count(metrics);
            }
            metrics.set_objects_in_backoff(sinks.memories.in_backoff());
        }
    }

    fn progress(&self, kind: &'static str, namespace: Option<&str>) -> Told {
        Told {
            watch: self.handle.health.watch(kind, namespace),
            metrics: self.handle.metrics.clone(),
            kind,
        }
    }
}

/// A forced resync: every object is looked at again.
async fn again(mut asked: Receiver<u64>, kinds: &[Box<dyn Registered>], triggers: &Triggers) {
    while asked.changed().await.is_ok() {
        for kind in kinds {
            kind.fire_all(triggers);
        }
    }
    std::future::pending::<()>().await;
}

/// Tells health and metrics how a watch is doing.
#[derive(Clone)]
struct Told {
    watch: crate::health::Watch,
    metrics: Metrics,
    kind: &'static str,
}

impl Progress for Told {
    fn filled(&self) {
        self.watch.filled();
    }

    fn opened(&self) {
        self.watch.opened();
    }

    fn failed(&self, error: &kube::runtime::watcher::Error) {
        self.metrics.watch_restarted(self.kind);
        self.watch.failed(error);
    }
}

#[cfg(test)]
#[path = "operator_tests.rs"]
mod tests;
