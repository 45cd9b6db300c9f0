//! The watches: each its own stream with its own backoff, so that one that fails holds up no other.
//!
//! Children are followed by label: with their status where it tells something, by metadata where they are only owned, and Secrets
//! not at all. Every event, deletes included, ends in the [`Index`] and as a trigger for the owner's pass.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource};
use kube::client::Body;
use kube::core::{DeserializeGuard, DynamicResourceScope, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource};
use serde::Deserialize;

use super::child::{ChildKind, MANAGED_BY_LABEL, MANAGER, Watch};
use super::kind::Kind;
use super::live::{Index, LiveCondition, LiveObject, LiveStatus, OwnerKey, version_of};
use super::memory::Memories;
use super::peers::Links;
use super::probes::Probes;
use super::remote::Errands;
use super::request::asks_to_watch;
use super::trigger::Triggers;
use crate::metrics::Metrics;

/// Where objects are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All namespaces: cluster mode.
    Cluster,
    /// These namespaces: the default.
    Namespaces(Vec<String>),
}

impl Scope {
    /// Whether objects of this namespace are watched.
    #[must_use]
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespaces(names) => names.iter().any(|name| name == namespace),
        }
    }

    /// One entry per watch and kind; `None` is all namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Option<String>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// What a watch tells of itself, for `/readyz` and metrics.
pub trait Progress: Clone + Send + Sync + 'static {
    /// The first list is in.
    fn filled(&self);
    /// The API server has opened the stream, for the first time or again.
    fn opened(&self);
    /// The stream has failed and is tried again.
    fn failed(&self, error: &watcher::Error);
}

/// What all watches share.
#[derive(Clone)]
pub struct Sinks {
    /// Where children end.
    pub index: Arc<Index>,
    /// Where owners are named.
    pub triggers: Arc<Triggers>,
    /// What is forgotten when an object goes.
    pub memories: Arc<Memories>,
    /// What is no longer looked at when an object goes.
    pub probes: Arc<Probes>,
    /// What is no longer kept outside Kubernetes when an object goes.
    pub errands: Arc<Errands>,
    /// Who gets a pass when an object changes, beside that object and its owner.
    pub links: Arc<Links>,
}

/// Idle connections are cut by load balancers after 240 s and more; a watch that ends before is simply taken up again.
const WATCH_SECONDS: u32 = 220;

/// Objects in one answer to a list. All watches list at the same time, and what is decoded is ten times as large as what is kept: with 200 a
/// start with a thousand brokers took 58 MiB instead of the 42 MiB that they need (`make bench ONLY=operator`).
const PAGE: u32 = 50;

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE)
}

/// Follows the children of one kind in one scope, for ever.
pub fn children(
    client: &Client,
    kind: ChildKind,
    namespace: Option<String>,
    sinks: Sinks,
    progress: impl Progress,
) -> Option<BoxFuture<'static, ()>> {
    let config = config().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
    let list = ListVersion::default();
    let client = &telling(client, progress.clone(), list.clone());
    match kind.watch() {
        Watch::Status => {
            let stream = watcher(api::<LiveObject>(client, kind, namespace.as_deref()), config);
            Some(Box::pin(follow(
                stream,
                kind,
                namespace,
                list,
                sinks,
                progress,
                |object| object,
            )))
        }
        Watch::Metadata => {
            let stream = watcher(
                api::<PartialObjectMeta<LiveObject>>(client, kind, namespace.as_deref()),
                config,
            );
            let slim = |object: PartialObjectMeta<LiveObject>| LiveObject {
                metadata: object.metadata,
                status: None,
            };
            Some(Box::pin(follow(
                stream, kind, namespace, list, sinks, progress, slim,
            )))
        }
        Watch::Never | Watch::Shared => None,
    }
}

/// The version of the last list of one watch: what its list shows is how all was then, and its stream shows all that has happened since.
#[derive(Clone, Debug, Default)]
struct ListVersion(Arc<AtomicU64>);

