//! How a lane is emptied: change by change, in order, each one sent before the next.

use crate::context::Context;
use crate::context::cache::Contexts;
use crate::memory::Rooms;
use crate::notify::dispatch::{LOOK, every};
use crate::notify::matcher::LANES;
use crate::notify::message::{Message, Telling};
use crate::notify::record;
use crate::notify::send::{Failed, Sender};
use crate::notify::unnoted::Answered;
use crate::permissions::reach::Reach;
use crate::server::metrics::Metrics;
use crate::store::outbox::{Done, Hold, Outbox, Waiting};
use crate::store::rows::Sizes;
use crate::store::told::Place;
use crate::store::{Store, StoreError, TenantId, weight};
use crate::subscription::Subscription;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a lane is held, in milliseconds, unless the hold is made longer meanwhile: so long nobody empties the lanes
/// of a replica that has died.
pub(super) const HOLD: i32 = 20_000;
/// After how long, since the lane was asked, what was sent is noted, and the lane held anew: well before the hold is over.
const NOTE: Duration = Duration::from_secs(10);
/// A receiver that takes longer than this for what a lane gave is one for which too much may wait.
const SLOW: Duration = Duration::from_secs(1);
/// The header, or member of metadata, that tells whose a notification is.
const TENANT: &str = "NGSILD-Tenant";
/// How long to wait for the database.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest rest after failures.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// What it takes to empty lanes.
pub struct Post {
    /// Where notifications wait.
    pub store: Store,
    /// What memory there is.
    pub rooms: Arc<Rooms>,
    /// What names mean.
    pub contexts: Arc<Contexts>,
    /// What sends.
    pub sender: watch::Receiver<Sender>,
    /// What is kept for receivers that take nothing.
    pub outbox: watch::Receiver<Outbox>,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// This process.
    pub holder: Uuid,
    /// Lanes whose receiver did not take what was sent last.
    pub failing: Mutex<HashMap<Place, Failing>>,
    /// Subscriptions whose receivers took their time since the last look.
    pub slow: Mutex<BTreeSet<i64>>,
    /// Whether this process is about to end.
    pub leaving: AtomicBool,
}

/// What a lane gave, and when it was asked: the hold counts from no earlier. A process that stood still beyond its hold, also
/// on its way to the database and back, so knows by its own clock that another one may have told newer changes since, and
/// sends none of these.
struct Given {
    asked: Instant,
    waiting: Vec<Waiting>,
}

impl Given {
    /// Whether no more of it is sent. One is, as long as the lane is held: however slow the database is, it goes on.
    fn is_over(&self, done: &Done) -> bool {
        let most = if done.changes.is_empty() {
            Duration::from_millis(HOLD.unsigned_abs().into())
        } else {
            NOTE
        };
        self.asked.elapsed() > most
    }
}

/// A lane whose receiver did not take what was sent last.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    /// How often it was tried, one failure after the other.
    tries: u32,
    /// How long it rests.
    until: Instant,
}

impl Post {
    /// Empties a lane until there is nothing in it, somebody else has it, or the receiver fails; then tells after how long
    /// to try again. While the database takes no writes it is not asked for lanes, as it gives none.
    pub async fn empty(&self, place: Place) -> Option<Duration> {
        if self.store.pool().is_read_only() {
            return Some(PAUSE);
        }
        let hold = Hold {
            place,
            holder: self.holder,
            millis: HOLD,
        };
        let asked = Instant::now();
        let waiting = match self.store.take_lane(hold).await {
            Ok(waiting) => waiting,
            Err(error) => {
                error.tell_if_lasting();
                return Some(PAUSE);
            }
        };
        let mut given = Given { asked, waiting };
        while !given.waiting.is_empty() {
            let started = Instant::now();
            let mut answered = None;
            let sending = Box::pin(self.send_all(place, &given, &mut answered));
            let done = self.waiting(place.0, sending).await;
            let Some(next) = self.go_on(hold, &done).await else {
                return Some(PAUSE);
            };
            drop(answered);
            if done.again.is_some() || started.elapsed() > SLOW {
                self.note_slow(place.0);
            }
            if let Some(again) = done.again {
                return Duration::try_from(again.duration_since(Timestamp::now())).ok();
            }
            if self.leaving.load(Ordering::Relaxed) {
                let left = self.store.leave_lanes(&[place], self.holder).await;
                let _ = left.inspect_err(StoreError::tell_if_lasting);
                return None;
            }
            given = next;
        }
        None
    }

