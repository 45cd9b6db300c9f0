//! Notifications that wait for no change: every so many seconds all entities that a subscription is about, in one
//! notification; none where there are none. When the next one is due stands in the database, so replicas send one.

use crate::model::Refusal;
use crate::notify::lane::{Post, finished};
use crate::notify::message::Telling;
use crate::notify::send::Failed;
use crate::query::Selection;
use crate::query::sql::{self, Window};
use crate::store::StoreError;
use crate::store::outbox::Due;
use crate::store::rows::Sizes;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How long to wait at most before looking again: others may have subscribed at another replica.
const LOOK: Duration = Duration::from_secs(1);
/// How many entities one notification has, and how many bytes of them.
const MAX_ENTITIES: usize = 1000;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Runs for ever.
pub async fn run(post: Arc<Post>) {
    loop {
        // While the database is away or takes no writes nothing is taken, however much is due.
        let Ok(taken) = post.store.take_due().await else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        for due in taken {
            let post = Arc::clone(&post);
            tokio::spawn(async move {
                if let Err(error) = send(&post, &due).await {
                    tracing::warn!(subscription = due.subscription.id, %error, "a notification of an interval was not sent");
                }
            });
        }
        let next = post.store.next_due().await.ok().flatten();
        let wait = next.map_or(LOOK, |seconds| {
            Duration::try_from_secs_f64(seconds).unwrap_or_default()
        });
        tokio::time::sleep(wait.clamp(Duration::from_millis(20), LOOK)).await;
    }
}

async fn send(post: &Post, due: &Due) -> Result<(), StoreError> {
    let subscription = &due.subscription;
    if subscription.status(Timestamp::now()) != "active" {
        return Ok(());
    }
    if post.is_cooling(due.number, subscription).await? {
        post.metrics.notifications_dropped("cooldown", 1);
        return Ok(());
    }
    let criteria = subscription
        .criteria()
        .map_err(|why: Refusal| StoreError::Internal(why.0))?;
    let context = post.context(due.tenant, subscription).await;
    let refused = |why: Refusal| StoreError::Internal(why.0);
    let shape = subscription.shape().map_err(refused)?;
    let mut telling = Telling::new(subscription, &context, &shape);
    add(post, due, &criteria, &mut telling).await?;
    if telling.size() == 0 {
        return Ok(());
    }
    post.add_linked(subscription.reach(due.tenant), &mut telling)
        .await?;
    let message = finished(telling, post.store.tenant_name(due.tenant).await?);
    let sender = post.sender.borrow().clone();
    let sent = sender.send(&subscription.notification.endpoint, &message).await;
    let _answered = post.store.unnoted().answered(due.tenant, &subscription.id);
    post.metrics
        .notified(sent.as_ref().map_or_else(Failed::kind, |()| "ok"));
    if let Err(failed) = &sent {
        tracing::info!(subscription = subscription.id, %failed, "a notification was not taken");
        post.cool_down(due.number, subscription).await;
    }
    post.store.note(due.number, sent.is_ok(), Timestamp::now()).await
}

/// Adds the entities that a subscription is about. Very large ones are left out.
async fn add(
    post: &Post,
    due: &Due,
    selection: &Selection,
    telling: &mut Telling<'_>,
) -> Result<(), StoreError> {
    let window = Window {
        limit: MAX_ENTITIES,
        offset: 0,
    };
    let reach = due.subscription.reach(due.tenant);
    let page = sql::page(reach, selection, None, window, Sizes::Small);
    let take = |entity: &crate::model::entity::Entity| {
        telling.entity(entity);
        telling.size() <= MAX_BYTES
    };
    post.store.search(reach, &page, MAX_ENTITIES, None, take).await?;
    Ok(())
}