impl ListVersion {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Reads the version of a list, and hands the list on as it came.
    async fn read(&self, answer: Response<Body>) -> kube::Result<Response<Body>> {
        #[derive(Deserialize)]
        struct List {
            /// Of the list. Of several pages each says the same.
            metadata: ObjectMeta,
        }
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        // What cannot be read is told by the watcher, who reads it next, and is no list.
        if let Ok(list) = serde_json::from_slice::<List>(&body) {
            self.0.store(version_of(&list.metadata), Ordering::Relaxed);
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }
}

/// A client for one watch, which tells when its stream is opened, and of which version its list is. kube's watcher tells neither: after a break it goes on
/// in silence until something happens to an object.
fn telling(client: &Client, progress: impl Progress, list: ListVersion) -> Client {
    let namespace = client.default_namespace().to_owned();
    let client = client.clone();
    let send = tower::service_fn(move |request: Request<Body>| {
        let (client, progress, list) = (client.clone(), progress.clone(), list.clone());
        async move {
            let opens = request.uri().query().is_some_and(asks_to_watch);
            let answer = client.send(request).await?;
            match (answer.status().is_success(), opens) {
                (true, true) => progress.opened(),
                (true, false) => return list.read(answer).await,
                (false, _) => {}
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(send, namespace)
}

fn api<T>(client: &Client, kind: ChildKind, namespace: Option<&str>) -> Api<T>
where
    T: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
{
    let resource = kind.api_resource();
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn follow<T>(
    stream: impl Stream<Item = watcher::Result<Event<T>>> + Send,
    kind: ChildKind,
    namespace: Option<String>,
    list: ListVersion,
    sinks: Sinks,
    progress: impl Progress,
    slim: impl Fn(T) -> LiveObject + Send,
) {
    let mut listed = HashSet::new();
    let mut stream = std::pin::pin!(stream.default_backoff());
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                let object = slim(object);
                listed.extend(object.metadata.uid.clone());
                sinks.fire(sinks.index.apply(kind, object));
            }
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut listed);
                let gone = sinks
                    .index
                    .retain(kind, namespace.as_deref(), &listed, list.get());
                for owner in gone {
                    sinks.triggers.fire(owner);
                }
                progress.filled();
            }
            Ok(Event::Apply(object)) => sinks.fire(sinks.index.apply(kind, slim(object))),
            Ok(Event::Delete(object)) => sinks.fire(sinks.index.delete(kind, &slim(object))),
            Err(error) => progress.failed(&error),
        }
    }
}

impl Sinks {
    /// Of a child.
    fn fire(&self, owner: Option<OwnerKey>) {
        if let Some(owner) = owner {
            self.triggers.fire_settled(owner);
        }
    }
}

/// The objects of one kind of ours. Several watches (one per namespace) fill one store, so a relist of one namespace
/// forgets only what that namespace no longer has.
pub struct Objects<K: Kind> {
    writer: Mutex<Writer<DeserializeGuard<K>>>,
    /// For controllers.
    pub reader: Store<DeserializeGuard<K>>,
}

impl<K: Kind> Default for Objects<K> {
    fn default() -> Self {
        let (reader, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        Self {
            writer: Mutex::new(writer),
            reader,
        }
    }
}

impl<K: Kind> Objects<K> {
    /// Asks for a pass over every object.
    pub fn fire_all(&self, triggers: &Triggers) {
        for object in self.reader.state() {
            triggers.fire(OwnerKey::of::<K>(object.as_ref()));
        }
    }

    /// Says how many objects are in which state.
    pub fn count(&self, metrics: &Metrics) {
        let mut counts = [
            ("Ready", 0),
            ("Reconciling", 0),
            ("Stalled", 0),
            ("Unreadable", 0),
        ];
        for object in self.reader.state() {
            let conditions = object.0.as_ref().map(|object| object.common().conditions);
            let is = |r#type: &str| {
                conditions
                    .as_ref()
                    .is_ok_and(|all| all.iter().any(|of| of.type_ == r#type && of.status == "True"))
            };
            let state = match () {
                () if conditions.is_err() => "Unreadable",
                () if is("Stalled") => "Stalled",
                () if is("Ready") => "Ready",
                () => "Reconciling",
            };
            counts
                .iter_mut()
                .filter(|(of, _)| *of == state)
                .for_each(|(_, count)| *count += 1);
        }
        for (state, count) in counts {
            metrics.set_objects(K::KIND, state, count);
        }
    }

    fn write(&self, event: &Event<DeserializeGuard<K>>) {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .apply_watcher_event(event);
    }

    fn missing(&self, namespace: Option<&str>, listed: &HashSet<String>) -> Vec<Arc<DeserializeGuard<K>>> {
        self.reader.state_filter(|object| {
            namespace.is_none_or(|namespace| object.meta().namespace.as_deref() == Some(namespace))
                && object.meta().uid.as_ref().is_none_or(|uid| !listed.contains(uid))
        })
    }
}

/// Follows the objects of a kind of ours in one scope, for ever: store, trigger, and index where the kind can be a child. An object
/// that does not parse is one guarded object, not a failed list.
pub fn objects<K: Kind>(
    client: &Client,
    namespace: Option<String>,
    store: Arc<Objects<K>>,
    sinks: Sinks,
    progress: impl Progress,
) -> BoxFuture<'static, ()> {
    let list = ListVersion::default();
    let client = telling(client, progress.clone(), list.clone());
    let api: Api<DeserializeGuard<K>> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    Box::pin(follow_objects(
        watcher(api, config()),
        namespace,
        list,
        store,
        sinks,
        progress,
    ))
}

async fn follow_objects<K: Kind>(
    stream: impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Send,
    namespace: Option<String>,
    list: ListVersion,
    store: Arc<Objects<K>>,
    sinks: Sinks,
    progress: impl Progress,
) {
    let mut listed = HashSet::new();
    let mut stream = std::pin::pin!(stream.default_backoff());
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.extend(object.meta().uid.clone());
                sinks.seen(&store, prune(object));
            }
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut listed);
                sinks.listed(&store, namespace.as_deref(), &listed, list.get());
                progress.filled();
            }
            Ok(Event::Apply(object)) => sinks.seen(&store, prune(object)),
            Ok(Event::Delete(object)) => sinks.gone(&store, object),
            Err(error) => progress.failed(&error),
        }
    }
}

