//! A bounded number of connections, made when they are needed.
//!
//! A connection that was left in the middle of something (its request was given up, or the server did not answer in
//! time) is closed, not reused: the server cancels the statement and rolls back. Its place is free again only when the
//! server has let go of it, so the server never sees more connections than the pool has. Connections of older settings
//! are closed when they come back.
//!
//! Where the server takes fewer connections than the pool may have, requests share those that there are: a place for which
//! there is no connection is taken out, and one attempt a second tells when there is room again.

use crate::store::StoreError;
use crate::store::connect::{Session, Target, connect};
use crate::store::trouble::Trouble;
use futures::TryStreamExt as _;
use futures::future::join_all;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

/// How long a request waits for a connection.
const WAIT: Duration = Duration::from_secs(5);
/// How long a request has with the database in all: the wait for a connection, its making, and every statement. A
/// statement may take 10 s (the session's `statement_timeout`); beyond that the server is not answering at all.
const PATIENCE: Duration = Duration::from_secs(15);
/// One of so many connections may be with a read that lasts as long as its client likes.
const LONG: usize = 4;
/// Begins a read of several statements that all see the same moment. It may rest while a client takes what was read.
const READING: &str =
    "begin isolation level repeatable read read only; set local idle_in_transaction_session_timeout = '2min'";

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
            return Ok(Lease {
                connection: Some(connection),
                slot: Some(slot),
                pool: Arc::clone(self),
                deadline: now + PATIENCE,
                busy: false,
            });
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

    /// A turn for a read that lasts as long as its client likes: a quarter of the connections may be so in use, so that slow
    /// clients of large answers leave the others theirs.
    pub async fn turn(self: &Arc<Self>) -> Result<Turn, StoreError> {
        let turn = async {
            loop {
                let ended = self.turns.notified();
                let most = (self.there() / LONG).max(1);
                let more = |long| (long < most).then_some(long + 1);
                if self
                    .long
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
                    .is_ok()
                {
                    return Turn(Arc::clone(self));
                }
                ended.await;
            }
        };
        let turn = tokio::time::timeout(WAIT, turn).await;
        turn.map_err(|_| StoreError::Crowded)
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

/// See [`Pool::turn`]. Given back when dropped.
pub struct Turn(Arc<Pool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::Relaxed);
        self.0.turns.notify_one();
    }
}

/// A parameter with its type.
pub type TypedParam<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection in use. Given back when dropped.
pub struct Lease {
    connection: Option<Connection>,
    /// Given back last: after the connection.
    slot: Option<Slot>,
    pool: Arc<Pool>,
    /// When the request has had its time with the database.
    deadline: Instant,
    /// Whether a statement or a transaction is under way.
    busy: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if connection.session.client.is_closed() {
            self.pool.doubts.connections.notify_one();
        } else if self.busy {
            self.pool.doubts.connections.notify_one();
            // Without a runtime the process is at its end, and its sockets close with it.
            if let Ok(runtime) = Handle::try_current() {
                let slot = self.slot.take();
                runtime.spawn(async move {
                    let Connection { session, counted, .. } = connection;
                    session.end().await;
                    drop((counted, slot));
                });
            }
        } else if self.pool.open.load(Ordering::Relaxed) <= self.pool.wanted() {
            self.pool.keep(connection);
        }
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the connection was lost".to_owned())
}

/// What is said when the deadline has passed. The answer to a commit may be what did not come.
fn unanswered() -> StoreError {
    StoreError::Unavailable(
        "it does not answer; whether the last write of this request was kept is not known".to_owned(),
    )
}

