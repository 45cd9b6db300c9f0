//! Notifications that wait for no change: every so many seconds all entities that a subscription is about, by id, in as many
//! notifications as that takes; none where there are none.
//!
//! When the next one is due stands in the database. A replica takes what is due for a time, and holds it for as long as it tells
//! it: one notification of a subscription is under way at a time, however many replicas there are, and what a replica was telling
//! that has died is told by another one; one that stood still beyond its hold sends nothing more of it. Where a receiver does not
//! take one it is tried again after a rest, from there on.

use crate::memory::room::Held;
use crate::model::Refusal;
use crate::notify::lane::{Post, finished, rest};
use crate::notify::message::{Message, Telling};
use crate::notify::selected::Selected;
use crate::notify::send::Failed;
use crate::notify::unnoted::Answered;
use crate::store::intervals::{Class, Classes, Due, Free, Next, Sent};
use crate::store::{StoreError, TenantId};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};
use uuid::Uuid;

/// How long to wait at most before looking again: others may have subscribed at another replica.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait at least: what is due may be much, and places may be free again and again.
const LEAST: Duration = Duration::from_millis(20);
/// How long one is held, unless the hold is made longer meanwhile: so long nobody tells what a replica was telling that has died.
const HOLD: Duration = Duration::from_secs(20);
/// How often a hold is made longer.
const RENEW: Duration = Duration::from_secs(5);
/// How many are told at once. Who has as many places as are free gets no more, and what is taken at once are half of these at most: so
/// there are always some for others.
const AT_ONCE: usize = 256;
/// How many whose receivers did not take the last one, or took their time: however many of them hang, they do not keep others waiting.
const DOUBTFUL_AT_ONCE: usize = 64;
/// A receiver that takes longer than this is one that may hang.
const SLOW: Duration = Duration::from_secs(5);

/// The intervals that this process tells.
pub struct Intervals {
    post: Arc<Post>,
    /// A place is free again where there was none.
    freed: Notify,
    /// What this process holds; each has a place.
    held: Mutex<HashMap<Uuid, Holding>>,
    /// Whoever has it takes what is due.
    taking: tokio::sync::Mutex<()>,
}

/// What a hold is of, and which place it has.
struct Holding {
    number: i64,
    tenant: TenantId,
    class: Class,
}

/// The places of one class that these leave.
fn free_of(class: Class, held: &HashMap<Uuid, Holding>) -> Free {
    let mut taken = BTreeMap::<_, usize>::new();
    for held in held.values().filter(|held| held.class == class) {
        *taken.entry(held.tenant.0).or_default() += 1;
    }
    let all = match class {
        Class::Sound => AT_ONCE,
        Class::Doubtful => DOUBTFUL_AT_ONCE,
    };
    let places = all.saturating_sub(taken.values().sum());
    let with_enough = taken.into_iter().filter(|(_, taken)| *taken >= places);
    Free {
        places,
        but: with_enough.map(|(tenant, _)| tenant).collect(),
    }
}