    /// Notes what was sent and gives what is next. While the database is away it is tried again, as long as the lane is
    /// held; what is not noted in the end is sent again: better than not at all.
    async fn go_on(&self, hold: Hold, done: &Done) -> Option<Given> {
        let started = Instant::now();
        loop {
            let asked = Instant::now();
            let noted = self.store.go_on_with_lane(hold, done).await;
            let in_time = started.elapsed().as_millis() < u128::from(hold.millis.unsigned_abs());
            match noted {
                Ok(waiting) => return Some(Given { asked, waiting }),
                Err(error) if in_time && !self.leaving.load(Ordering::Relaxed) => {
                    error.tell_if_lasting();
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_) => return None,
            }
        }
    }

    /// Waits for a receiver, and says so where that takes long.
    async fn waiting<T>(&self, subscription: i64, mut sending: impl Future<Output = T> + Unpin) -> T {
        loop {
            match timeout(LOOK, &mut sending).await {
                Ok(sent) => return sent,
                Err(_) => self.note_slow(subscription),
            }
        }
    }

    fn note_slow(&self, subscription: i64) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.insert(subscription);
    }

    /// Gives up what waits beyond the limit, again and again, for ever.
    pub(super) async fn clear_away(&self) {
        let mut look = every(LOOK);
        loop {
            look.tick().await;
            // While the database is away or takes no writes nothing can be given up.
            if self.store.pool().target().is_some() {
                self.bound_all().await;
            }
        }
    }

    /// Gives up what waits beyond the limit for receivers that take their time or did not take something lately: also while
    /// their lanes rest and nobody takes them. One look for all of them, as hundreds may fail at once.
    async fn bound_all(&self) {
        let outbox = *self.outbox.borrow();
        let slow = std::mem::take(&mut *self.slow.lock().unwrap_or_else(PoisonError::into_inner));
        let slow: Vec<i64> = slow.into_iter().collect();
        match self.store.overfull_outboxes(&slow, outbox).await {
            Ok(overfull) => {
                for subscription in overfull {
                    self.bound(subscription).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "whether too much waits for a receiver is not known; it is looked for again");
                // Who was slow is slow at the next look, too.
                for subscription in slow {
                    self.note_slow(subscription);
                }
            }
        }
    }

    /// Gives up what waits beyond the limit.
    async fn bound(&self, subscription: i64) {
        let outbox = *self.outbox.borrow();
        let dropped = self.store.bound_outbox(subscription, outbox).await;
        let dropped = dropped.inspect_err(StoreError::tell_if_lasting);
        if let Ok(dropped @ 1..) = dropped {
            tracing::warn!(
                subscription,
                dropped,
                "notifications were given up: their receiver takes none"
            );
            self.metrics.notifications_dropped("overflow", dropped);
        }
    }

    async fn send_all(&self, place: Place, given: &Given, answered: &mut Option<Answered>) -> Done {
        let mut done = Done::default();
        for change in &given.waiting {
            let is_awaited = answered.as_ref().is_some_and(Answered::is_awaited);
            // A database that has crashed may have forgotten who holds the lane, and give it to another one when it is back.
            let is_away = answered.is_some() && self.store.pool().target().is_none();
            let is_late = given.is_over(&done) || self.leaving.load(Ordering::Relaxed);
            if is_awaited || is_away || is_late {
                break;
            }
            match self.send_one(place, change, &mut done, answered).await {
                Next::Go => done.changes.push(change.change),
                Next::Rest(rest) => {
                    done.again = Timestamp::now().checked_add(rest).ok();
                    break;
                }
            }
        }
        done
    }

    async fn send_one(
        &self,
        place: Place,
        change: &Waiting,
        done: &mut Done,
        answered: &mut Option<Answered>,
    ) -> Next {
        let (subscription, message) = match self.to_send(place, change).await {
            Ok(Some(to_send)) => to_send,
            Ok(None) => return Next::Go,
            Err(error) => {
                error.tell_if_lasting();
                return Next::Rest(PAUSE);
            }
        };
        let sender = self.sender.borrow().clone();
        let sent = sender.send(&subscription.notification.endpoint, &message).await;
        answered.get_or_insert_with(|| self.store.unnoted().answered(change.tenant, &subscription.id));
        done.sent += 1;
        let now = Timestamp::now();
        self.metrics
            .notified(sent.as_ref().map_or_else(Failed::kind, |()| "ok"));
        match sent {
            Ok(()) => {
                done.success = Some(now);
                self.forget(place);
                Next::Go
            }
            Err(failed) => {
                done.failed += 1;
                done.failure = Some(now);
                tracing::info!(subscription = subscription.id, %failed, "a notification was not taken");
                self.after_failure(place, &subscription).await
            }
        }
    }

    /// What is sent of a change, and for which subscription; `None`: nothing.
    async fn to_send(
        &self,
        place: Place,
        change: &Waiting,
    ) -> Result<Option<(Arc<Subscription>, Message)>, StoreError> {
        // Deleted, paused or expired since.
        let Some(subscription) = self.subscription(place.0, change).await? else {
            self.forget(place);
            return Ok(None);
        };
        let tenant = self.store.tenant_name(change.tenant).await?;
        let message = match self.message(&subscription, change, tenant).await? {
            Ok(Some(message)) => message,
            // The owner does not see it any more.
            Ok(None) => return Ok(None),
            Err(why) => {
                tracing::error!(subscription = subscription.id, why, "a change cannot be told");
                return Ok(None);
            }
        };
        if let Some(cause) = self.keeps_silent(place.0, change.change, &subscription).await? {
            self.metrics.notifications_dropped(cause, 1);
            return Ok(None);
        }
        Ok(Some((subscription, message)))
    }

    async fn after_failure(&self, place: Place, subscription: &Subscription) -> Next {
        if self.cool_down(place.0, subscription).await {
            return Next::Go;
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = failing.get(&place).map_or(0, |failing| failing.tries) + 1;
        let rest = rest(tries);
        let until = Instant::now() + rest;
        failing.insert(place, Failing { tries, until });
        self.metrics.lanes_failing(failing.len());
        Next::Rest(rest)
    }

    fn forget(&self, place: Place) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.remove(&place).is_some() {
            self.metrics.lanes_failing(failing.len());
        }
    }

    /// Lanes that have rested and are not being emptied do not fail here any more: somebody else has emptied them, or what
    /// waited was given up.
    pub(super) fn forget_rested(&self, emptied: &[Place]) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        // Two looks: clocks differ, and a lane that still waits is taken at the next one.
        let rested = |of: &Failing| of.until.elapsed() > LOOK * 2;
        failing.retain(|place, of| emptied.contains(place) || !rested(of));
        self.metrics.lanes_failing(failing.len());
    }

    /// Whether the receiver of this lane did not take something lately, in any of its lanes.
    pub fn is_doubtful(&self, place: Place) -> bool {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = 0..i16::try_from(LANES).unwrap_or_default();
        !failing.is_empty()
            && lanes
                .into_iter()
                .any(|lane| failing.contains_key(&(place.0, lane)))
    }

    /// The subscription as it is in the epoch of the change's look, or later.
    async fn subscription(
        &self,
        number: i64,
        change: &Waiting,
    ) -> Result<Option<Arc<Subscription>>, StoreError> {
        let known = self.store.known_since(change.tenant, change.epoch).await?;
        let ready = known.get(number).map(|ready| Arc::clone(&ready.subscription));
        Ok(ready.filter(|subscription| subscription.status(Timestamp::now()) == "active"))
    }

    /// Keeps a receiver that has failed in peace, where its subscription asks for that.
    pub(super) async fn cool_down(&self, number: i64, subscription: &Subscription) -> bool {
        let Some(cooldown) = subscription.notification.endpoint.cooldown else {
            return false;
        };
        let seconds = Duration::from_millis(cooldown).as_secs_f64();
        let kept = self.store.keep_quiet(number, seconds).await;
        let _ = kept.inspect_err(StoreError::tell_if_lasting);
        true
    }

    /// Why a change is not told, if throttling or a cooldown holds.
    async fn keeps_silent(
        &self,
        number: i64,
        change: i64,
        subscription: &Subscription,
    ) -> Result<Option<&'static str>, StoreError> {
        if let Some(throttling) = &subscription.throttling {
            let may = self.store.claim_quiet(number, change, throttling.get()).await?;
            return Ok((!may).then_some("throttling"));
        }
        let cools = self.is_cooling(number, subscription).await?;
        Ok(cools.then_some("cooldown"))
    }

    /// Whether a receiver that has failed is left in peace.
    pub(super) async fn is_cooling(
        &self,
        number: i64,
        subscription: &Subscription,
    ) -> Result<bool, StoreError> {
        let cools = subscription.notification.endpoint.cooldown.is_some();
        Ok(cools && self.store.is_quiet(number).await?)
    }

    async fn message(
        &self,
        subscription: &Subscription,
        change: &Waiting,
        tenant: String,
    ) -> Result<Result<Option<Message>, String>, StoreError> {
        let recorded = match record::read(&change.entity, &change.body) {
            Ok(recorded) => recorded,
            Err(damaged) => return Ok(Err(damaged.to_string())),
        };
        let shape = match subscription.shape() {
            Ok(shape) => shape,
            Err(refused) => return Ok(Err(refused.0)),
        };
        let context = self.context(change.tenant, subscription).await;
        let mut telling = Telling::new(subscription, &context, &shape);
        if !telling.change(recorded) {
            return Ok(Ok(None));
        }
        self.add_linked(subscription.reach(change.tenant), &mut telling)
            .await?;
        Ok(Ok(Some(finished(telling, tenant))))
    }

    /// Adds the entities that those of a notification link to, as they are now and as far as the owner sees them; none, where
    /// there are more than one notification may have, or where they cannot be read: that would be so at the next try, too.
    pub async fn add_linked(&self, reach: Reach<'_>, telling: &mut Telling<'_>) -> Result<(), StoreError> {
        loop {
            let ids = telling.next_level();
            if ids.is_empty() {
                return Ok(());
            }
            match self.add_level(reach, &ids, telling).await {
                Ok(true) => continue,
                Ok(false) => {
                    tracing::info!(
                        "a notification is told without the entities that it links to: they are too many"
                    );
                }
                Err(error) if error.is_busy() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a notification is told without the entities that it links to");
                }
            }
            telling.forget_linked();
            return Ok(());
        }
    }

    /// Adds linked entities of these ids, each large one with the room that it takes; false: they are too many.
    async fn add_level(
        &self,
        reach: Reach<'_>,
        ids: &[String],
        telling: &mut Telling<'_>,
    ) -> Result<bool, StoreError> {
        let small = self
            .store
            .entities_of(reach, ids, Sizes::Small, |entity| telling.linked(entity));
        let Some(large) = small.await? else {
            return Ok(false);
        };
        for (id, size) in large {
            let room = self.store.room(weight::of_size(size)).await?;
            let one = std::slice::from_ref(&id);
            let read = self
                .store
                .entities_of(reach, one, Sizes::Any, |entity| telling.linked(entity));
            let read = read.await?;
            drop(room);
            if read.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The context in which notifications are told. One that cannot be had is no reason to tell nothing: names are then
    /// told in full, which any reader of JSON-LD understands.
    pub async fn context(&self, tenant: TenantId, subscription: &Subscription) -> Arc<Context> {
        let url = subscription
            .jsonld_context
            .as_ref()
            .or(subscription.context.as_ref());
        match self.contexts.of_link(tenant, url.map(String::as_str)).await {
            Ok(context) => context,
            Err(error) => {
                tracing::warn!(subscription = subscription.id, %error, "a notification is told without its context");
                Context::core()
            }
        }
    }
}

/// A notification with an id of its own, from the tenant of this name.
#[must_use]
pub fn finished(telling: Telling<'_>, tenant: String) -> Message {
    let id = format!("urn:ngsi-ld:Notification:{}", Uuid::from_u128(rand::random()));
    let mut message = telling.finish(&id, Timestamp::now());
    if !tenant.is_empty() {
        message.headers.push((TENANT.to_owned(), tenant));
    }
    message
}

/// What to do after a change.
enum Next {
    /// It is done.
    Go,
    /// It is not; try it again after so long.
    Rest(Duration),
}

/// How long to rest after so many failures: twice as long each time, and not all lanes at the same moment.
pub(super) fn rest(tries: u32) -> Duration {
    let base = Duration::from_secs(1).saturating_mul(1 << tries.saturating_sub(1).min(16));
    base.min(LONGEST_REST).mul_f64(rand::random_range(0.75..1.25))
}
