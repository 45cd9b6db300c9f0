//! Reads the past of entities.

use crate::model::entity::{Instance, Kind};
use crate::model::instance_id::InstanceId;
use crate::model::json::Json;
use crate::model::render::past::PastEntity;
use crate::model::stored;
use crate::model::temporal::evolution::{PastInstance, deletion};
use crate::query::sql::Statement;
use crate::query::sql::past::Rows;
use crate::store::search::typed;
use crate::store::{Store, StoreError};
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

/// What a row of [`crate::query::sql::past::evolution`] has.
pub enum Found {
    /// An entity, with its place in the answer.
    Entity(i64, PastEntity),
    /// An instance.
    Instance(Box<PastInstance>),
    /// One that is large: how many bytes it has as text.
    Large(usize),
    /// A value alone.
    Value(PastValue),
    /// An attribute that has an instance of this kind.
    Kind(PastValue),
}

/// A value of the past.
pub struct PastValue {
    /// The place of its entity in the answer.
    pub entity: i64,
    /// The IRI of its attribute.
    pub attr: String,
    /// Its dataset.
    pub dataset: Option<String>,
    /// The time that it is found by.
    pub key: Timestamp,
    /// Its kind.
    pub kind: Kind,
    /// What it is; null where only the kind was asked for.
    pub value: Json,
}

fn found(row: &Row, rows: Rows) -> Result<Found, StoreError> {
    let (part, entity): (i32, i64) = (row.get(0), row.get(1));
    if part == 0 {
        let found = PastEntity {
            id: row.get(2),
            types: row.get(3),
            created: row.get(4),
            modified: row.get(5),
        };
        return Ok(Found::Entity(entity, found));
    }
    let damaged =
        |what: String| StoreError::Internal(format!("an instance of the history cannot be read: {what}"));
    let (attr, dataset, key): (String, Option<String>, Timestamp) = (row.get(6), row.get(9), row.get(10));
    // What was deleted is not kept any more; most attributes are properties.
    let kind = row
        .get::<_, Option<&str>>(11)
        .and_then(Kind::named)
        .unwrap_or(Kind::Property);
    let text: Option<&str> = row.get(12);
    if let Rows::Values | Rows::Kinds = rows {
        let value = text.map(Json::parse_stored).transpose();
        let value = value.map_err(|e| damaged(e.to_string()))?.unwrap_or(Json::Null);
        let value = PastValue {
            entity,
            attr,
            dataset,
            key,
            kind,
            value,
        };
        return Ok(match rows {
            Rows::Kinds => Found::Kind(value),
            _ => Found::Value(value),
        });
    }
    let instance = match text {
        None => deletion(&attr, kind, dataset),
        Some(text) => match text.parse() {
            Ok(size) => return Ok(Found::Large(size)),
            // An instance is an object, never a number.
            Err(_) => instance(text).map_err(damaged)?,
        },
    };
    let (id, created): (Uuid, Timestamp) = (row.get(7), row.get(8));
    Ok(Found::Instance(Box::new(PastInstance {
        entity,
        attr,
        id: InstanceId(id).urn(),
        instance,
        is_deletion: text.is_none(),
        created,
        modified: row.get::<_, Option<Timestamp>>(5).unwrap_or(created),
        key,
    })))
}

/// An instance as it was, its times left to the row: as part of the past it is a thing of its own.
fn instance(text: &str) -> Result<Instance, String> {
    let mut instance = stored::read_instance(text).map_err(|e| e.to_string())?;
    instance.created = None;
    instance.modified = None;
    Ok(instance)
}

impl Store {
    /// Reads the past of entities, and the count where `count` is given, in one round trip. Rows are given to `take` one by
    /// one; it says false when it has had enough.
    pub async fn past(
        &self,
        statement: &Statement,
        rows: Rows,
        count: Option<&Statement>,
        mut take: impl FnMut(Found) -> bool + Send,
    ) -> Result<Option<u64>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let params = typed(&statement.params);
        let each = |row: &Row| Ok(take(found(row, rows)?));
        let counting = count.map(|count| (count.sql.as_str(), typed(&count.params)));
        let counted = lease
            .stream_typed(&statement.sql, &params, each, counting)
            .await?;
        Ok(counted.map(|rows| {
            let total: i64 = rows.first().map_or(0, |row| row.get(0));
            u64::try_from(total).unwrap_or_default()
        }))
    }

    /// Whether a statement finds anything.
    pub async fn finds(&self, statement: &Statement) -> Result<bool, StoreError> {
        Ok(!self.read(statement).await?.is_empty())
    }
}
