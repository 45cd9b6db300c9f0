//! A page that is too large to be read at once: in parts, all of them as of one moment.

use crate::memory::room::Held;
use crate::model::entity::Entity;
use crate::permissions::reach::Reach;
use crate::query::sql::{self, Statement};
use crate::store::pool::{Lease, Turn};
use crate::store::rows::{self, Found, Sizes, UNCOUNTED};
use crate::store::search::{counted, typed};
use crate::store::{Store, StoreError, weight};
use std::collections::HashMap;
use tokio_postgres::Row;

/// How many bytes of entities, as text, are read at once; one entity where it is larger.
const PART: usize = 256 * 1024;

/// A page of which the entities are known, and that is read from the transaction in which they were found.
pub struct Parts {
    /// Whether there are more entities after it.
    pub more: bool,
    /// How many match in all, where that was asked for.
    pub count: Option<u64>,
    /// How many bytes its entities have as text.
    pub size: usize,
    store: Store,
    lease: Lease,
    /// Ids and sizes, in order.
    entities: Vec<(String, usize)>,
    read: usize,
    /// Given back last, after the connection.
    _turn: Turn,
}

/// Entities to be read together.
pub struct Part {
    ids: Vec<String>,
    /// How many bytes they have as text.
    pub size: usize,
}

impl Store {
    /// Finds the entities of a page. `sizes` is a page of sizes.
    pub async fn parts(
        &self,
        sizes: &Statement,
        limit: usize,
        count: Option<&Statement>,
    ) -> Result<Parts, StoreError> {
        let turn = self.pool.turn().await?;
        let mut lease = self.pool.lease().await?;
        let statements = std::iter::once(sizes).chain(count);
        let statements: Vec<_> = statements.map(|s| (s.sql.as_str(), typed(&s.params))).collect();
        let mut found = lease.begin_reading(&statements).await?.into_iter();
        let mut entities: Vec<_> = found.next().iter().flatten().map(told).collect();
        let more = entities.len() > limit;
        entities.truncate(limit);
        Ok(Parts {
            more,
            count: found.next().map(|rows| counted(&rows)),
            size: entities.iter().map(|(_, size)| size).sum(),
            store: self.clone(),
            lease,
            entities,
            read: 0,
            _turn: turn,
        })
    }
}

fn told(row: &Row) -> (String, usize) {
    let size: i64 = row.get(1);
    (row.get(0), usize::try_from(size).unwrap_or_default())
}

impl Parts {
    /// What is read next; `None`: all is read.
    pub fn next_part(&mut self) -> Option<Part> {
        let left = self.entities.get(self.read..).unwrap_or_default();
        let mut part = Part {
            ids: Vec::new(),
            size: 0,
        };
        for (id, size) in left {
            if !part.ids.is_empty() && part.size + size > PART {
                break;
            }
            part.ids.push(id.clone());
            part.size += size;
        }
        self.read += part.ids.len();
        Some(part).filter(|part| !part.ids.is_empty())
    }

    /// Begins anew with the first part.
    pub fn again(&mut self) {
        self.read = 0;
    }

    /// Room for the entities of a part.
    pub async fn room(&self, part: &Part) -> Result<Held, StoreError> {
        match part.size {
            ..=UNCOUNTED => Ok(Held::default()),
            size => self.store.room(weight::of_size(size)).await,
        }
    }

    /// Reads a part, for which there is room, and gives its entities to `take`, in order, until it says false. Each comes as
    /// it is seen.
    pub async fn read(
        &mut self,
        reach: Reach<'_>,
        part: &Part,
        mut take: impl FnMut(&Entity) -> bool + Send,
    ) -> Result<bool, StoreError> {
        let some = sql::some(reach, &part.ids, Sizes::Any);
        let rows = self.lease.read_on(&some.sql, &typed(&some.params)).await?;
        // They come by id.
        let mut by_id: HashMap<&str, &Row> = rows.iter().map(|row| (row.get(0), row)).collect();
        for id in &part.ids {
            let Some(Found::Entity(entity)) = by_id.remove(id.as_str()).map(rows::found).transpose()? else {
                continue;
            };
            if reach.seen(entity).is_some_and(|entity| !take(&entity)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends the transaction, so that the connection can be used for something else.
    pub async fn end(mut self) {
        self.lease.rollback().await;
    }
}
