//! Indexes that views ask for: built while writes go on, by one replica at a time, over a session of its own. What a build that was broken off
//! has left, and what nobody asks for any more, is dropped.

use crate::contract::sql::index_for;
use crate::contract::view::Definition;
use crate::model::json::Json;
use crate::store::connect::{Target, connect};
use crate::store::contract::words;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::{Client, Error};

/// How often each replica looks, and where the configuration has no contract.
const LOOK: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_mins(1);
/// How long to wait after an index could not be built.
const AGAIN: Duration = Duration::from_mins(1);
/// The key of the lock of whoever builds: "mimi" in ASCII.
const LOCK_KEY: i64 = 0x6d69_6d69;

const WANTED: &str = "select v.tenant, v.definition::text from mim.contract_views v join mim.tenants t on t.id = v.tenant \
  where t.dropped is null";
const THERE: &str = "select c.relname::text, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid \
  where i.indrelid = 'mim.entities'::regclass and c.relname like 'contract\\_%'";
/// A build may take hours; it ends with the session, should this replica end.
const NO_HURRY: &str = "set statement_timeout = 0; set lock_timeout = 0; set maintenance_work_mem = '64MB'";

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
struct Work {
    drop: Vec<String>,
    /// Statements.
    make: Vec<String>,
}

impl Work {
    fn between(wanted: &BTreeMap<String, String>, there: &[(String, bool)]) -> Self {
        let valid = |name: &String| there.iter().any(|(n, is_valid)| n == name && *is_valid);
        Self {
            drop: there
                .iter()
                .filter(|(name, is_valid)| !is_valid || !wanted.contains_key(name))
                .map(|(name, _)| name.clone())
                .collect(),
            make: wanted
                .iter()
                .filter(|(name, _)| !valid(name))
                .map(|(_, make)| make.clone())
                .collect(),
        }
    }

    fn is_none(&self) -> bool {
        self.drop.is_empty() && self.make.is_empty()
    }
}

/// By name, the statement that makes each index.
fn wanted(views: impl Iterator<Item = (i32, String)>) -> BTreeMap<String, String> {
    let mut wanted = BTreeMap::new();
    for (tenant, text) in views {
        let definition = Json::parse_stored(&text).ok();
        let Some(definition) = definition.as_ref().and_then(Definition::stored) else {
            continue;
        };
        let columns = definition.columns.iter().filter(|column| column.indexed);
        wanted.extend(columns.map(|column| index_for(tenant, &definition, column)));
    }
    wanted
}

impl Store {
    /// Keeps the indexes as views ask for them, for ever.
    pub async fn keep_contract_indexes(self) {
        let mut wait = LOOK;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.contract.changed.notified() => {}
            }
            wait = if self.contract.is_configured() {
                LOOK
            } else {
                SELDOM
            };
            let Some(target) = self.pool.target() else {
                continue;
            };
            match self.index_work().await {
                Ok(work) if work.is_none() => self.contract.tell("indexes", None),
                Ok(_) => match build(&target).await {
                    Ok(()) => self.contract.tell("indexes", None),
                    Err(why) => {
                        self.contract.tell(
                            "indexes",
                            Some(format!("indexes of the contract cannot be built: {why}")),
                        );
                        wait = AGAIN;
                    }
                },
                // Where the database does not serve, the keeper says so.
                Err(error) => tracing::debug!(%error, "indexes of the contract are looked at later"),
            }
        }
    }

    async fn index_work(&self) -> Result<Work, StoreError> {
        let mut lease = self.pool.lease().await?;
        let views = lease.query(WANTED, &[]).await?;
        let there = lease.query(THERE, &[]).await?;
        let there: Vec<_> = there.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(Work::between(
            &wanted(views.iter().map(|row| (row.get(0), row.get(1)))),
            &there,
        ))
    }
}

/// Does what is to be done, unless another replica is at it.
async fn build(target: &Target) -> Result<(), String> {
    let session = connect(target).await.map_err(|trouble| trouble.to_string())?;
    build_over(&session.client).await.map_err(|error| words(&error))
}

async fn build_over(client: &Client) -> Result<(), Error> {
    client.batch_execute(NO_HURRY).await?;
    let alone = client
        .query_one("select pg_try_advisory_lock($1)", &[&LOCK_KEY])
        .await?;
    if !alone.get::<_, bool>(0) {
        return Ok(());
    }
    // Only who has the lock can tell an index that is being built from one that was left.
    let views = client.query(WANTED, &[]).await?;
    let there = client.query(THERE, &[]).await?;
    let there: Vec<(String, bool)> = there.iter().map(|row| (row.get(0), row.get(1))).collect();
    let work = Work::between(&wanted(views.iter().map(|row| (row.get(0), row.get(1)))), &there);
    for name in work.drop {
        // Names are of ours: letters, digits and underscores.
        client
            .batch_execute(&format!("drop index concurrently if exists mim.{name}"))
            .await?;
        tracing::info!(index = name, "an index of the contract that is of no use is gone");
    }
    for make in work.make {
        client.batch_execute(&make).await?;
        tracing::info!("an index of the contract was built");
    }
    // The planner knows nothing yet of what an expression gives.
    client.batch_execute("analyze (skip_locked) mim.entities").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_invalid_or_not_wanted_goes() {
        let wanted: BTreeMap<_, _> = ["a", "b", "c"]
            .map(|n| (n.to_owned(), format!("make {n}")))
            .into();
        let there = [("a", true), ("b", false), ("d", true)].map(|(n, v)| (n.to_owned(), v));
        let work = Work::between(&wanted, &there);
        assert_eq!(work.drop, ["b", "d"]);
        assert_eq!(work.make, ["make b", "make c"]);
        assert!(
            Work::between(
                &wanted,
                &wanted.keys().map(|n| (n.clone(), true)).collect::<Vec<_>>()
            )
            .is_none()
        );
    }
}
