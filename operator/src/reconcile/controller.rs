//! From triggers to passes: one queue per kind, bounded concurrency, never two passes over one object.

use std::convert::Infallible;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, applier};
use tokio::task::JoinSet;
use tracing::Instrument;

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
        cx.memories
            .begin(object.meta().uid.as_deref().unwrap_or_default());
        let pass = async move { pass::run::<K>(&cx, &object).await };
        Box::pin(on_its_own(pass).map(Ok::<Action, Infallible>))
    };
    // A pass never fails as kube understands it: what went wrong is in its status and in the time of the next.
    let never = |_: Arc<DeserializeGuard<K>>, error: &Infallible, _: Arc<Context>| match *error {};
    let config = Config::default().concurrency(concurrency);
    applier(reconcile, never, cx, objects.reader.clone(), queue, config)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// Runs it as a task of its own, which ends when this future is dropped: kube polls every pass that is under way whenever one of them has news, and to ask
/// a task whether it has ended costs next to nothing.
async fn on_its_own<T: Send + 'static>(pass: impl Future<Output = T> + Send + 'static) -> T {
    let mut task = JoinSet::new();
    task.spawn(pass.in_current_span());
    match task.join_next().await {
        Some(Ok(ended)) => ended,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Cancelled with the runtime, and so is this.
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::AssertUnwindSafe;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_pass_ends_when_nobody_waits_for_it_any_more() {
        let (holds, released) = oneshot::channel::<()>();
        let pass = on_its_own(async move {
            let _holds = holds;
            std::future::pending::<()>().await;
        });
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(1), pass).await;
        assert!(given_up.is_err());
        assert!(released.await.is_err(), "what it held is dropped");
    }

    #[tokio::test]
    async fn what_a_pass_comes_to_is_told_and_its_panic_goes_on() {
        assert_eq!(on_its_own(async { 1 }).await, 1);
        let fault = on_its_own(async { panic!("a fault") });
        let fault: Box<dyn std::any::Any + Send> = AssertUnwindSafe(fault).catch_unwind().await.unwrap_err();
        assert_eq!(fault.downcast_ref::<&str>(), Some(&"a fault"));
    }
}
