//! Keeps schema and places of each tenant, and takes away those of tenants that were dropped.

use crate::contract::names::{self, identifier};
use crate::contract::view::PLACES;
use crate::contract::{Terms, sql};
use crate::model::json::Json;
use crate::store::connect::{Target, connect};
use crate::store::contract::readers::{self, Readers};
use crate::store::contract::{LOCK, LOCK_KEY, views, words};
use crate::store::{Store, TenantId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_postgres::{Client, Error};

/// How often it is looked whether anything is to be done.
const LOOK: Duration = Duration::from_secs(1);
/// How often the database is asked, though nothing is known to be otherwise.
const CHECK: Duration = Duration::from_mins(1);
/// How long to wait after something could not be done.
const AGAIN: Duration = Duration::from_secs(5);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// The form of the view of places that this broker makes; a newer one is left alone.
const FORM: i32 = 1;

const THERE: &str = "select c.tenant, c.schema, c.role, c.form >= $2 and to_regclass(quote_ident(c.schema) || '.' || $1) is not null \
  from mim.contract_tenants c join mim.tenants t on t.id = c.tenant where t.dropped is null";
const REMEMBER: &str = "insert into mim.contract_tenants (tenant, schema, role, form) values ($1, $2, $3, $4) \
  on conflict (tenant) do update set role = excluded.role, form = excluded.form";
const LEFT_OVER: &str = "select c.tenant, c.schema, c.role from mim.contract_tenants c \
  where not exists (select from mim.tenants t where t.id = c.tenant and t.dropped is null)";
/// What the contract is made of. While it is there, no other way to the database is taken for this one.
struct Source {
    target: Arc<Target>,
    terms: Option<Terms>,
    tenants: Vec<(String, TenantId)>,
    passwords: u64,
}

impl Source {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.target, &other.target)
            && self.terms == other.terms
            && self.tenants == other.tenants
            && self.passwords == other.passwords
    }
}

/// One tenant of the contract.
pub(super) struct Kept {
    pub tenant: TenantId,
    pub schema: String,
    pub role: String,
}

/// One that is there, and whether nothing of it is missing.
struct There {
    kept: Kept,
    is_whole: bool,
}

impl There {
    fn is_as(&self, wanted: &Kept) -> bool {
        self.is_whole && self.kept.role == wanted.role
    }
}

impl Kept {
    fn new(database: &str, name: &str, tenant: TenantId) -> Self {
        Self {
            schema: names::schema(name),
            role: names::role(database, name),
            tenant,
        }
    }
}

impl Store {
    /// Keeps the contract as the configuration and the files of passwords say, for ever.
    pub async fn keep_contract(self, mut terms: watch::Receiver<Option<Terms>>, folder: PathBuf) {
        let mut readers = Readers::new(folder);
        let mut made_of: Option<Source> = None;
        let mut checked = Some(Instant::now());
        loop {
            tokio::time::sleep(LOOK).await;
            let wanted = *terms.borrow_and_update();
            self.contract
                .configured
                .store(wanted.is_some(), Ordering::Relaxed);
            let Some(target) = self.pool.target() else {
                continue;
            };
            readers.look(wanted).await;
            let source = Source {
                target,
                terms: wanted,
                tenants: self.tenants.all(),
                passwords: readers.version(),
            };
            let due = checked.is_none_or(|at| at.elapsed() > CHECK);
            // Where there is no contract, there may still be one from before, of a tenant that was dropped. That has time.
            let is_new = wanted.is_some() && !made_of.as_ref().is_some_and(|before| source.is(before));
            if due || is_new {
                let pass = tokio::time::timeout(PATIENCE, self.keep_all(&source, &mut readers));
                let rest = if pass.await.unwrap_or(false) { CHECK } else { AGAIN };
                // What could not be done is tried again before long.
                checked = Instant::now().checked_sub(CHECK.saturating_sub(rest));
                made_of = Some(source);
            }
            if let Some(terms) = wanted {
                self.end_overdue(terms).await;
            }
        }
    }

    /// Whether there is a contract of a tenant that was dropped.
    async fn has_left_over(&self) -> bool {
        let rows = async { self.pool.lease().await?.query(LEFT_OVER, &[]).await };
        rows.await.is_ok_and(|rows| !rows.is_empty())
    }

