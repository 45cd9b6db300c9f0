//! A bounded number of connections, made when they are needed.
//!
//! A connection that was left in the middle of something (its request was given up, or the server did not answer in
//! time) is closed, not reused: the server cancels the statement and rolls back. Its place is free again only when the
//! server has let go of it, so the server never sees more connections than the pool has. Connections of older settings
//! are closed when they come back.
//!
//! Where the server takes fewer connections than the pool may have, requests share those that there are: a place for which
//! there is no connection is taken out, and one attempt a second tells when there is room again.

mod lease;
mod shared;

use crate::store::StoreError;
use crate::store::connect::{Session, Target, connect};
use crate::store::trouble::Trouble;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Statement;
use tokio_postgres::error::DbError;

pub use lease::{Lease, TypedParam};
use shared::Shared;

/// How long a request waits for a connection.
const WAIT: Duration = Duration::from_secs(5);
/// One of so many connections may be with a read that lasts as long as its client likes; one in all where there are fewer, and none that is the only one.
const LONG: usize = 4;

/// How long after the server has refused a connection the next one is tried.
const REST: Duration = Duration::from_secs(1);

/// How often it is told what the server lacks: each refused write would be a line.
const TELL: Duration = Duration::from_secs(10);

/// What clients are told while the database does not serve. Why is in the log, and for who may look into the pod.
pub const DOWN: &str = "it does not serve at the moment; the broker's log says why";

/// What the keeper last found.
#[derive(Clone)]
pub enum State {
    /// The database serves, and this is how to reach it.
    Up(Arc<Target>),
    /// It is read as ever, and takes no writes: it was set so, or follows another one.
    ReadOnly(Arc<Target>),
    /// It does not serve.
    Down(Trouble),
}

impl State {
    fn target(&self) -> Option<&Arc<Target>> {
        match self {
            Self::Up(target) | Self::ReadOnly(target) => Some(target),
            Self::Down(_) => None,
        }
    }
}

/// What requests have met, for the keeper to look into.
#[derive(Default)]
pub struct Doubts {
    /// A connection was lost, or does not answer.
    pub connections: Notify,
    /// A write was refused, as the session it came over is one that only reads.
    pub writes: Notify,
}

/// The pool. It connects only while the keeper says that the database serves.
pub struct Pool {
    slots: Arc<Semaphore>,
    size: Mutex<Size>,
    idle: Mutex<Vec<Connection>>,
    /// Those that reads share.
    shared: Mutex<Vec<Weak<Shared>>>,
    open: Arc<AtomicUsize>,
    opening: Arc<AtomicUsize>,
    /// Whether somebody looks for room for the places that were taken out.
    looking: AtomicBool,
    /// When it was last told what the server lacks.
    told: Mutex<Option<Instant>>,
    state: watch::Receiver<State>,
    doubts: Arc<Doubts>,
    /// How many reads last as long as their clients like, and who waits for one of them to end.
    long: AtomicUsize,
    turns: Notify,
}

/// How many places there are, and how many there are to be. There are fewer while the server takes no more connections.
struct Size {
    there: usize,
    wanted: usize,
}

/// A place in the pool; when it is given back it may be one too many.
struct Slot {
    pool: Arc<Pool>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut size = self.pool.size.lock().unwrap_or_else(PoisonError::into_inner);
        if size.there > size.wanted
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            size.there -= 1;
        }
    }
}

struct Connection {
    session: Session,
    statements: HashMap<&'static str, Statement>,
    target: Arc<Target>,
    counted: Counted,
}

