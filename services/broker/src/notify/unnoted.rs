//! What came of notifications whose receivers have answered, until the database has it too.

use crate::store::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a reader waits at most: then it is shown what is noted.
const LONGEST: Duration = Duration::from_secs(1);

/// The tenant and the id of a subscription.
type Key = (TenantId, String);
type Marks = HashMap<Key, Vec<watch::Receiver<()>>>;

/// Subscriptions of which this process knows more than the database: each with a mark for every lane that has yet to note
/// something.
#[derive(Default)]
pub struct Unnoted(Mutex<Marks>);

impl Unnoted {
    /// A receiver has answered. It is noted when what this returns is dropped.
    #[must_use]
    pub fn answered(self: &Arc<Self>, tenant: TenantId, id: &str) -> Answered {
        let (mark, seen) = watch::channel(());
        let key = (tenant, id.to_owned());
        self.marks().entry(key.clone()).or_default().push(seen);
        Answered {
            mark,
            key,
            all: Arc::clone(self),
        }
    }

    /// Waits until all is noted that receivers have answered so far, but not for ever.
    pub async fn until_noted(&self, tenant: TenantId, id: &str) {
        let marks = self.marks().get(&(tenant, id.to_owned())).cloned();
        let all = async {
            for mut mark in marks.into_iter().flatten() {
                // Nothing is ever sent: it changes when it ends.
                while mark.changed().await.is_ok() {}
            }
        };
        let _ = timeout(LONGEST, all).await;
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that is yet to be noted.
pub struct Answered {
    mark: watch::Sender<()>,
    key: Key,
    all: Arc<Unnoted>,
}

impl Answered {
    /// Whether somebody waits until it is noted.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.mark.receiver_count() > 1
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        let own = self.mark.subscribe();
        let mut marks = self.all.marks();
        if let Some(of) = marks.get_mut(&self.key) {
            of.retain(|other| !other.same_channel(&own));
            if of.is_empty() {
                marks.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TenantId = TenantId(1);

    #[tokio::test]
    async fn a_reader_waits_for_what_was_answered_before_it_and_for_nothing_else() {
        let unnoted = Arc::new(Unnoted::default());
        let (first, second) = (unnoted.answered(ONE, "s"), unnoted.answered(ONE, "s"));
        assert!(!first.is_awaited());
        let reader = tokio::spawn({
            let unnoted = Arc::clone(&unnoted);
            async move { unnoted.until_noted(ONE, "s").await }
        });
        tokio::task::yield_now().await;
        assert!(first.is_awaited() && second.is_awaited());
        let later = unnoted.answered(ONE, "s");
        drop(second);
        tokio::task::yield_now().await;
        assert!(!reader.is_finished());
        drop(first);
        reader.await.unwrap();
        assert!(!later.is_awaited());

        let before = std::time::Instant::now();
        unnoted.until_noted(ONE, "other").await;
        unnoted.until_noted(TenantId(2), "s").await;
        assert!(before.elapsed() < LONGEST);
        // One that is never noted keeps nobody for ever.
        unnoted.until_noted(ONE, "s").await;
        assert!(before.elapsed() >= LONGEST);
        drop(later);
        assert!(unnoted.marks().is_empty());
    }
}
