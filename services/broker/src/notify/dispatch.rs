//! Which lanes are emptied now. A write says where something waits; a look from time to time finds what nobody said: the
//! lanes of a replica that has died, and those that rest after a failure of another one's. Beside them intervals are told.

use crate::notify::interval::Intervals;
use crate::notify::lane::{HOLD, Post};
use crate::store::StoreError;
use crate::store::told::Place;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Interval, MissedTickBehavior};

/// How many lanes are emptied at once. A receiver that answers slowly keeps its own lanes, and no others.
const AT_ONCE: usize = 512;
/// How many of receivers that did not take something lately: however many of them hang, they do not keep others waiting.
const DOUBTFUL_AT_ONCE: usize = 128;
/// How often to look for lanes that nobody empties and for what waits beyond the limit, and to hold those longer that this
/// process empties.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// How long to wait for calls that are under way when this process ends.
const LAST: Duration = Duration::from_secs(5);

/// The lanes that this process empties.
pub struct Dispatch {
    post: Arc<Post>,
    intervals: Arc<Intervals>,
    /// Lanes that are being emptied, and whether more has come to them since.
    running: Mutex<HashMap<Place, bool>>,
    /// Lanes that rest, and what wakes each of them: one thing, however often something else has woken them meanwhile.
    resting: Mutex<HashMap<Place, AbortHandle>>,
    places: Semaphore,
    doubtful: Semaphore,
}

impl Dispatch {
    /// Empties no lane yet.
    #[must_use]
    pub fn new(post: Post) -> Arc<Self> {
        let post = Arc::new(post);
        Arc::new(Self {
            intervals: Intervals::new(Arc::clone(&post)),
            post,
            running: Mutex::default(),
            resting: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            doubtful: Semaphore::new(DOUBTFUL_AT_ONCE),
        })
    }

    /// Runs for ever. What a write says is heard at once, and lanes are held, however long the database takes to give up
    /// what waits beyond the limit.
    pub async fn run(self: Arc<Self>, waiting: mpsc::Receiver<Place>) {
        tokio::spawn(Arc::clone(&self.intervals).run());
        tokio::join!(self.hear(waiting), self.look_around(), self.post.clear_away());
    }

    async fn hear(self: &Arc<Self>, mut waiting: mpsc::Receiver<Place>) {
        while let Some(place) = waiting.recv().await {
            self.wake(place);
        }
    }

    async fn look_around(self: &Arc<Self>) {
        let mut look = every(LOOK);
        loop {
            look.tick().await;
            self.look().await;
        }
    }

    /// While the database is away there is nothing to see, and while it takes no writes no lane can be taken.
    async fn look(self: &Arc<Self>) {
        let store = &self.post.store;
        if store.pool().is_read_only() {
            return;
        }
        let held = self.emptied();
        if !held.is_empty() {
            let _ = store
                .hold_lanes(&held, self.post.holder, HOLD)
                .await
                .inspect_err(StoreError::tell_if_lasting);
        }
        let forgotten = store.forgotten_lanes().await;
        for place in forgotten
            .inspect_err(StoreError::tell_if_lasting)
            .unwrap_or_default()
        {
            self.wake(place);
        }
        self.post.forget_rested(&held);
    }

    fn emptied(&self) -> Vec<Place> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.keys().copied().collect()
    }

    /// Takes no more lanes and intervals, ends what is being sent, and leaves all of them to others.
    pub async fn leave(&self) {
        self.post.leaving.store(true, Ordering::Relaxed);
        let until = Instant::now() + LAST;
        tokio::join!(self.leave_lanes(until), self.intervals.leave(until));
    }

    async fn leave_lanes(&self, until: Instant) {
        while !self.emptied().is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left = self.emptied();
        if !left.is_empty() {
            let left = self.post.store.leave_lanes(&left, self.post.holder).await;
            let _ = left.inspect_err(StoreError::tell_if_lasting);
        }
    }

    /// Sees to it that a lane is emptied from now on.
    fn wake(self: &Arc<Self>, place: Place) {
        if self.post.leaving.load(Ordering::Relaxed) {
            return;
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(place) {
            Entry::Occupied(mut more) => *more.get_mut() = true,
            Entry::Vacant(free) => {
                free.insert(false);
                tokio::spawn(Arc::clone(self).empty(place));
            }
        }
    }

    async fn empty(self: Arc<Self>, place: Place) {
        loop {
            let again = {
                let places = if self.post.is_doubtful(place) {
                    &self.doubtful
                } else {
                    &self.places
                };
                let Ok(_permit) = places.acquire().await else {
                    return;
                };
                if self.post.leaving.load(Ordering::Relaxed) {
                    None
                } else {
                    self.post.empty(place).await
                }
            };
            if let Some(after) = again {
                self.rest(place, after);
            }
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let leaving = self.post.leaving.load(Ordering::Relaxed);
            if let Some(more @ true) = running.get_mut(&place).filter(|_| !leaving) {
                *more = false;
            } else {
                running.remove(&place);
                return;
            }
        }
    }

    /// Wakes a lane after so long. The latest rest of a lane is the one that counts.
    fn rest(self: &Arc<Self>, place: Place, after: Duration) {
        let dispatch = Arc::clone(self);
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            dispatch.rested(place);
            dispatch.wake(place);
        });
        if let Some(earlier) = resting.insert(place, woken.abort_handle()) {
            earlier.abort();
        }
    }

    fn rested(&self, place: Place) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.remove(&place);
    }
}

/// Ticks at once, then so often; what comes late puts off the others.
pub(super) fn every(time: Duration) -> Interval {
    let mut every = tokio::time::interval(time);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}