impl Lease {
    /// Runs one prepared statement outside a transaction.
    pub async fn query(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql).await?;
        self.busy = true;
        let query = self.client()?.query(&statement, params);
        let result = timeout_at(self.deadline, query).await;
        self.settle(result)
    }

    /// Runs a statement whose text was made for this request, in one round trip.
    pub async fn query_typed(
        &mut self,
        sql: &str,
        params: &[TypedParam<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.busy = true;
        let query = self.client()?.query_typed(sql, params);
        let result = timeout_at(self.deadline, query).await;
        self.settle(result)
    }

    /// Runs such a statement and gives each row to `each` as it comes; in the same round trip another one, whose rows
    /// are returned. When `each` says false the rest is not read, and the connection is closed: the server stops.
    pub async fn stream_typed(
        &mut self,
        sql: &str,
        params: &[TypedParam<'_>],
        mut each: impl FnMut(&Row) -> Result<bool, StoreError>,
        other: Option<(&str, Vec<TypedParam<'_>>)>,
    ) -> Result<Option<Vec<Row>>, StoreError> {
        self.busy = true;
        let client = self.client()?;
        let read = async {
            let rows = client
                .query_typed_raw(sql, params.iter().map(|(value, kind)| (*value, kind.clone())))
                .await?;
            futures::pin_mut!(rows);
            while let Some(row) = rows.try_next().await? {
                if !each(&row)? {
                    return Ok(false);
                }
            }
            Ok::<_, StoreError>(true)
        };
        let also = async {
            match &other {
                None => Ok(None),
                Some((sql, params)) => client
                    .query_typed(sql, params)
                    .await
                    .map(Some)
                    .map_err(StoreError::from),
            }
        };
        let both = async { futures::try_join!(read, also) };
        let (whole, also) = timeout_at(self.deadline, both)
            .await
            .map_err(|_| unanswered())??;
        self.busy = !whole;
        Ok(also)
    }

    /// Starts a transaction with a prepared query, in one round trip. Until [`Self::commit`] or [`Self::rollback`] the
    /// lease is busy: given up before that, the connection is closed and nothing is kept.
    pub async fn begin(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql).await?;
        self.busy = true;
        let client = self.client()?;
        let both = async { futures::join!(client.batch_execute("begin"), client.query(&statement, params)) };
        let both = timeout_at(self.deadline, both).await;
        let (begun, rows) = both.map_err(|_| unanswered())?;
        begun?;
        self.or_rolled_back(rows).await
    }

    /// Starts a transaction that reads what is there at this moment, with its first statements, in one round trip. As
    /// [`Self::begin`] in all else.
    pub async fn begin_reading(
        &mut self,
        statements: &[(&str, Vec<TypedParam<'_>>)],
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        self.busy = true;
        let client = self.client()?;
        let both = async {
            let each = statements
                .iter()
                .map(|(sql, params)| client.query_typed(sql, params));
            futures::join!(client.batch_execute(READING), join_all(each))
        };
        let both = timeout_at(self.deadline, both).await;
        let (begun, rows) = both.map_err(|_| unanswered())?;
        begun?;
        let rows: Result<Vec<_>, Error> = rows.into_iter().collect();
        if rows.is_err() {
            self.rollback().await;
        }
        rows.map_err(StoreError::from)
    }

    /// Runs one more statement in such a transaction, which has time of its own.
    pub async fn read_on(&mut self, sql: &str, params: &[TypedParam<'_>]) -> Result<Vec<Row>, StoreError> {
        self.deadline = Instant::now() + PATIENCE;
        let query = timeout_at(self.deadline, self.client()?.query_typed(sql, params)).await;
        let rows = query.map_err(|_| unanswered())?;
        self.or_rolled_back(rows).await
    }

    /// Runs a prepared statement inside the transaction.
    pub async fn within(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql).await?;
        self.busy = true;
        let query = timeout_at(self.deadline, self.client()?.query(&statement, params)).await;
        let rows = query.map_err(|_| unanswered())?;
        self.or_rolled_back(rows).await
    }

    /// Runs a statement that defines something inside the transaction.
    pub async fn define(&mut self, sql: &str) -> Result<(), StoreError> {
        let done = timeout_at(self.deadline, self.client()?.batch_execute(sql)).await;
        let done = done.map_err(|_| unanswered())?;
        self.or_rolled_back(done.map(|()| Vec::new())).await.map(drop)
    }

    async fn or_rolled_back(&mut self, rows: Result<Vec<Row>, Error>) -> Result<Vec<Row>, StoreError> {
        if rows.is_err() {
            self.rollback().await;
        }
        rows.map_err(|error| self.refused(&error))
    }

    /// Runs a last prepared statement and commits, in one round trip. `Ok` means that it is on disk. `Unavailable` may
    /// come after the server has committed: it must not be told as success, and not tried again unseen.
    pub async fn commit(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql).await?;
        self.busy = true;
        let client = self.client()?;
        // After a failed statement the server turns this commit into a rollback.
        let both = async {
            let (rows, committed) =
                futures::join!(client.query(&statement, params), client.batch_execute("commit"));
            rows.and_then(|rows| committed.map(|()| rows))
        };
        let result = timeout_at(self.deadline, both).await;
        self.settle(result)
    }

    /// Ends the transaction; nothing of it is kept.
    pub async fn rollback(&mut self) {
        let Ok(client) = self.client() else { return };
        let ended = timeout_at(self.deadline, client.batch_execute("rollback")).await;
        if matches!(ended, Ok(Ok(()))) {
            self.busy = false;
        }
    }

    fn client(&self) -> Result<&Client, StoreError> {
        self.connection
            .as_ref()
            .map(|c| &c.session.client)
            .ok_or_else(lost)
    }

    /// After a statement outside a transaction: the connection is free again, unless it is lost or still waits.
    fn settle<T>(&mut self, result: Result<Result<T, Error>, Elapsed>) -> Result<T, StoreError> {
        let result = result.map_err(|_| unanswered())?;
        self.busy = match &result {
            Ok(_) => false,
            Err(error) => error.as_db_error().is_none(),
        };
        result.map_err(|error| self.refused(&error))
    }

    /// Has the keeper look into what only it can find out: whether the database takes writes by now, or not any more.
    fn refused(&self, error: &Error) -> StoreError {
        let is_write = error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION);
        if is_write && !self.pool.is_read_only() {
            self.pool.doubts.writes.notify_one();
        }
        if let Some(db) = error
            .as_db_error()
            .filter(|db| db.code().code().starts_with("53"))
        {
            self.pool.tell_lack(db);
        }
        StoreError::of(error)
    }

    async fn prepared(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        let (busy, deadline) = (std::mem::replace(&mut self.busy, true), self.deadline);
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let statement = if let Some(statement) = connection.statements.get(sql) {
            statement.clone()
        } else {
            let prepared = timeout_at(deadline, connection.session.client.prepare(sql)).await;
            let statement = prepared.map_err(|_| unanswered())??;
            connection.statements.insert(sql, statement.clone());
            statement
        };
        self.busy = busy;
        Ok(statement)
    }
}
