//! Which types of entities there are (clauses 5.7.5 to 5.7.7).

use crate::store::{Store, StoreError, TenantId};

const NAMES: &str = "with recursive names as ( \
    (select type from mim.entity_types where tenant = $1 order by type limit 1) \
    union all \
    select (select t.type from mim.entity_types t where t.tenant = $1 and t.type > n.type order by t.type limit 1) \
    from names n where n.type is not null) \
  select type from names where type is not null offset $2 limit $3";

const WITH_ATTRIBUTES: &str = "select t.type, array_agg(distinct a.name order by a.name) filter (where a.name is not null) \
    from mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id \
    left join lateral jsonb_object_keys(e.attrs) as a(name) on true \
    where t.tenant = $1 group by t.type order by t.type offset $2 limit $3";

const ONE: &str = "select count(distinct e.id), a.name, \
        array_agg(distinct i.value ->> 'type' order by i.value ->> 'type') filter (where i.value is not null) \
    from mim.entity_types t join mim.entities e on e.tenant = t.tenant and e.id = t.id \
    left join lateral jsonb_each(e.attrs) as a(name, instances) on true \
    left join lateral jsonb_array_elements(a.instances) as i(value) on true \
    where t.tenant = $1 and t.type = $2 group by grouping sets ((), (a.name)) order by a.name nulls first";

/// A type and what entities of it have.
pub struct TypeDetails {
    /// How many entities have the type.
    pub count: i64,
    /// Attributes that any of them has, by IRI, with the kinds they have.
    pub attributes: Vec<(String, Vec<String>)>,
}

impl Store {
    /// At most `limit` of the types, by IRI, after the first `offset`. Costs as much as there are types up to there,
    /// however many entities.
    pub async fn type_names(
        &self,
        tenant: TenantId,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(NAMES, &[&tenant.0, &offset, &limit]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The types with the attributes that entities of them have. Reads all entities.
    pub async fn types_with_attributes(
        &self,
        tenant: TenantId,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let rows = self
            .pool
            .lease()
            .await?
            .query(WITH_ATTRIBUTES, &[&tenant.0, &offset, &limit])
            .await?;
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
    pub async fn type_details(&self, tenant: TenantId, iri: &str) -> Result<Option<TypeDetails>, StoreError> {
        let rows = self.pool.lease().await?.query(ONE, &[&tenant.0, &iri]).await?;
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
