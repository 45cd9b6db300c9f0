//! Which tenants there are: those of the configuration, and, where writes may make them, those that are in the database. One that the
//! configuration drops is there for nobody, and its data goes ([`crate::store::drop`]).

use crate::store::quota::{self, Quotas};
use crate::store::{Store, StoreError, TenantId};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};
use tokio_postgres::Client;

/// The most tenants that a database has where writes make them, the default one and those of the configuration included.
/// Each costs little, but who makes them is not known.
pub const MAX_TENANTS: i64 = 1000;
/// The key of the lock that makes one tenant at a time: "mimt" in ASCII.
const LOCK_KEY: i64 = 0x6d69_6d74;

const LOCK: &str = "select pg_advisory_xact_lock($1)";
const MAKE: &str = "with made as ( \
    insert into mim.tenants (name) select $1::text where (select count(*) from mim.tenants) < $2::bigint \
    on conflict (name) do nothing returning id) \
  select id from made union all select id from mim.tenants where name = $1::text limit 1";
const FIND: &str = "select id from mim.tenants where name = $1";
const NAME: &str = "select coalesce(was, name) from mim.tenants where id = $1";
/// Marks tenants as dropped, under names that no request can have.
const DROP: &str = "update mim.tenants set was = name, name = '#' || id, dropped = clock_timestamp() \
  where name = any($1::text[]) and name <> '' and dropped is null returning was";
const KEEP: &str = "insert into mim.tenants (name) select unnest($1::text[]) on conflict (name) do nothing";
const THERE: &str =
    "select name, id from mim.tenants where dropped is null and ($2 or name = any($1::text[]))";
/// The default tenant is as old as the schema.
const MADE: &str = "select created from mim.tenants where name = ''";

/// What the configuration says of tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Their names, beside the default tenant.
    pub names: Vec<String>,
    /// Whether the first write to a tenant makes it.
    pub on_first_write: bool,
    /// Names of tenants whose data is to go. One that is in [`Self::names`] as well is not dropped.
    pub dropped: Vec<String>,
    /// What each may have.
    pub quotas: Quotas,
}

/// Names and numbers. The number of a name never changes, so it is read once.
#[derive(Default)]
pub struct Tenants {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    numbers: HashMap<String, TenantId>,
    /// Also of those that are not configured any more.
    names: HashMap<TenantId, String>,
    on_first_write: bool,
    dropped: HashSet<String>,
    /// Those of the configuration that are not in the database: it cannot make them at the moment.
    awaited: HashSet<String>,
}

impl Known {
    fn makes(&self, name: &str) -> bool {
        self.on_first_write && !self.dropped.contains(name)
    }
}

impl Tenants {
    /// The number of a tenant; the empty name is the default tenant.
    pub fn find(&self, name: &str) -> Option<TenantId> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.numbers.get(name).copied()
    }

    /// All that are there at this moment, by name.
    pub fn all(&self) -> Vec<(String, TenantId)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known
            .numbers
            .iter()
            .map(|(name, number)| (name.clone(), *number))
            .collect();
        drop(known);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Whether the database lacks some that are configured.
    pub fn some_are_awaited(&self) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        !known.awaited.is_empty()
    }

    fn awaits(&self, name: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.awaited.contains(name)
    }

    fn name(&self, tenant: TenantId) -> Option<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.names.get(&tenant).cloned()
    }

    fn remember(&self, tenant: TenantId, name: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.names.insert(tenant, name.to_owned());
    }

    /// Whether the first write to this tenant makes it.
    fn makes(&self, name: &str) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.makes(name)
    }

    fn learn(&self, name: &str, number: TenantId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // The configuration may have changed while the database was asked.
        if known.makes(name) {
            known.numbers.insert(name.to_owned(), number);
            known.names.insert(number, name.to_owned());
        }
    }

    /// Learns which of those that are wanted are there, and forgets those that are not configured any more, unless
    /// writes may make tenants: then all that are there are known.
    pub async fn learn_all(&self, client: &Client, wanted: &Wanted) -> Result<(), tokio_postgres::Error> {
        let rows = client
            .query(THERE, &[&wanted.all_names(), &wanted.on_first_write])
            .await?;
        let rows = rows
            .iter()
            .map(|row| (row.get::<_, String>(0), TenantId(row.get(1))));
        let rows: Vec<_> = rows.collect();
        let dropped = wanted.dropped_names();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !(known.on_first_write && wanted.on_first_write) {
            known.numbers.clear();
        }
        // One that a request has learned of meanwhile stays known.
        known
            .names
            .extend(rows.iter().map(|(name, number)| (*number, name.clone())));
        known.numbers.extend(rows);
        known.numbers.retain(|name, _| !dropped.contains(name));
        let awaited = wanted
            .names
            .iter()
            .filter(|name| !known.numbers.contains_key(*name));
        known.awaited = awaited.cloned().collect();
        known.on_first_write = wanted.on_first_write;
        known.dropped = dropped;
        Ok(())
    }
}