/// Counts connections.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(of: &Arc<AtomicUsize>) -> Self {
        of.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(of))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// An empty pool of at most `size` connections.
    pub fn new(size: usize, state: watch::Receiver<State>, doubts: Arc<Doubts>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(size)),
            size: Mutex::new(Size {
                there: size,
                wanted: size,
            }),
            idle: Mutex::new(Vec::with_capacity(size)),
            shared: Mutex::default(),
            open: Arc::default(),
            opening: Arc::default(),
            looking: AtomicBool::default(),
            told: Mutex::default(),
            state,
            doubts,
            long: AtomicUsize::new(0),
            turns: Notify::new(),
        }
    }

    /// How many connections are open, in use, and allowed.
    pub fn numbers(&self) -> (usize, usize, usize) {
        let size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        (
            self.open.load(Ordering::Relaxed),
            size.there.saturating_sub(self.slots.available_permits()),
            size.wanted,
        )
    }

    /// Allows another number of connections, at least one. Those beyond it are closed as they become idle.
    pub fn resize(&self, wanted: usize) {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        size.wanted = wanted.max(1);
        if size.there < size.wanted {
            self.slots.add_permits(size.wanted - size.there);
            size.there = size.wanted;
        } else {
            size.there -= self.slots.forget_permits(size.there - size.wanted);
        }
        let wanted = size.wanted;
        drop(size);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while self.open.load(Ordering::Relaxed) > wanted && idle.pop().is_some() {}
    }

    fn wanted(&self) -> usize {
        self.size.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    fn there(&self) -> usize {
        self.size.lock().unwrap_or_else(PoisonError::into_inner).there
    }

    /// Closes what nobody uses whenever the database is found not to serve, for ever: none of it is used again, and where
    /// the server takes only so many connections it may be what keeps the keeper out.
    pub async fn let_go(self: Arc<Self>) {
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {
            if self.trouble().is_some() {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.clear();
            }
        }
    }

    /// What the keeper last found, for `/readyz`.
    pub fn trouble(&self) -> Option<Trouble> {
        match &*self.state.borrow() {
            State::Up(_) | State::ReadOnly(_) => None,
            State::Down(trouble) => Some(trouble.clone()),
        }
    }

    /// Whether the database is read and takes no writes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(&*self.state.borrow(), State::ReadOnly(_))
    }

    /// How to reach the database, while it takes writes: for those that take longer than a request, over a session of its own.
    #[must_use]
    pub fn target(&self) -> Option<Arc<Target>> {
        match &*self.state.borrow() {
            State::Up(target) => Some(Arc::clone(target)),
            State::ReadOnly(_) | State::Down(_) => None,
        }
    }

    /// A connection, when one is free.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let now = Instant::now();
        self.way()?;
        loop {
            let permit = timeout_at(now + WAIT, Arc::clone(&self.slots).acquire_owned()).await;
            let Ok(Ok(permit)) = permit else {
                return Err(StoreError::Unavailable("all connections are busy".to_owned()));
            };
            let slot = Slot {
                pool: Arc::clone(self),
                permit: Some(permit),
            };
            // Another one than before the wait, perhaps.
            let target = self.way()?;
            let connection = match self.idle(&target) {
                Some(connection) => connection,
                None => match self.open(&target).await {
                    Ok(connection) => connection,
                    Err(Trouble::TooManyConnections(why)) if self.take_out(slot) => {
                        tracing::debug!(why, "a request waits for a connection that there is");
                        continue;
                    }
                    Err(trouble) => {
                        self.doubts.connections.notify_one();
                        tracing::warn!(%trouble, "a connection to the database could not be made");
                        return Err(StoreError::Unavailable(DOWN.to_owned()));
                    }
                },
            };
            return Ok(Lease::of(connection, slot, self, now));
        }
    }

    fn way(&self) -> Result<Arc<Target>, StoreError> {
        let target = self.state.borrow().target().cloned();
        target.ok_or_else(|| StoreError::Unavailable(DOWN.to_owned()))
    }

    /// A connection that nobody uses; those that are of no use any more go.
    fn idle(&self, target: &Arc<Target>) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let connection = idle.pop()?;
            if !connection.session.client.is_closed() && Arc::ptr_eq(&connection.target, target) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request. While the database does not serve there is none: then it is closed.
    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if self.trouble().is_none() {
            idle.push(connection);
        }
    }

    async fn open(&self, target: &Arc<Target>) -> Result<Connection, Trouble> {
        let _opening = Counted::one(&self.opening);
        let session = connect(target).await?;
        Ok(Connection {
            session,
            statements: HashMap::new(),
            target: Arc::clone(target),
            counted: Counted::one(&self.open),
        })
    }

    /// A turn for a read that lasts as long as its client likes: a quarter of the connections may be so in use, or one of a few, so that slow
    /// clients of large answers leave the others theirs. The only one is for all.
    pub async fn turn(self: &Arc<Self>) -> Result<Turn, StoreError> {
        let turn = async {
            loop {
                let ended = self.turns.notified();
                tokio::pin!(ended);
                // From here on it misses no end of another one.
                ended.as_mut().enable();
                let Some(most) = turns_of(self.there()) else {
                    return Err(StoreError::Crowded);
                };
                let more = |long| (long < most).then_some(long + 1);
                if self
                    .long
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
                    .is_ok()
                {
                    return Ok(Turn(Arc::clone(self)));
                }
                ended.await;
            }
        };
        let turn = tokio::time::timeout(WAIT, turn).await;
        turn.unwrap_or(Err(StoreError::Crowded))
    }

    /// Takes out a place for which the server has no connection, as long as there are others that come back; false where
    /// there are none, nor attempts that may yet succeed.
    fn take_out(self: &Arc<Self>, mut slot: Slot) -> bool {
        let others = self.open.load(Ordering::Relaxed) + self.opening.load(Ordering::Relaxed);
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let goes = others > 0 && size.there > 1;
        if goes && let Some(permit) = slot.permit.take() {
            permit.forget();
            size.there -= 1;
        }
        drop(size);
        if goes && !self.looking.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                open = self.open.load(Ordering::Relaxed),
                "the database takes no more connections; requests share those that there are"
            );
            tokio::spawn(Arc::clone(self).look_for_room());
        }
        goes
    }

    /// Tells of what the server has too little of: a full disk mostly.
    fn tell_lack(&self, error: &DbError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() > TELL) {
            *told = Some(Instant::now());
            tracing::warn!(
                why = error.message(),
                "the database lacks what a statement needs; it refuses that until there is more"
            );
        }
    }

    /// Tries until the server takes another connection, then puts back all places that were taken out. Anything else that
    /// comes in between is for requests to meet.
    async fn look_for_room(self: Arc<Self>) {
        let found = loop {
            tokio::time::sleep(REST).await;
            let Ok(target) = self.way() else {
                break None;
            };
            match self.open(&target).await {
                Err(Trouble::TooManyConnections(_)) => {}
                other => break other.ok(),
            }
        };
        self.looking.store(false, Ordering::Relaxed);
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let back = size.wanted.saturating_sub(size.there);
        size.there += back;
        if let Some(connection) = found.filter(|_| back > 0) {
            tracing::info!("the database takes more connections again");
            self.keep(connection);
        }
        self.slots.add_permits(back);
    }
}

