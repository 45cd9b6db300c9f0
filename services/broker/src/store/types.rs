//! Which types of entities there are (clauses 5.7.5 to 5.7.7).

use crate::permissions::reach::Reach;
use crate::query::sql::discovery::{self, Range};
use crate::store::search::typed;
use crate::store::{Store, StoreError};
use tokio_postgres::types::ToSql;

const NAMES: &str = "with recursive names as ( \
    (select type from mim.entity_types where tenant = $1 order by type limit 1) \
    union all \
    select (select t.type from mim.entity_types t where t.tenant = $1 and t.type > n.type order by t.type limit 1) \
    from names n where n.type is not null) \
  select type from names where type is not null offset $2 limit $3";

/// A type and what entities of it have.
pub struct TypeDetails {
    /// How many entities have the type.
    pub count: i64,
    /// Attributes that any of them has, by IRI, with the kinds they have.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Store {
    /// Some of the types, by IRI. Where all entities are seen it costs as much as there are types up to there, however many
    /// entities.
    pub async fn type_names(&self, reach: Reach<'_>, range: Range) -> Result<Vec<String>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = if reach.rules().is_none() {
            let params: [&(dyn ToSql + Sync); 3] = [&reach.tenant.0, &range.offset, &range.limit];
            lease.query(NAMES, &params).await?
        } else {
            let types = discovery::types(reach, range);
            lease.query_typed(&types.sql, &typed(&types.params)).await?
        };
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The types with the attributes that entities of them have. Reads all entities.
    pub async fn types_with_attributes(
        &self,
        reach: Reach<'_>,
        range: Range,
    ) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let types = discovery::types_with_attributes(reach, range);
        let rows = self.read(&types).await?;
        Ok(rows
            .iter()
            .map(|row| {
                (
                    row.get(0),
                    row.get::<_, Option<Vec<String>>>(1).unwrap_or_default(),
                )
            })
            .collect())
    }

    /// One type in full; `None` when no entity has it. Reads all entities of the type.
    pub async fn type_details(&self, reach: Reach<'_>, iri: &str) -> Result<Option<TypeDetails>, StoreError> {
        let rows = self.read(&discovery::one_type(reach, iri)).await?;
        let mut found = TypeDetails {
            count: 0,
            attributes: Vec::new(),
        };
        for row in &rows {
            let (count, name, kinds): (i64, Option<String>, Option<Vec<String>>) =
                (row.get(0), row.get(1), row.get(2));
            found.count = found.count.max(count);
            if let Some(name) = name {
                found.attributes.push((name, kinds.unwrap_or_default()));
            }
        }
        Ok((found.count > 0).then_some(found))
    }
}
