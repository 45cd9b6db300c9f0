//! Which attributes entities have (clauses 5.7.8 to 5.7.10). Unlike types they have no table of their own, which each
//! write would have to keep: lists read all entities of the tenant.

use crate::model::terms;
use crate::store::{Store, StoreError, TenantId};

const NAMES: &str = "select a.name from mim.entities e cross join lateral jsonb_object_keys(e.attrs) as a(name) \
    where e.tenant = $1 group by a.name order by a.name collate \"C\" offset $2 limit $3";

const WITH_TYPES: &str = "select a.name, array_agg(distinct t.name order by t.name) \
    from mim.entities e cross join lateral jsonb_object_keys(e.attrs) as a(name) cross join lateral unnest(e.types) as t(name) \
    where e.tenant = $1 group by a.name order by a.name collate \"C\" offset $2 limit $3";

// The index of terms finds the entities that have the attribute, or may have it.
const ONE: &str = "select count(*), array_agg(distinct i.value ->> 'type' order by i.value ->> 'type'), \
        (select array_agg(distinct t.name order by t.name) from mim.entities e cross join lateral unnest(e.types) as t(name) \
            where e.tenant = $1 and e.terms && $3::bigint[] and e.attrs ? $2) \
    from mim.entities e cross join lateral jsonb_array_elements(e.attrs -> $2) as i(value) \
    where e.tenant = $1 and e.terms && $3::bigint[] and e.attrs ? $2";

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
    /// At most `limit` of the attributes, by IRI, after the first `offset`. Reads all entities.
    pub async fn attribute_names(
        &self,
        tenant: TenantId,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(NAMES, &[&tenant.0, &offset, &limit]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The attributes with the types of entities that have them. Reads all entities.
    pub async fn attributes_with_types(
        &self,
        tenant: TenantId,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(WITH_TYPES, &[&tenant.0, &offset, &limit]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// One attribute in full; `None` when no entity has it. Reads all entities that have it.
    pub async fn attribute_details(
        &self,
        tenant: TenantId,
        iri: &str,
    ) -> Result<Option<AttributeDetails>, StoreError> {
        let terms = vec![terms::of_attribute(tenant.0, iri)];
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(ONE, &[&tenant.0, &iri, &terms]).await?;
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
