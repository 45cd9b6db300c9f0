//! Notifications that wait for no change: every so many seconds all entities that a subscription is about, by id, in as many
//! notifications as that takes; none where there are none.
//!
//! When the next one is due stands in the database. A replica takes what is due for a time, and holds it for as long as it tells
//! it: one notification of a subscription is under way at a time, however many replicas there are, and what a replica was telling
//! that has died is told by another one. Where a receiver does not take one it is tried again after a rest, from there on.

use crate::memory::room::Held;
use crate::model::Refusal;
use crate::notify::lane::{Post, finished, rest};
use crate::notify::message::{Message, Telling};
use crate::notify::selected::Selected;
use crate::notify::send::Failed;
use crate::notify::unnoted::Answered;
use crate::store::StoreError;
use crate::store::intervals::{Classes, Due, Next, Sent};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};
use uuid::Uuid;

/// How long to wait at most before looking again: others may have subscribed at another replica.
const LOOK: Duration = Duration::from_secs(1);
/// How long one is held, unless the hold is made longer meanwhile: so long nobody tells what a replica was telling that has died.
const HOLD: Duration = Duration::from_secs(20);
/// How often a hold is made longer.
const RENEW: Duration = Duration::from_secs(5);
/// How many are told at once.
const AT_ONCE: usize = 256;
/// How many whose receivers did not take the last one: however many of them hang, they do not keep others waiting.
const DOUBTFUL_AT_ONCE: usize = 64;

/// The intervals that this process tells.
pub struct Intervals {
    post: Arc<Post>,
    places: Classes<Arc<Semaphore>>,
    /// A place is free again where there was none.
    freed: Notify,
    /// Holds, and the subscriptions that they are of.
    held: Mutex<HashMap<Uuid, i64>>,
    /// Whoever has it takes what is due.
    taking: tokio::sync::Mutex<()>,
}

impl Intervals {
    /// Tells nothing yet.
    #[must_use]
    pub fn new(post: Arc<Post>) -> Arc<Self> {
        Arc::new(Self {
            post,
            places: Classes {
                sound: Arc::new(Semaphore::new(AT_ONCE)),
                doubtful: Arc::new(Semaphore::new(DOUBTFUL_AT_ONCE)),
            },
            freed: Notify::new(),
            held: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
        })
    }

