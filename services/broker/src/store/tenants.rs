//! Which tenants there are: those of the configuration, with their numbers in the database.

use crate::store::TenantId;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use tokio_postgres::Client;

/// Names and numbers. The number of a name never changes, so it is read once.
#[derive(Default)]
pub struct Tenants {
    numbers: RwLock<HashMap<String, TenantId>>,
}

impl Tenants {
    /// The number of a tenant; the empty name is the default tenant.
    pub fn find(&self, name: &str) -> Option<TenantId> {
        self.numbers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .copied()
    }

    /// Makes rows for new names and forgets those that are not configured any more; their data stays.
    pub async fn sync(&self, client: &Client, configured: &[String]) -> Result<(), tokio_postgres::Error> {
        let mut names: Vec<&str> = configured.iter().map(String::as_str).collect();
        names.push("");
        client
            .execute(
                "insert into mim.tenants (name) select unnest($1::text[]) on conflict (name) do nothing",
                &[&names],
            )
            .await?;
        let rows = client
            .query(
                "select name, id from mim.tenants where name = any($1::text[])",
                &[&names],
            )
            .await?;
        let numbers = rows
            .iter()
            .map(|row| (row.get(0), TenantId(row.get(1))))
            .collect();
        *self.numbers.write().unwrap_or_else(PoisonError::into_inner) = numbers;
        Ok(())
    }
}