impl Sinks {
    fn seen<K: Kind>(&self, store: &Objects<K>, mut object: DeserializeGuard<K>) {
        let key = OwnerKey::of::<K>(&object);
        let owner = K::AS_CHILD.and_then(|kind| self.index.apply(kind, as_child(&object)));
        // Its predecessor may have gone while the watch was broken: nobody else will say so.
        let held = store.reader.get(&ObjectRef::from_obj(&object));
        if let Some(uid) = held.as_ref().and_then(|held| held.meta().uid.as_ref())
            && object.meta().uid.as_ref() != Some(uid)
        {
            self.forget(uid);
        }
        let only_its_status = held.is_some_and(|held| is_as_asked(held.meta(), object.meta()));
        // From here on only the index reads them, and they are larger than the rest of the object.
        object.meta_mut().managed_fields = None;
        store.write(&Event::Apply(object));
        self.fire_naming(&key);
        if only_its_status {
            self.triggers.fire_settled(key);
        } else {
            self.triggers.fire(key);
        }
        self.fire(owner);
    }

    /// A list is in. The index may know objects that the store does not: an answer to a write of ours has shown them while the watch was broken. The index is
    /// told first, for only it is told the version of the list: what the store has lost says no more than when it was last seen.
    fn listed<K: Kind>(
        &self,
        store: &Objects<K>,
        namespace: Option<&str>,
        listed: &HashSet<String>,
        version: u64,
    ) {
        let owners = K::AS_CHILD.map(|kind| self.index.retain(kind, namespace, listed, version));
        for object in store.missing(namespace, listed) {
            self.gone(store, object.as_ref().clone());
        }
        for owner in owners.into_iter().flatten() {
            self.triggers.fire(owner);
        }
    }

    fn gone<K: Kind>(&self, store: &Objects<K>, object: DeserializeGuard<K>) {
        if let Some(uid) = object.meta().uid.as_deref() {
            self.forget(uid);
        }
        let key = OwnerKey::of::<K>(&object);
        self.links.forget(&key);
        let owner = K::AS_CHILD.and_then(|kind| self.index.delete(kind, &as_child(&object)));
        store.write(&Event::Delete(object));
        self.fire_naming(&key);
        self.fire(owner);
    }

    fn forget(&self, uid: &str) {
        self.memories.forget(uid);
        self.probes.forget(uid);
        self.errands.forget(uid);
    }

    fn fire_naming(&self, key: &OwnerKey) {
        for naming in self.links.naming(key) {
            self.triggers.fire(naming);
        }
    }
}

/// Whether nothing that a user writes has changed: mostly this is our own status, shown again.
fn is_as_asked(before: &ObjectMeta, now: &ObjectMeta) -> bool {
    (&before.uid, before.generation) == (&now.uid, now.generation)
        && before.deletion_timestamp == now.deletion_timestamp
        && before.finalizers == now.finalizers
        && (&before.labels, &before.annotations) == (&now.labels, &now.annotations)
}

/// Annotations that are large and never read.
fn prune<K: Kind>(mut object: DeserializeGuard<K>) -> DeserializeGuard<K> {
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    object
}

/// An object of ours as the child of another.
fn as_child<K: Kind>(object: &DeserializeGuard<K>) -> LiveObject {
    let status = object.0.as_ref().ok().map(|object| {
        let common = object.common();
        LiveStatus {
            observed_generation: Some(common.observed_generation),
            conditions: common.conditions.iter().map(LiveCondition::from).collect(),
            ..LiveStatus::default()
        }
    });
    LiveObject {
        metadata: object.meta().clone(),
        status,
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