    /// Runs until this process is about to end.
    pub async fn run(self: Arc<Self>) {
        while !self.post.leaving.load(Ordering::Relaxed) {
            // While the database is away or takes no writes nothing is taken, however much is due.
            let step = async {
                self.take().await?;
                self.until_next().await
            };
            if let Err(error) = step.await {
                error.tell_if_lasting();
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Takes as many as there are places for, so that what is not told yet is left to other replicas.
    async fn take(self: &Arc<Self>) -> Result<(), StoreError> {
        let _taking = self.taking.lock().await;
        if self.post.leaving.load(Ordering::Relaxed) {
            return Ok(());
        }
        for due in self.post.store.take_due(self.free(), HOLD).await? {
            // Nobody else takes places.
            if let Ok(place) = Arc::clone(self.places_for(&due)).try_acquire_owned() {
                self.held().insert(due.hold, due.number);
                let turn = Turn {
                    intervals: Arc::clone(self),
                    hold: due.hold,
                    place: Some(place),
                };
                tokio::spawn(turn.tell(due));
            }
        }
        Ok(())
    }

    /// Waits until something is due for which there is a place.
    async fn until_next(&self) -> Result<(), StoreError> {
        let free = self.free();
        let of = Classes {
            sound: free.sound > 0,
            doubtful: free.doubtful > 0,
        };
        let next = self.post.store.next_due(of).await?;
        let wait = next.map_or(LOOK, |seconds| {
            Duration::try_from_secs_f64(seconds).unwrap_or_default()
        });
        let _ = timeout(wait.clamp(Duration::from_millis(20), LOOK), self.freed.notified()).await;
        Ok(())
    }

    fn free(&self) -> Classes<usize> {
        Classes {
            sound: self.places.sound.available_permits(),
            doubtful: self.places.doubtful.available_permits(),
        }
    }

    fn places_for(&self, due: &Due) -> &Arc<Semaphore> {
        if due.failures > 0 {
            &self.places.doubtful
        } else {
            &self.places.sound
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, i64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds it anew, again and again, until it is lost. A database that does not answer gives it to nobody else either.
    async fn until_lost(&self, due: &Due) {
        let mut is_held = true;
        while is_held {
            tokio::time::sleep(RENEW).await;
            let held = self.post.store.hold_interval(due, HOLD).await;
            is_held = held.inspect_err(StoreError::tell_if_lasting).unwrap_or(true);
        }
    }

    /// Waits for what is being told, until then at most, and leaves the rest to others. No more is taken by now.
    pub async fn leave(&self, until: Instant) {
        let _ = timeout_at(until.into(), self.taking.lock()).await;
        while !self.held().is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left: Vec<_> = self
            .held()
            .iter()
            .map(|(hold, number)| (*number, *hold))
            .collect();
        if !left.is_empty() {
            let left = self.post.store.leave_intervals(&left).await;
            let _ = left.inspect_err(StoreError::tell_if_lasting);
        }
    }
}

/// A hold and a place, given back when this is dropped, whatever came of it.
struct Turn {
    intervals: Arc<Intervals>,
    hold: Uuid,
    place: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Tells it for as long as it is held.
    async fn tell(self, due: Due) {
        tokio::select! {
            () = tell_all(&self.intervals.post, &due) => {}
            () = self.intervals.until_lost(&due) => {
                tracing::info!(subscription = due.subscription.id, "an interval is not told on: its subscription was changed, or somebody else tells it");
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.intervals.held().remove(&self.hold);
        if let Some(place) = self.place.take() {
            let places = Arc::clone(place.semaphore());
            let was_full = places.available_permits() == 0;
            drop(place);
            if was_full {
                self.intervals.freed.notify_one();
            }
        }
    }
}

/// What came of one notification, which is yet to be noted.
struct Told {
    sent: Sent,
    is_last: bool,
    _answered: Answered,
}

/// Tells what is due, notification by notification, and notes what came of each.
async fn tell_all(post: &Post, due: &Due) {
    let mut told_to = due.told_to.clone();
    loop {
        let told = tell_next(post, due, &mut told_to).await;
        let (sent, next) = match &told {
            Ok(None) => (None, Next::Interval),
            Ok(Some(told)) => (Some(told.sent), after(post, due, told, told_to.as_ref()).await),
            Err(error) => {
                tracing::warn!(subscription = due.subscription.id, %error, "a notification of an interval was not sent; it is tried again");
                (None, again(due, told_to.as_ref(), !is_busy(error)))
            }
        };
        match post.store.note_interval(due, sent, &next).await {
            Ok(true) if matches!(next, Next::More { .. }) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(subscription = due.subscription.id, %error, "what came of an interval is not noted; it is told again");
                return;
            }
        }
    }
}

/// Whether it has nothing to do with the subscription that it was not told.
fn is_busy(error: &StoreError) -> bool {
    matches!(error, StoreError::Crowded | StoreError::Unavailable(_))
}

fn again(due: &Due, told_to: Option<&String>, has_failed: bool) -> Next {
    Next::Again {
        told_to: told_to.cloned(),
        rest: rest(due.failures + 1),
        has_failed,
    }
}

/// What is next after a notification; now it is told up to this entity.
async fn after(post: &Post, due: &Due, told: &Told, told_to: Option<&String>) -> Next {
    match told_to {
        _ if told.sent.taken && told.is_last => Next::Interval,
        Some(told_to) if told.sent.taken => Next::More {
            told_to: told_to.clone(),
            hold: HOLD,
        },
        _ if post.cool_down(due.number, &due.subscription).await => Next::Interval,
        told_to => again(due, told_to, true),
    }
}

/// Sends the notification after this entity, and moves on to its last one where the receiver takes it. `None`: there is none.
async fn tell_next(post: &Post, due: &Due, told_to: &mut Option<String>) -> Result<Option<Told>, StoreError> {
    if is_silent(post, due).await? {
        return Ok(None);
    }
    let mut selected = Selected::after(post, due, told_to.as_deref()).map_err(refused)?;
    let Some((message, room)) = message(post, due, &mut selected).await? else {
        return Ok(None);
    };
    let subscription = &due.subscription;
    let sender = post.sender.borrow().clone();
    let sent = sender.send(&subscription.notification.endpoint, &message).await;
    drop((message, room));
    let answered = post.store.unnoted().answered(due.tenant, &subscription.id);
    post.metrics
        .notified(sent.as_ref().map_or_else(Failed::kind, |()| "ok"));
    let taken = sent.is_ok();
    match sent {
        Ok(()) => *told_to = Some(selected.last().to_owned()),
        Err(failed) => {
            tracing::info!(subscription = subscription.id, %failed, "a notification was not taken");
        }
    }
    Ok(Some(Told {
        sent: Sent {
            taken,
            at: Timestamp::now(),
        },
        is_last: selected.is_over(),
        _answered: answered,
    }))
}

/// Whether nothing is told of this interval.
async fn is_silent(post: &Post, due: &Due) -> Result<bool, StoreError> {
    if due.subscription.status(Timestamp::now()) != "active" {
        return Ok(true);
    }
    let cools = post.is_cooling(due.number, &due.subscription).await?;
    if cools {
        post.metrics.notifications_dropped("cooldown", 1);
    }
    Ok(cools)
}

/// The next notification, with the room that it takes; `None`: there is nothing to tell.
async fn message(
    post: &Post,
    due: &Due,
    selected: &mut Selected<'_>,
) -> Result<Option<(Message, Held)>, StoreError> {
    let subscription = &due.subscription;
    let shape = subscription.shape().map_err(refused)?;
    let context = post.context(due.tenant, subscription).await;
    let mut telling = Telling::new(subscription, &context, &shape);
    let room = selected.fill(&mut telling).await?;
    if telling.size() == 0 {
        return Ok(None);
    }
    let reach = subscription.reach(due.tenant);
    post.add_linked(reach, &mut telling).await?;
    let tenant = post.store.tenant_name(due.tenant).await?;
    Ok(Some((finished(telling, tenant), room)))
}

fn refused(why: Refusal) -> StoreError {
    StoreError::Internal(why.0)
}