/// How many of so many connections may be with reads that last as long as their clients like.
fn turns_of(there: usize) -> Option<usize> {
    (there > 1).then_some((there / LONG).max(1))
}

/// See [`Pool::turn`]. Given back when dropped.
pub struct Turn(Arc<Pool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::Relaxed);
        self.0.turns.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    fn pool(size: usize) -> Arc<Pool> {
        let (_, state) = watch::channel(State::Down(Trouble::Starting));
        Arc::new(Pool::new(size, state, Arc::default()))
    }

    #[tokio::test]
    async fn long_reads_have_a_quarter_of_the_connections_one_of_a_few_and_never_the_only_one() {
        for (connections, turns) in [(1, 0), (2, 1), (7, 1), (8, 2), (10, 2)] {
            let pool = pool(connections);
            let mut held = Vec::new();
            while let Poll::Ready(Ok(turn)) = futures::poll!(std::pin::pin!(pool.turn())) {
                held.push(turn);
            }
            assert_eq!(held.len(), turns, "of {connections}");
        }
    }

    #[tokio::test]
    async fn the_only_connection_is_refused_to_a_long_read_at_once() {
        let asked = futures::poll!(std::pin::pin!(pool(1).turn()));
        assert!(matches!(asked, Poll::Ready(Err(StoreError::Crowded))));
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_has_it_when_another_one_ends() {
        let pool = pool(4);
        let held = pool.turn().await;
        let mut waiting = std::pin::pin!(pool.turn());
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        assert!(waiting.await.is_ok());
    }
}
