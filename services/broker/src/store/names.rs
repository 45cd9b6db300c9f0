//! Which attributes entities have (clauses 5.7.8 to 5.7.10). Unlike types they have no table of their own, which each
//! write would have to keep: lists read all entities of the tenant.

use crate::permissions::reach::Reach;
use crate::query::sql::discovery::{self, Range};
use crate::store::{Store, StoreError};

/// What entities have by the name of one attribute.
pub struct AttributeDetails {
    /// How many instances there are.
    pub count: i64,
    /// The kinds they have.
    pub kinds: Vec<String>,
    /// The types of entities that have it, by IRI.
    pub types: Vec<String>,
}

impl Store {
    /// Some of the attributes, by IRI. Reads all entities.
    pub async fn attribute_names(&self, reach: Reach<'_>, range: Range) -> Result<Vec<String>, StoreError> {
        let rows = self.read(&discovery::attributes(reach, range)).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The attributes with the types of entities that have them. Reads all entities.
    pub async fn attributes_with_types(
        &self,
        reach: Reach<'_>,
        range: Range,
    ) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let attributes = discovery::attributes_with_types(reach, range);
        let rows = self.read(&attributes).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// One attribute in full; `None` when no entity has it. Reads all entities that have it.
    pub async fn attribute_details(
        &self,
        reach: Reach<'_>,
        iri: &str,
    ) -> Result<Option<AttributeDetails>, StoreError> {
        let rows = self.read(&discovery::one_attribute(reach, iri)).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let (count, kinds, types): (i64, Option<Vec<String>>, Option<Vec<String>>) =
            (row.get(0), row.get(1), row.get(2));
        Ok((count > 0).then(|| AttributeDetails {
            count,
            kinds: kinds.unwrap_or_default(),
            types: types.unwrap_or_default(),
        }))
    }
}
