//! A bounded number of connections, made when they are needed.
//!
//! A connection that was left in the middle of something (its request was given up) is closed, not reused: the server
//! then rolls back. Connections of older settings are closed when they come back.

use crate::store::StoreError;
use crate::store::connect::{Target, connect};
use crate::store::trouble::Trouble;
use futures::TryStreamExt as _;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

/// How long a request waits for a connection.
const WAIT: Duration = Duration::from_secs(5);

/// What the keeper last found.
#[derive(Clone)]
pub enum State {
    /// The database serves, and this is how to reach it.
    Up(Arc<Target>),
    /// It does not.
    Down(Trouble),
}

/// The pool. It connects only while the keeper says that the database serves.
pub struct Pool {
    slots: Arc<Semaphore>,
    size: usize,
    idle: Mutex<Vec<Connection>>,
    open: Arc<AtomicUsize>,
    state: watch::Receiver<State>,
    doubt: Arc<Notify>,
}

struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    target: Arc<Target>,
    _counted: Counted,
}

/// Counts open connections.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// An empty pool of at most `size` connections. It wakes `doubt` when a connection fails.
    pub fn new(size: usize, state: watch::Receiver<State>, doubt: Arc<Notify>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(size)),
            size,
            idle: Mutex::new(Vec::with_capacity(size)),
            open: Arc::default(),
            state,
            doubt,
        }
    }

    /// How many connections are open, in use, and allowed.
    pub fn numbers(&self) -> (usize, usize, usize) {
        (
            self.open.load(Ordering::Relaxed),
            self.size - self.slots.available_permits(),
            self.size,
        )
    }

    /// What the keeper last found, for `/readyz`.
    pub fn trouble(&self) -> Option<Trouble> {
        match &*self.state.borrow() {
            State::Up(_) => None,
            State::Down(trouble) => Some(trouble.clone()),
        }
    }

    /// A connection, when one is free.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let State::Up(target) = self.state.borrow().clone() else {
            return Err(StoreError::Unavailable(
                self.trouble().map_or_else(String::new, |t| t.to_string()),
            ));
        };
        let permit = tokio::time::timeout(WAIT, Arc::clone(&self.slots).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(StoreError::Unavailable("all connections are busy".to_owned()));
        };
        let idle = loop {
            match self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                Some(connection)
                    if connection.client.is_closed() || !Arc::ptr_eq(&connection.target, &target) => {}
                other => break other,
            }
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.open(target).await?,
        };
        Ok(Lease {
            connection: Some(connection),
            pool: Arc::clone(self),
            _permit: permit,
            busy: false,
        })
    }

    async fn open(&self, target: Arc<Target>) -> Result<Connection, StoreError> {
        match connect(&target).await {
            Ok(client) => {
                self.open.fetch_add(1, Ordering::Relaxed);
                Ok(Connection {
                    client,
                    statements: HashMap::new(),
                    target,
                    _counted: Counted(Arc::clone(&self.open)),
                })
            }
            Err(trouble) => {
                self.doubt.notify_one();
                Err(StoreError::Unavailable(trouble.to_string()))
            }
        }
    }
}

/// A parameter with its type.
pub type TypedParam<'a> = (&'a (dyn ToSql + Sync), Type);

/// A connection in use. Given back when dropped.
pub struct Lease {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
    /// Whether a statement or a transaction is under way.
    busy: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            if self.busy || connection.client.is_closed() {
                self.pool.doubt.notify_one();
                return;
            }
            self.pool
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the connection was lost".to_owned())
}

impl Lease {
    /// Runs one prepared statement outside a transaction.
    pub async fn query(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql).await?;
        let client = self.client()?;
        let result = client.query(&statement, params).await;
        self.settle(result)
    }

    /// Runs a statement whose text was made for this request, in one round trip.
    pub async fn query_typed(
        &mut self,
        sql: &str,
        params: &[TypedParam<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.busy = true;
        let result = self.client()?.query_typed(sql, params).await;
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
        let (whole, also) = futures::try_join!(read, also)?;
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
        let (begun, rows) = futures::join!(client.batch_execute("begin"), client.query(&statement, params));
        begun?;
        match rows {
            Ok(rows) => Ok(rows),
            Err(error) => {
                let error = StoreError::of(&error);
                self.rollback().await;
                Err(error)
            }
        }
    }

    /// Runs a prepared statement inside the transaction.
    pub async fn within(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql).await?;
        self.busy = true;
        match self.client()?.query(&statement, params).await {
            Ok(rows) => Ok(rows),
            Err(error) => {
                let error = StoreError::of(&error);
                self.rollback().await;
                Err(error)
            }
        }
    }

    /// Runs a last prepared statement and commits, in one round trip. `Ok` means that it is on disk.
    pub async fn commit(
        &mut self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepared(sql).await?;
        self.busy = true;
        let client = self.client()?;
        // After a failed statement the server turns this commit into a rollback.
        let (rows, committed) =
            futures::join!(client.query(&statement, params), client.batch_execute("commit"));
        let result = rows.and_then(|rows| committed.map(|()| rows));
        self.settle(result)
    }

    /// Ends the transaction; nothing of it is kept.
    pub async fn rollback(&mut self) {
        if let Ok(client) = self.client()
            && client.batch_execute("rollback").await.is_ok()
        {
            self.busy = false;
        }
    }

    fn client(&self) -> Result<&Client, StoreError> {
        self.connection.as_ref().map(|c| &c.client).ok_or_else(lost)
    }

    /// After a statement outside a transaction: the connection is free again, unless it is lost.
    fn settle<T>(&mut self, result: Result<T, tokio_postgres::Error>) -> Result<T, StoreError> {
        self.busy = match &result {
            Ok(_) => false,
            Err(error) => error.as_db_error().is_none(),
        };
        result.map_err(|e| StoreError::of(&e))
    }

    async fn prepared(&mut self, sql: &'static str) -> Result<Statement, StoreError> {
        let busy = std::mem::replace(&mut self.busy, true);
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let statement = if let Some(statement) = connection.statements.get(sql) {
            statement.clone()
        } else {
            let statement = connection.client.prepare(sql).await?;
            connection.statements.insert(sql, statement.clone());
            statement
        };
        self.busy = busy;
        Ok(statement)
    }
}
