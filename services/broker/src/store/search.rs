//! Runs compiled queries.

use crate::model::entity::Entity;
use crate::query::sql::{Param, Statement};
use crate::store::{Store, StoreError, rows};
use tokio_postgres::types::{ToSql, Type};

/// A page of a query.
pub struct Page {
    /// The entities of the page, by id.
    pub entities: Vec<Entity>,
    /// Whether there are more after it.
    pub more: bool,
    /// How many match in all, where that was asked for.
    pub count: Option<u64>,
}

fn typed(params: &[Param]) -> Vec<(&(dyn ToSql + Sync), Type)> {
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
        })
        .collect()
}

impl Store {
    /// Reads a page, and the count where `count` is given, in one round trip.
    pub async fn search(
        &self,
        page: &Statement,
        limit: usize,
        count: Option<&Statement>,
    ) -> Result<Page, StoreError> {
        let mut lease = self.pool.lease().await?;
        let (rows, total) = match count {
            None => (lease.query_typed(&page.sql, &typed(&page.params)).await?, None),
            Some(count) => {
                let (rows, counted) = lease
                    .query_typed_both(
                        (&page.sql, &typed(&page.params)),
                        (&count.sql, &typed(&count.params)),
                    )
                    .await?;
                let total: i64 = counted.first().map_or(0, |row| row.get(0));
                (rows, Some(u64::try_from(total).unwrap_or_default()))
            }
        };
        let entities = rows
            .iter()
            .take(limit)
            .map(rows::entity)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Page {
            more: rows.len() > entities.len(),
            entities,
            count: total,
        })
    }

    /// Counts alone.
    pub async fn count(&self, count: &Statement) -> Result<u64, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query_typed(&count.sql, &typed(&count.params)).await?;
        let total: i64 = rows.first().map_or(0, |row| row.get(0));
        Ok(u64::try_from(total).unwrap_or_default())
    }

    /// How `PostgreSQL` would run a statement, for tests that assert the use of an index.
    pub async fn explain(&self, statement: &Statement) -> Result<String, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease
            .query_typed(&format!("explain {}", statement.sql), &typed(&statement.params))
            .await?;
        Ok(rows
            .iter()
            .map(|row| row.get::<_, String>(0))
            .collect::<Vec<_>>()
            .join("\n"))
    }
}