impl Intervals {
    /// Tells nothing yet.
    #[must_use]
    pub fn new(post: Arc<Post>) -> Arc<Self> {
        Arc::new(Self {
            post,
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
        let asked = Instant::now();
        // Nobody else takes places, so each of them has one.
        for due in self.post.store.take_due(&self.free(), HOLD).await? {
            let holding = Holding {
                number: due.number,
                tenant: due.tenant,
                class: due.class(),
            };
            self.held().insert(due.hold, holding);
            let turn = Turn {
                intervals: Arc::clone(self),
                due,
                since: Mutex::new(asked),
            };
            tokio::spawn(async move { turn.tell().await });
        }
        Ok(())
    }

    /// Waits until something is due for which there is a place.
    async fn until_next(&self) -> Result<(), StoreError> {
        let next = self.post.store.next_due(&self.free()).await?;
        let wait = next.map_or(LOOK, |seconds| {
            Duration::try_from_secs_f64(seconds).unwrap_or_default()
        });
        let waiting = timeout(wait.min(LOOK), self.freed.notified());
        let _ = tokio::join!(tokio::time::sleep(LEAST), waiting);
        Ok(())
    }

    fn free(&self) -> Classes<Free> {
        let held = self.held();
        Classes {
            sound: free_of(Class::Sound, &held),
            doubtful: free_of(Class::Doubtful, &held),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Holding>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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
            .map(|(hold, held)| (held.number, *hold))
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
    due: Due,
    /// When the database was asked for the hold that there is. It counts from no earlier: a process that stood still, also on its way
    /// to the database and back, so knows by its own clock that another one may have told newer values since.
    since: Mutex<Instant>,
}

impl Turn {
    /// Tells it notification by notification for as long as it is held, and notes what came of each.
    async fn tell(&self) {
        let (post, due) = (&self.intervals.post, &self.due);
        let (mut told_to, mut failures) = (due.told_to.clone(), due.failures.unwrap_or_default());
        loop {
            let told = tokio::select! {
                told = self.tell_next(&mut told_to) => told,
                () = self.until_lost() => Err(Untold::Lost),
            };
            let sent = told.as_ref().ok().map(|told| told.sent);
            if sent.is_some_and(|sent| sent.taken) {
                failures = 0;
            }
            let next = match &told {
                Ok(told) => after(post, due, told, told_to.as_ref(), failures).await,
                Err(Untold::Next(next)) => next.clone(),
                Err(Untold::Failed(error)) => {
                    tracing::warn!(subscription = due.subscription.id, %error, "a notification of an interval was not sent; it is tried again");
                    again(told_to.as_ref(), failures, !error.is_busy())
                }
                Err(Untold::Lost) => {
                    tracing::info!(
                        subscription = due.subscription.id,
                        "an interval is not told on: its subscription was changed, or somebody else tells it"
                    );
                    return;
                }
            };
            let asked = Instant::now();
            match post.store.note_interval(due, sent, &next).await {
                Ok(true) if matches!(next, Next::More { .. }) => self.renewed(asked),
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(subscription = due.subscription.id, %error, "what came of an interval is not noted; it is told again");
                    return;
                }
            }
        }
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewed(&self, asked: Instant) {
        *self.since() = asked;
    }

    /// Holds it anew, again and again, until it is lost. A database that does not answer gives it to nobody else either.
    async fn until_lost(&self) {
        let mut is_held = true;
        while is_held {
            tokio::time::sleep(RENEW).await;
            let asked = Instant::now();
            let held = self.intervals.post.store.hold_interval(&self.due, HOLD).await;
            if held.as_ref().is_ok_and(|held| *held) {
                self.renewed(asked);
            }
            is_held = held.inspect_err(StoreError::tell_if_lasting).unwrap_or(true);
        }
    }

    /// Sends the notification after this entity, and moves on to its last one where the receiver takes it.
    async fn tell_next(&self, told_to: &mut Option<String>) -> Result<Told, Untold> {
        let (post, due) = (&self.intervals.post, &self.due);
        if let Some(next) = silence(post, due).await? {
            return Err(Untold::Next(next));
        }
        let mut selected = Selected::after(post, due, told_to.as_deref()).map_err(refused)?;
        let Some((message, room)) = message(post, due, &mut selected).await? else {
            return Err(Untold::Next(Next::Interval));
        };
        let subscription = &due.subscription;
        let sender = post.sender.borrow().clone();
        if self.since().elapsed() > HOLD {
            return Err(Untold::Lost);
        }
        let started = Instant::now();
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
        Ok(Told {
            sent: Sent {
                taken,
                was_slow: started.elapsed() > SLOW,
                at: Timestamp::now(),
            },
            is_last: selected.is_over(),
            _answered: answered,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut held = self.intervals.held();
        let had_enough = free_of(self.due.class(), &held).but;
        held.remove(&self.due.hold);
        // Whoever takes what is due has not asked for what there was no place for. Where none was free, this one's tenant had enough.
        if !had_enough.is_empty() {
            self.intervals.freed.notify_one();
        }
    }
}

/// What came of one notification, which is yet to be noted.
struct Told {
    sent: Sent,
    is_last: bool,
    _answered: Answered,
}

/// Why nothing was sent.
enum Untold {
    /// There is nothing to send; what is next instead.
    Next(Next),
    /// It could not be read, or there is no room for it.
    Failed(StoreError),
    /// It is not held any more.
    Lost,
}

impl From<StoreError> for Untold {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// A try again after one more than so many failures.
fn again(told_to: Option<&String>, failures: u32, has_failed: bool) -> Next {
    Next::Again {
        told_to: told_to.cloned(),
        rest: rest(failures + 1),
        has_failed,
    }
}

/// What is next after a notification; now it is told up to this entity.
async fn after(post: &Post, due: &Due, told: &Told, told_to: Option<&String>, failures: u32) -> Next {
    match told_to {
        _ if told.sent.taken && told.is_last => Next::Interval,
        // The rest of it by one of the places for such receivers.
        told_to if told.sent.taken && told.sent.was_slow && due.class() == Class::Sound => Next::Again {
            told_to: told_to.cloned(),
            rest: Duration::ZERO,
            has_failed: false,
        },
        Some(told_to) if told.sent.taken => Next::More {
            told_to: told_to.clone(),
            hold: HOLD,
        },
        _ if post.cool_down(due.number, &due.subscription).await => Next::Interval,
        told_to => again(told_to, failures, true),
    }
}

/// What is next where nothing is told of this interval.
async fn silence(post: &Post, due: &Due) -> Result<Option<Next>, StoreError> {
    let subscription = &due.subscription;
    if subscription.time_interval.is_none() || subscription.status(Timestamp::now()) != "active" {
        return Ok(Some(Next::Never));
    }
    let cools = post.is_cooling(due.number, subscription).await?;
    if cools {
        post.metrics.notifications_dropped("cooldown", 1);
    }
    Ok(cools.then_some(Next::Interval))
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
