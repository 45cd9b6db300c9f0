//! From triggers to passes: one queue per kind, bounded concurrency, never two passes over one object.

use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, applier};

use super::context::Context;
use super::kind::Kind;
use super::pass;
use super::trigger::Triggers;
use super::watch::Objects;

/// Runs passes over the objects of one kind until `stop` resolves; passes under way are finished.
pub async fn run<K: Kind>(
    cx: Arc<Context>,
    objects: Arc<Objects<K>>,
    triggers: Arc<Triggers>,
    concurrency: u16,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let queue = triggers
        .stream::<DeserializeGuard<K>>(K::KIND)
        .take_until(stop)
        .boxed();
    let reconcile = |object: Arc<DeserializeGuard<K>>, cx: Arc<Context>| {
        Box::pin(async move { Ok::<Action, Infallible>(pass::run::<K>(&cx, &object).await) })
    };
    // A pass never fails as kube understands it: what went wrong is in its status and in the time of the next.
    let never = |_: Arc<DeserializeGuard<K>>, error: &Infallible, _: Arc<Context>| match *error {};
    let config = Config::default().concurrency(concurrency);
    applier(reconcile, never, cx, objects.reader.clone(), queue, config)
        .for_each(|_| std::future::ready(()))
        .await;
}
