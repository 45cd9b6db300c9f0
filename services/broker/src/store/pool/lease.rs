//! A connection in use: statements, transactions, and what is done with it afterwards.

use super::{Connection, Pool, Slot, Target};
use crate::store::StoreError;
use futures::TryStreamExt as _;
use futures::future::join_all;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, RowStream, Statement};

/// How long a request has with the database in all: the wait for a connection, its making, and every statement. A
/// statement may take 10 s (the session's `statement_timeout`); beyond that the server is not answering at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// What is read for nothing, in bytes, and for how long, so that a connection can be used again. A new one, and the end of the old one, cost about as much.
const LITTLE: usize = 4 * 1024 * 1024;
const BRIEFLY: Duration = Duration::from_millis(500);
/// How long a rollback may take at least.
const ROLLBACK: Duration = Duration::from_secs(2);
/// Begins a write. Its statements touch few rows, each by its key, whatever their parameters are, so they are planned once: that takes longer than they do. And
/// they go by the keys also where a table was small when they were planned: since then it may have grown by what updates leave in it until it is vacuumed, a minute
/// later at the earliest.
const WRITING: &str = "begin; set local plan_cache_mode = force_generic_plan; set local enable_seqscan = off";
/// Begins a read of several statements that all see the same moment. It may rest while a client takes what was read, somewhat longer than any client may take.
const READING: &str =
    "begin isolation level repeatable read read only; set local idle_in_transaction_session_timeout = '3min'";

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
    /// Whether that is so on purpose: what is left of it is not wanted, and nothing is wrong with the connection.
    given_up: bool,
}

impl Lease {
    /// Of a request that has waited since `asked`.
    pub(super) fn of(connection: Connection, slot: Slot, pool: &Arc<Pool>, asked: Instant) -> Self {
        Self {
            connection: Some(connection),
            slot: Some(slot),
            pool: Arc::clone(pool),
            deadline: asked + PATIENCE,
            busy: false,
            given_up: false,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if connection.session.client.is_closed() {
            self.pool.doubts.connections.notify_one();
        } else if self.busy {
            if !self.given_up {
                self.pool.doubts.connections.notify_one();
            }
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

/// Reads the rest of an answer for nothing, where that is little. Whether it was: the connection can be used again then.
async fn thrown_away(mut rows: Pin<&mut RowStream>) -> bool {
    let all = async {
        let mut read = 0;
        while let Some(row) = rows.try_next().await? {
            read += row.raw_size_bytes();
            if read > LITTLE {
                return Ok(false);
            }
        }
        Ok::<_, Error>(true)
    };
    matches!(timeout(BRIEFLY, all).await, Ok(Ok(true)))
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

    /// Runs one prepared statement for one of several that share this lease, and tells whether the server has answered. That others wait for theirs is
    /// theirs to say: see [`Self::stay_busy`].
    pub(super) async fn ask(
        &self,
        statement: &Statement,
        params: &[&(dyn ToSql + Sync)],
        deadline: Instant,
    ) -> (Result<Vec<Row>, StoreError>, bool) {
        let asked = async {
            let answer = timeout_at(deadline, self.client()?.query(statement, params)).await;
            answer.map_err(|_| StoreError::Unavailable("it does not answer".to_owned()))
        };
        match asked.await {
            Ok(Ok(rows)) => (Ok(rows), true),
            Ok(Err(error)) => (Err(self.refused(&error)), error.as_db_error().is_some()),
            Err(error) => (Err(error), false),
        }
    }

    /// Takes note that the server is yet to answer.
    pub(super) fn stay_busy(&mut self) {
        self.busy = true;
    }

    /// Whether it is an open connection to this database.
    pub(super) fn is_open_to(&self, target: &Arc<Target>) -> bool {
        let is_open = |of: &Connection| !of.session.client.is_closed() && Arc::ptr_eq(&of.target, target);
        self.connection.as_ref().is_some_and(is_open)
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
    /// are returned. When `each` says false the rest is thrown away if it is little, else the connection is closed: the server stops.
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
                    return Ok(thrown_away(rows).await);
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
        self.given_up = !whole;
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
        let both = async { futures::join!(client.batch_execute(WRITING), client.query(&statement, params)) };
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

    /// Ends the transaction; nothing of it is kept. There is time for that whatever came before: a client that took long over what was read has used up none of
    /// the server's.
    pub async fn rollback(&mut self) {
        let Ok(client) = self.client() else { return };
        let deadline = self.deadline.max(Instant::now() + ROLLBACK);
        let ended = timeout_at(deadline, client.batch_execute("rollback")).await;
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

    pub(super) async fn prepared(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
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
