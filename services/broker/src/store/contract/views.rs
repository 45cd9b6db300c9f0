//! Views that were asked for. What is promised and what is there change in one transaction.

use crate::contract::names::{self, identifier};
use crate::contract::sql;
use crate::contract::view::Definition;
use crate::model::Refusal;
use crate::model::json::Json;
use crate::store::contract::{LOCK, LOCK_KEY};
use crate::store::{Store, StoreError, TenantId};

/// How many views a tenant may have.
pub const MAX_VIEWS: i64 = 100;

pub(super) const ALL: &str =
    "select name, definition::text from mim.contract_views where tenant = $1 order by name";
const ONE: &str = "select definition::text from mim.contract_views where tenant = $1 and name = $2";
const ROOM: &str = "select exists (select from mim.contract_tenants where tenant = $1), \
  (select count(*) from mim.contract_views where tenant = $1)";
const KEEP: &str = "insert into mim.contract_views (tenant, name, definition) values ($1, $2, $3::text::jsonb) \
  on conflict (tenant, name) do update set definition = excluded.definition, modified = now()";
const FORGET: &str = "delete from mim.contract_views where tenant = $1 and name = $2 returning 1";
/// Readers that are at a view for long keep nobody else from it.
const NOT_LONG: &str = "set local lock_timeout = '2s'";

/// What came of a wish.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The view was not there.
    Created(Definition),
    /// The view was there, and is now as it is to be.
    Kept(Definition),
    /// It would break the contract.
    Breaks(Refusal),
    /// There are as many as there may be.
    TooMany,
    /// The tenant has no schema yet.
    NotYet,
}

impl Store {
    /// The views of a tenant, by name.
    pub async fn contract_views(&self, tenant: TenantId) -> Result<Vec<(String, Json)>, StoreError> {
        let rows = self.pool.lease().await?.query(ALL, &[&tenant.0]).await?;
        rows.iter()
            .map(|row| Ok((row.get(0), parsed(&row.get::<_, String>(1))?)))
            .collect()
    }

    /// One view.
    pub async fn contract_view(&self, tenant: TenantId, name: &str) -> Result<Option<Json>, StoreError> {
        let rows = self.pool.lease().await?.query(ONE, &[&tenant.0, &name]).await?;
        rows.first()
            .map(|row| parsed(&row.get::<_, String>(0)))
            .transpose()
    }

    /// Makes a view, or adds to it.
    pub async fn put_contract_view(
        &self,
        (tenant_name, tenant): (&str, TenantId),
        name: &str,
        wanted: Definition,
    ) -> Result<Outcome, StoreError> {
        let mut lease = self.pool.lease().await?;
        lease.begin(LOCK, &[&LOCK_KEY]).await?;
        let room = lease.within(ROOM, &[&tenant.0]).await?;
        let (is_ready, number) = room
            .first()
            .map_or((false, 0), |row| (row.get::<_, bool>(0), row.get::<_, i64>(1)));
        let before = lease.within(ONE, &[&tenant.0, &name]).await?;
        let before = before.first().map(|row| parsed(&row.get::<_, String>(0)));
        let before = match before.transpose() {
            Ok(before) => before.as_ref().and_then(Definition::stored),
            Err(error) => {
                lease.rollback().await;
                return Err(error);
            }
        };
        let refused = match &before {
            _ if !is_ready => Some(Outcome::NotYet),
            None if number >= MAX_VIEWS => Some(Outcome::TooMany),
            _ => None,
        };
        if let Some(refused) = refused {
            lease.rollback().await;
            return Ok(refused);
        }
        let is_new = before.is_none();
        let merged = match &before {
            Some(before) => wanted.in_place_of(before),
            None => Ok(wanted),
        };
        let wanted = match merged {
            Ok(wanted) => wanted,
            Err(breaks) => {
                lease.rollback().await;
                return Ok(Outcome::Breaks(breaks));
            }
        };
        let text = wanted.to_json().to_text();
        lease.within(KEEP, &[&tenant.0, &name, &text]).await?;
        lease.define(NOT_LONG).await?;
        let view = sql::view(&names::schema(tenant_name), name, tenant.0, &wanted);
        lease.define(&view).await?;
        lease.commit("select 1", &[]).await?;
        self.contract.changed.notify_one();
        Ok(if is_new {
            Outcome::Created(wanted)
        } else {
            Outcome::Kept(wanted)
        })
    }

    /// Takes a view away, for good. False: there is none.
    pub async fn delete_contract_view(
        &self,
        (tenant_name, tenant): (&str, TenantId),
        name: &str,
    ) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        lease.begin(LOCK, &[&LOCK_KEY]).await?;
        let gone = lease.within(FORGET, &[&tenant.0, &name]).await?;
        if gone.is_empty() {
            lease.rollback().await;
            return Ok(false);
        }
        let schema = names::schema(tenant_name);
        lease.define(NOT_LONG).await?;
        let drop = format!("drop view if exists {}.{}", identifier(&schema), identifier(name));
        lease.define(&drop).await?;
        lease.commit("select 1", &[]).await?;
        self.contract.changed.notify_one();
        Ok(true)
    }
}

fn parsed(text: &str) -> Result<Json, StoreError> {
    Json::parse_stored(text)
        .map_err(|e| StoreError::Internal(format!("a view of the contract cannot be read: {e}")))
}