    /// Whether everything is as it is to be.
    async fn keep_all(&self, source: &Source, readers: &mut Readers) -> bool {
        let target = &source.target;
        if source.terms.is_none() && !self.has_left_over().await {
            self.contract.tell_only(|_| false);
            return true;
        }
        // Where the database does not serve, the keeper says so.
        let Ok(session) = connect(target).await else {
            return false;
        };
        let client = &session.client;
        let mut whole = take_away(client).await;
        let Some(terms) = source.terms else {
            self.contract.tell_only(|_| false);
            return whole;
        };
        let mut there = match found(client).await {
            Ok(there) => there,
            Err(error) => {
                self.contract.tell("database", Some(words(&error)));
                return false;
            }
        };
        self.contract.tell("database", None);
        let database = &target.settings.dbname;
        let listed = source.tenants.iter().map(|(name, tenant)| {
            let one = Kept::new(database, name, *tenant);
            let found = there.remove(&one.tenant.0);
            (one, found)
        });
        let listed: Vec<(Kept, Option<There>)> = listed.collect();
        // Tenants that are on no list any more keep their data, and what they have here; their readers come and go by their files as well.
        let others: Vec<Kept> = there.into_values().map(|there| there.kept).collect();
        self.contract.tell_only(|of| {
            let mut all = listed.iter().map(|(one, _)| one).chain(&others);
            matches!(of, "database" | "indexes") || all.any(|one| one.schema == of)
        });
        for (one, found) in &listed {
            let made = if found.as_ref().is_some_and(|there| there.is_as(one)) {
                Ok(())
            } else {
                make(client, one, found.is_some()).await
            };
            let trouble = match made {
                Ok(()) => readers.keep(client, target, one, terms).await.err(),
                Err(error) => {
                    let _ = client.batch_execute("rollback").await;
                    Some(format!(
                        "the schema {} cannot be made: {}",
                        one.schema,
                        words(&error)
                    ))
                }
            };
            whole &= trouble.is_none();
            self.contract.tell(&one.schema, trouble);
        }
        for one in &others {
            let trouble = readers.keep(client, target, one, terms).await.err();
            whole &= trouble.is_none();
            self.contract.tell(&one.schema, trouble);
        }
        whole
    }
}

/// What is there: tenants, and whether nothing of theirs is missing.
async fn found(client: &Client) -> Result<BTreeMap<i32, There>, Error> {
    let rows = client.query(THERE, &[&PLACES, &FORM]).await?;
    let there = rows.iter().map(|row| {
        let kept = Kept {
            tenant: TenantId(row.get(0)),
            schema: row.get(1),
            role: row.get(2),
        };
        let is_whole = row.get(3);
        (kept.tenant.0, There { kept, is_whole })
    });
    Ok(there.collect())
}

/// Takes away what is of tenants that were dropped. False: some of it is still there.
async fn take_away(client: &Client) -> bool {
    let Ok(rows) = client.query(LEFT_OVER, &[]).await else {
        return false;
    };
    let mut whole = true;
    for row in rows {
        let (tenant, schema, role): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        match drop_one(client, tenant, &schema, &role).await {
            Ok(()) => tracing::info!(schema, "the contract of a tenant that was dropped is gone"),
            Err(error) => {
                whole = false;
                let _ = client.batch_execute("rollback").await;
                tracing::warn!(
                    schema,
                    why = words(&error),
                    "the contract of a tenant that was dropped could not be taken away yet"
                );
            }
        }
    }
    whole
}

/// Makes schema, places and, where the schema was lost, all views. A schema of that name that is not ours is an error.
async fn make(client: &Client, one: &Kept, is_known: bool) -> Result<(), Error> {
    client.batch_execute("begin").await?;
    client.execute(LOCK, &[&LOCK_KEY]).await?;
    // Another replica may have been here.
    let known = client
        .query(
            "select 1 from mim.contract_tenants where tenant = $1",
            &[&one.tenant.0],
        )
        .await?;
    let if_missing = if is_known || !known.is_empty() {
        "if not exists "
    } else {
        ""
    };
    let schema = identifier(&one.schema);
    client
        .batch_execute(&format!("create schema {if_missing}{schema}"))
        .await?;
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&one.tenant.0, &one.schema, &one.role, &FORM];
    client.execute(REMEMBER, &params).await?;
    client
        .batch_execute(&sql::places(&one.schema, one.tenant.0))
        .await?;
    for row in client.query(views::ALL, &[&one.tenant.0]).await? {
        let (name, text): (String, String) = (row.get(0), row.get(1));
        let definition = Json::parse_stored(&text).ok();
        if let Some(definition) = definition
            .as_ref()
            .and_then(crate::contract::view::Definition::stored)
        {
            let view = sql::view(&one.schema, &name, one.tenant.0, &definition);
            client.batch_execute(&view).await?;
        }
    }
    client.batch_execute("commit").await?;
    tracing::info!(schema = one.schema, "the contract of a tenant is there");
    Ok(())
}

async fn drop_one(client: &Client, tenant: i32, schema: &str, role: &str) -> Result<(), Error> {
    readers::shut_out(client, role).await?;
    client.batch_execute("begin").await?;
    client.execute(LOCK, &[&LOCK_KEY]).await?;
    client
        .batch_execute(&format!("drop schema if exists {} cascade", identifier(schema)))
        .await?;
    client
        .execute("delete from mim.contract_views where tenant = $1", &[&tenant])
        .await?;
    readers::drop(client, role).await?;
    client
        .execute("delete from mim.contract_tenants where tenant = $1", &[&tenant])
        .await?;
    client.batch_execute("commit").await
}
