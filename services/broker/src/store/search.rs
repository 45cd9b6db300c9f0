//! Runs compiled queries.

use crate::model::entity::Entity;
use crate::permissions::reach::Reach;
use crate::query::sql::{self, Param, Statement};
use crate::store::pool::TypedParam;
use crate::store::rows::{self, Found, Sizes};
use crate::store::{Store, StoreError};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

/// What is known of a page when it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Whether there are more entities after it.
    pub more: bool,
    /// How many match in all, where that was asked for.
    pub count: Option<u64>,
    /// Whether all of the page was taken; false: the taker had enough.
    pub whole: bool,
    /// How many bytes the largest entity has that was left out because it is large; 0 where none was.
    pub large: usize,
    /// How many bytes those have together.
    pub left_out: usize,
}

/// How far entities were read that are told one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The id of the last one that was given, or is not seen.
    pub last: Option<String>,
    /// How many there were.
    pub seen: usize,
    /// How many bytes each of those has that come next, from the first one on that is large.
    pub next: Vec<usize>,
    /// Whether the taker has had enough.
    pub enough: bool,
}

/// An entity as it was: what was done to it later can be told by this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its id.
    pub id: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last modified.
    pub modified: Timestamp,
}

pub(super) fn typed(params: &[Param]) -> Vec<TypedParam<'_>> {
    params
        .iter()
        .map(|param| match param {
            Param::Text(value) => (value as &(dyn ToSql + Sync), Type::TEXT),
            Param::Texts(value) => (value as _, Type::TEXT_ARRAY),
            Param::Tenant(value) => (value as _, Type::INT4),
            Param::Integer(value) => (value as _, Type::INT8),
            Param::Integers(value) => (value as _, Type::INT8_ARRAY),
            Param::Float(value) => (value as _, Type::FLOAT8),
            Param::Bytes(value) => (value as _, Type::BYTEA),
            Param::Time(value) => (value as _, Type::TIMESTAMPTZ),
            Param::Instance(value) => (value as _, Type::UUID),
        })
        .collect()
}

/// What a statement that counts has found.
pub(super) fn counted(rows: &[Row]) -> u64 {
    let total: i64 = rows.first().map_or(0, |row| row.get(0));
    u64::try_from(total).unwrap_or_default()
}

impl Store {
    /// Reads a page, and the count where `count` is given, in one round trip. Entities are given to `take` one by one,
    /// so that no page is ever in memory as a whole; it says false when it has had enough. After one that is left out
    /// as large (see [`crate::store::rows::columns_of`]) no other one is given. Each comes as it is seen; the statement is of
    /// the same reach.
    pub async fn search(
        &self,
        reach: Reach<'_>,
        page: &Statement,
        limit: usize,
        count: Option<&Statement>,
        mut take: impl FnMut(&Entity) -> bool + Send,
    ) -> Result<Page, StoreError> {
        let mut lease = self.pool.lease().await?;
        let mut seen = 0;
        let (mut more, mut whole, mut large, mut left_out) = (false, true, 0, 0);
        let each = |row: &Row| {
            seen += 1;
            if seen > limit {
                more = true;
                return Ok(true);
            }
            match rows::found(row)? {
                Found::Large(size) => {
                    large = large.max(size);
                    left_out += size;
                }
                Found::Entity(entity) if large == 0 => {
                    whole = reach.seen(entity).is_none_or(|entity| take(&entity));
                }
                Found::Entity(_) => {}
            }
            Ok(whole)
        };
        let params = typed(&page.params);
        let counting = count.map(|count| (count.sql.as_str(), typed(&count.params)));
        let counted = lease.stream_typed(&page.sql, &params, each, counting).await?;
        Ok(Page {
            more,
            count: counted.map(|rows| self::counted(&rows)),
            whole,
            large,
            left_out,
        })
    }

    /// Gives the entities of a statement of [`crate::query::sql::first`] to `take`, one by one, until it says false or one is left
    /// out as large. What comes from there on is only measured, until it has more than so many bytes.
    pub async fn read_first(
        &self,
        reach: Reach<'_>,
        first: &Statement,
        bytes: usize,
        mut take: impl FnMut(&Entity) -> bool + Send,
    ) -> Result<Reached, StoreError> {
        let mut lease = self.pool.lease().await?;
        let (mut reached, mut measured) = (Reached::default(), 0);
        let each = |row: &Row| {
            reached.seen += 1;
            let size = match rows::found(row)? {
                Found::Entity(entity) if reached.next.is_empty() => {
                    reached.last = Some(entity.id.clone());
                    reached.enough = reach.seen(entity).is_some_and(|entity| !take(&entity));
                    return Ok(!reached.enough);
                }
                Found::Entity(_) => row.raw_size_bytes(),
                Found::Large(size) => size,
            };
            reached.next.push(size);
            measured += size;
            Ok(measured <= bytes)
        };
        let params = typed(&first.params);
        lease.stream_typed(&first.sql, &params, each, None).await?;
        Ok(reached)
    }

    /// All rows of a statement.
    pub(super) async fn read(&self, statement: &Statement) -> Result<Vec<Row>, StoreError> {
        let mut lease = self.pool.lease().await?;
        lease.query_typed(&statement.sql, &typed(&statement.params)).await
    }

    /// Runs a statement of [`crate::query::sql::stamps`].
    pub async fn stamps(&self, statement: &Statement) -> Result<Vec<Stamp>, StoreError> {
        let rows = self.read(statement).await?;
        let stamp = |row: &Row| Stamp {
            id: row.get(0),
            created: row.get(1),
            modified: row.get(2),
        };
        Ok(rows.iter().map(stamp).collect())
    }

    /// Gives the entities of these ids that there are to `take`, by id, until it says false; of those that are left out as
    /// large come ids and sizes. `None`: it has had enough.
    pub async fn entities_of(
        &self,
        reach: Reach<'_>,
        ids: &[String],
        sizes: Sizes,
        mut take: impl FnMut(&Entity) -> bool + Send,
    ) -> Result<Option<Vec<(String, usize)>>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let mut large = Vec::new();
        let mut whole = true;
        let each = |row: &Row| {
            match rows::found(row)? {
                Found::Large(size) => large.push((row.get(0), size)),
                Found::Entity(entity) => {
                    whole = reach.seen(entity).is_none_or(|entity| take(&entity));
                }
            }
            Ok(whole)
        };
        let some = sql::some(reach, ids, sizes);
        lease
            .stream_typed(&some.sql, &typed(&some.params), each, None)
            .await?;
        Ok(whole.then_some(large))
    }

    /// Counts alone.
    pub async fn count(&self, count: &Statement) -> Result<u64, StoreError> {
        Ok(counted(&self.read(count).await?))
    }
}