impl Wanted {
    /// Those of the configuration, and the default one.
    fn all_names(&self) -> Vec<&str> {
        let names = self.names.iter().map(String::as_str);
        names.chain(std::iter::once("")).collect()
    }

    fn dropped_names(&self) -> HashSet<String> {
        let dropped = self.dropped.iter().filter(|name| !self.names.contains(name));
        dropped.cloned().collect()
    }

    /// Makes rows for new names, and marks those that are dropped. Data of what is not dropped always stays.
    pub async fn keep(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let dropped = self.dropped_names();
        if !dropped.is_empty() {
            let dropped: Vec<&String> = dropped.iter().collect();
            for row in client.query(DROP, &[&dropped]).await? {
                let tenant: String = row.get(0);
                tracing::warn!(tenant, "a tenant is dropped: its data goes");
            }
        }
        // Before any is made: one that is made under its limits needs no counting.
        quota::set(client, &self.quotas).await?;
        client.execute(KEEP, &[&self.all_names()]).await.map(drop)
    }
}

impl Store {
    /// The number of a tenant that this replica knows; the empty name is the default tenant. `None`: no such tenant.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<TenantId> {
        self.tenants.find(name)
    }

    /// The name of a tenant; empty for the default one. Also of one that was taken off the list: what waits there is
    /// still told, and whose it is.
    pub async fn tenant_name(&self, tenant: TenantId) -> Result<String, StoreError> {
        if let Some(name) = self.tenants.name(tenant) {
            return Ok(name);
        }
        let rows = self.pool.lease().await?.query(NAME, &[&tenant.0]).await?;
        let Some(name) = rows.first().map(|row| row.get::<_, String>(0)) else {
            return Err(StoreError::Internal("a tenant has no name".to_owned()));
        };
        self.tenants.remember(tenant, &name);
        Ok(name)
    }

    /// Whether the first write to this tenant makes it.
    #[must_use]
    pub fn makes_tenant(&self, name: &str) -> bool {
        self.tenants.makes(name)
    }

    /// Whether this tenant is configured and not in the database, which cannot make it at the moment.
    #[must_use]
    pub fn awaits_tenant(&self, name: &str) -> bool {
        self.tenants.awaits(name)
    }

    /// Learns of a tenant that another replica has made. Where only the configuration makes tenants there is none.
    pub async fn learn_tenant(&self, name: &str) -> Result<(), StoreError> {
        if self.makes_tenant(name) && self.tenant(name).is_none() {
            let rows = self.pool.lease().await?.query(FIND, &[&name]).await?;
            if let Some(row) = rows.first() {
                self.tenants.learn(name, TenantId(row.get(0)));
            }
        }
        Ok(())
    }

    /// When the database was made: the same for all replicas, also after it was dumped and restored.
    pub async fn made(&self) -> Result<Timestamp, StoreError> {
        let rows = self.pool.lease().await?.query(MADE, &[]).await?;
        let made = rows.first().map(|row| row.get(0));
        made.ok_or_else(|| StoreError::Internal("the default tenant is not in the database".to_owned()))
    }

    /// Makes a tenant; of several replicas that do, each gets the same number. `None`: there are as many as there may be.
    pub async fn make_tenant(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let mut lease = self.pool.lease().await?;
        lease.begin(LOCK, &[&LOCK_KEY]).await?;
        let rows = lease.commit(MAKE, &[&name, &MAX_TENANTS]).await?;
        let number = rows.first().map(|row| TenantId(row.get(0)));
        if let Some(number) = number {
            self.tenants.learn(name, number);
        }
        Ok(number)
    }
}
