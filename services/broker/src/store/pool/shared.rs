//! Reads that share a connection.
//!
//! While all connections are busy a short read does not wait for one: it is sent behind another read, before that one's answer has come. The server then
//! takes several at a time off the wire and answers several at a time, which costs it and this process less than one after the other. A connection takes so
//! many reads and no more until it has been given back, so that who waits for it has it soon.

use super::lease::{Lease, PATIENCE};
use super::{Pool, Target};
use crate::store::StoreError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

/// How many reads may join the first one. With it 64 clients over ten connections retrieve 0.53 times as much as pgbench selects, without it 0.43 times
/// (medians of three runs in turn, `make bench ONLY=broker ARGS="--only retrieve"`).
const JOIN: usize = 15;

/// A connection that several reads use, given back with the last of them.
pub(super) struct Shared {
    lease: Lease,
    sql: &'static str,
    statement: Statement,
    /// How many may join yet.
    places: AtomicUsize,
    /// How many were sent and have no answer.
    under_way: AtomicUsize,
}

impl Shared {
    /// Takes a place, if there is one for this statement and this database.
    fn join(&self, sql: &str, target: &Arc<Target>) -> bool {
        self.sql == sql
            && self.lease.is_open_to(target)
            && self
                .places
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
    }

    async fn read(&self, params: &[&(dyn ToSql + Sync)], deadline: Instant) -> Result<Vec<Row>, StoreError> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let (rows, is_answered) = self.lease.ask(&self.statement, params, deadline).await;
        if is_answered {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
        } else {
            // Nobody else is to wait for this server, or find the connection lost.
            self.places.store(0, Ordering::Relaxed);
        }
        rows
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Given up by its client, or not answered in time: then nobody else is to read that answer.
        if *self.under_way.get_mut() > 0 {
            self.lease.stay_busy();
        }
    }
}

impl Pool {
    /// Runs one prepared statement that reads little and waits for nobody.
    pub async fn read(
        self: &Arc<Self>,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let shared = match self.joined(sql) {
            Some(shared) => shared,
            None => self.shared(sql).await?,
        };
        shared.read(params, deadline).await
    }

    /// A connection that another read uses, while none is free: the one that was shared last. With the first that there is it was 0.46 times.
    fn joined(&self, sql: &str) -> Option<Arc<Shared>> {
        if self.slots.available_permits() > 0 {
            return None;
        }
        let target = self.way().ok()?;
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared
            .iter()
            .rev()
            .filter_map(Weak::upgrade)
            .find(|shared| shared.join(sql, &target))
    }

    /// A connection that others may use too.
    async fn shared(self: &Arc<Self>, sql: &'static str) -> Result<Arc<Shared>, StoreError> {
        let mut lease = self.lease().await?;
        let statement = lease.prepared(sql).await?;
        let one = Arc::new(Shared {
            lease,
            sql,
            statement,
            places: AtomicUsize::new(JOIN),
            under_way: AtomicUsize::new(0),
        });
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|other| other.strong_count() > 0);
        shared.push(Arc::downgrade(&one));
        Ok(one)
    }
}
