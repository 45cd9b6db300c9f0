//! What each tenant may have, and how much it has.
//!
//! The limits are in the database, and it holds them, in the transaction of each write: whoever writes, none is ever
//! exceeded by what they are there to count. Here the configuration is brought there, and what gets a limit while it
//! has data is counted: nobody waits for that, and until then nothing is refused. How and why:
//! `docs/decisions/0017-quotas.md`.

use crate::server::metrics::Metrics;
use crate::store::connect::connect;
use crate::store::pool::Lease;
use crate::store::rows::Columns;
use crate::store::{Store, StoreError, TenantId};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

/// How often each replica looks whether something is to be counted, and how much there is.
const LOOK: Duration = Duration::from_secs(2);
/// The code with which the database refuses what is more than a tenant may have. Brokers from before quotas take it for
/// what it resembles, a limit of the program, and answer 400 with the same words.
const REFUSED: &str = "54Q01";
/// The name of what holds for each tenant that is not named; no tenant can have it.
const EACH: &str = "*";
/// The key of the lock of whoever counts: "mimc" in ASCII.
const COUNTING: i64 = 0x6d69_6d63;

/// What the configuration says of limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Quotas {
    /// What each tenant may have, the default one included.
    #[serde(flatten)]
    pub each: May,
    /// Tenants that may have something else. What is absent there has no limit.
    pub tenants: Vec<OfTenant>,
}

/// What a tenant may have; absent: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct May {
    /// Entities.
    pub entities: Option<u64>,
    /// Subscriptions.
    pub subscriptions: Option<u64>,
    /// Bytes of entities.
    pub bytes: Option<u64>,
}

/// What one tenant may have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OfTenant {
    /// Its name; empty for the default tenant.
    pub tenant: String,
    /// What it may have.
    #[serde(flatten)]
    pub may: May,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Entities.
    Entities,
    /// Subscriptions.
    Subscriptions,
    /// Bytes of entities.
    Bytes,
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Entities, Self::Subscriptions, Self::Bytes];

    /// The name, as the database and the configuration have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Entities => "entities",
            Self::Subscriptions => "subscriptions",
            Self::Bytes => "bytes",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quota| quota.name() == name)
    }
}

/// More than a tenant may have was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// Of what.
    quota: Quota,
    /// Which limit, what is used of it, and what to do, in words for clients.
    words: String,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Over {
    /// What the database says, if it is this.
    pub(super) fn of(error: &DbError) -> Option<Self> {
        if *error.code() != SqlState::from_code(REFUSED) {
            return None;
        }
        Some(Self {
            quota: Quota::named(error.detail()?)?,
            words: error.message().to_owned(),
        })
    }
}

/// What a batch was refused for, and keeps to when it is tried again.
#[derive(Default)]
pub(super) struct Limits(Vec<Limit>);

struct Limit {
    over: Over,
    /// Others were faster before: only what goes makes room.
    again: bool,
}

/// Entities that do not fit, and why.
pub(super) type LeftOut = BTreeMap<String, Over>;

/// How much there may still be.
const ROOM: &str = "select most - used from mim.usage where tenant = $1 and quota = $2";
/// How many bytes entities have more than those of the same ids that are there.
const GROWTH: &str = "select u.id, \
    mim.entity_bytes(u.id, string_to_array(u.types, E'\\x1f'), string_to_array(u.scope, E'\\x1f'), u.attrs::jsonb) \
      - coalesce(mim.entity_bytes(e.id, e.types, e.scope, e.attrs), 0) \
  from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as u(id, types, scope, attrs) \
    left join mim.entities e on e.tenant = $1 and e.id = u.id order by u.id";

impl Limits {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes note of a refusal; false where it is of no use to try again. A batch is tried again twice for each quota:
    /// with what room there is, and if others take that meanwhile, with none, which cannot be refused.
    pub(super) fn note(&mut self, over: &Over) -> bool {
        let known = self.0.iter_mut().find(|limit| limit.over.quota == over.quota);
        if let Some(limit) = known {
            return !std::mem::replace(&mut limit.again, true);
        }
        self.0.push(Limit {
            over: over.clone(),
            again: false,
        });
        true
    }

    /// Which of these entities, which are new, and of those, which are there or new and then change, are to be left out.
    /// The rows of those that are there must be locked.
    pub(super) async fn left_out(
        &self,
        lease: &mut Lease,
        tenant: TenantId,
        new: &Columns,
        changed: &Columns,
    ) -> Result<LeftOut, StoreError> {
        let mut left_out = LeftOut::new();
        for Limit { over, again } in &self.0 {
            let rows = lease.within(ROOM, &[&tenant.0, &over.quota.name()]).await?;
            // None: it has no limit any more.
            let Some(room) = rows.first().map(|row| if *again { 0 } else { row.get(0) }) else {
                continue;
            };
            let steps = if over.quota == Quota::Bytes {
                let made = growth(lease, tenant, new).await?;
                let mut then = growth(lease, tenant, changed).await?;
                for (id, more) in &mut then {
                    *more -= made.get(id).unwrap_or(&0);
                }
                [made, then]
            } else {
                [new.ids.iter().map(|id| (id.clone(), 1)).collect(), Growth::new()]
            };
            for id in beyond(room, steps, &left_out) {
                left_out.insert(id, over.clone());
            }
        }
        Ok(left_out)
    }
}

/// How much more there is of each entity.
type Growth = BTreeMap<String, i64>;

async fn growth(lease: &mut Lease, tenant: TenantId, entities: &Columns) -> Result<Growth, StoreError> {
    let Columns {
        ids,
        types,
        scopes,
        attrs,
        ..
    } = entities;
    let rows = lease
        .within(GROWTH, &[&tenant.0, ids, types, scopes, attrs])
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What does not fit, by id, of what several statements write one after the other. The database judges each of them as a
/// whole, so what shrinks in one makes room for what grows in it, and not for what grew before.
fn beyond(mut room: i64, steps: [Growth; 2], without: &LeftOut) -> BTreeSet<String> {
    let mut beyond = BTreeSet::new();
    for mut step in steps {
        step.retain(|id, _| !without.contains_key(id) && !beyond.contains(id));
        room -= step.values().filter(|more| **more < 0).sum::<i64>();
        for (id, more) in step.into_iter().filter(|(_, more)| *more > 0) {
            if more <= room {
                room -= more;
            } else {
                beyond.insert(id);
            }
        }
    }
    beyond
}

/// Brings the limits of the configuration into the database. From then on they hold, for every replica; those of what
/// has data already as soon as it is counted.
pub(super) async fn set(client: &Client, quotas: &Quotas) -> Result<(), tokio_postgres::Error> {
    let number = |limit: Option<u64>| limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let of_tenants = quotas.tenants.iter().map(|of| (of.tenant.as_str(), of.may));
    let (mut names, mut entities, mut subscriptions, mut bytes) = (vec![], vec![], vec![], vec![]);
    let mut seen = HashSet::new();
    for (name, may) in of_tenants.chain([(EACH, quotas.each)]) {
        // The first of several counts, as nothing else can be said of a list that names one twice.
        if seen.insert(name) {
            names.push(name);
            entities.push(number(may.entities));
            subscriptions.push(number(may.subscriptions));
            bytes.push(number(may.bytes));
        }
    }
    client
        .execute(
            "select mim.set_quotas($1, $2, $3, $4)",
            &[&names, &entities, &subscriptions, &bytes],
        )
        .await?;
    Ok(())
}

/// Notes from when on nobody writes who may not have seen what is to be counted.
const NOTICE: &str = "update mim.usage set since = pg_snapshot_xmax(pg_current_snapshot()) \
  where since is null and not counted";
/// Whether something can be counted, and nobody is at it.
const FREE: &str = "select 1 where pg_try_advisory_xact_lock($1) and exists (select from mim.usage \
  where not counted and since <= pg_snapshot_xmin(pg_current_snapshot()))";
/// What can be counted: all who may not have seen it have ended.
const DUE: &str = "select tenant, quota, since::text from mim.usage \
  where not counted and since <= pg_snapshot_xmin(pg_current_snapshot()) order by quota desc, tenant limit 1";
/// How much there is, and how much of that was taken note of already, as of one moment.
const COUNT: [&str; 3] = [
    "select u.used, (select count(*) from mim.entities e where e.tenant = $1) \
      from mim.usage u where u.tenant = $1 and u.quota = 'entities'",
    "select u.used, (select count(*) from mim.subscriptions s where s.tenant = $1) \
      from mim.usage u where u.tenant = $1 and u.quota = 'subscriptions'",
    "select u.used, (select coalesce(sum(mim.entity_bytes(e.id, e.types, e.scope, e.attrs)), 0)::bigint \
        from mim.entities e where e.tenant = $1) \
      from mim.usage u where u.tenant = $1 and u.quota = 'bytes'",
];
const COUNTED: &str = "update mim.usage set used = used + $3, counted = true \
  where tenant = $1 and quota = $2 and since::text = $4 and not counted";
/// Of each limit: for how many tenants, of how many what is used is not known yet, how many have used nine tenths of it
/// and all of it, and the greatest share that one has used.
const SUMMARY: &str = "select quota, count(*), count(*) filter (where not counted), \
    count(*) filter (where counted and used >= most * 0.9), count(*) filter (where counted and used >= most), \
    coalesce(max(used::float8 / greatest(most, 1)) filter (where counted), 0) \
  from mim.usage group by quota";

/// How tenants fare with one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many have it.
    pub limited: i64,
    /// Of how many it is being counted what they have.
    pub counting: i64,
    /// How many have nine tenths of it, or more.
    pub nearly_full: i64,
    /// How many have all of it, or more.
    pub full: i64,
    /// The greatest share of it that one has.
    pub greatest_share: f64,
}

impl Store {
    /// Counts what gets a limit, and tells how tenants fare; runs for ever.
    pub async fn keep_count(self, metrics: Arc<Metrics>) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.pool.trouble().is_some() {
                continue;
            }
            if let Err(error) = self.look_after_quotas(&metrics).await {
                tracing::debug!(%error, "what tenants have is counted later");
            }
        }
    }

    async fn look_after_quotas(&self, metrics: &Metrics) -> Result<(), StoreError> {
        let rows = self.pool.lease().await?.query(SUMMARY, &[]).await?;
        let mut counting = 0;
        for quota in Quota::ALL {
            let row = rows.iter().find(|row| row.get::<_, &str>(0) == quota.name());
            let summary = row.map_or_else(Summary::default, |row| Summary {
                limited: row.get(1),
                counting: row.get(2),
                nearly_full: row.get(3),
                full: row.get(4),
                greatest_share: row.get(5),
            });
            counting += summary.counting;
            metrics.quota(quota, &summary);
        }
        if counting > 0 {
            let mut lease = self.pool.lease().await?;
            lease.query(NOTICE, &[]).await?;
            let free = lease.query(FREE, &[&COUNTING]).await?;
            drop(lease);
            if !free.is_empty() {
                self.count_all().await?;
            }
        }
        Ok(())
    }

    /// Counts what can be counted, on a connection of its own, as that may take long; one replica at a time.
    async fn count_all(&self) -> Result<(), StoreError> {
        let Some(target) = self.pool.target() else {
            return Ok(());
        };
        let down = |_| StoreError::Unavailable("it cannot be reached".to_owned());
        let session = connect(&target).await.map_err(down)?;
        let client = &session.client;
        client.batch_execute("set statement_timeout = '1h'").await?;
        let free = client.query_one("select pg_try_advisory_lock($1)", &[&COUNTING]);
        if free.await?.get(0) {
            while count_one(client).await? {}
        }
        session.end().await;
        Ok(())
    }
}

/// Counts one thing of one tenant; false when there is nothing to count.
async fn count_one(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let Some(due) = client.query_opt(DUE, &[]).await? else {
        return Ok(false);
    };
    let (tenant, name, since): (i32, &str, &str) = (due.get(0), due.get(1), due.get(2));
    let [entities, subscriptions, bytes] = COUNT;
    let count = match Quota::named(name) {
        Some(Quota::Entities) => entities,
        Some(Quota::Subscriptions) => subscriptions,
        _ => bytes,
    };
    // None: it has no limit any more.
    if let Some(row) = client.query_opt(count, &[&tenant]).await? {
        let (noted, there): (i64, i64) = (row.get(0), row.get(1));
        let more = there - noted;
        client.execute(COUNTED, &[&tenant, &name, &more, &since]).await?;
        tracing::info!(
            tenant,
            quota = name,
            there,
            "what a tenant has was counted; its quota holds from now on"
        );
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth<const N: usize>(of: [(&str, i64); N]) -> Growth {
        of.map(|(id, more)| (id.to_owned(), more)).into()
    }

    fn over(quota: Quota) -> Over {
        let words = String::new();
        Over { quota, words }
    }

    fn left(room: i64, steps: [Growth; 2]) -> Vec<String> {
        beyond(room, steps, &LeftOut::new()).into_iter().collect()
    }

    #[test]
    fn what_fits_is_what_there_is_room_for_and_what_makes_room_itself() {
        let new = || growth([("a", 4), ("b", 7), ("c", 6)]);
        assert_eq!(left(17, [new(), growth([])]), Vec::<String>::new());
        assert_eq!(left(10, [new(), growth([])]), ["b"], "the first that fit");
        assert_eq!(left(0, [new(), growth([])]), ["a", "b", "c"]);
        assert_eq!(
            left(-1, [growth([]), growth([("d", 0), ("e", -1)])]),
            Vec::<String>::new()
        );
        let changed = growth([("d", 3), ("e", -5), ("f", 9)]);
        assert_eq!(
            left(3, [new(), changed]),
            ["a", "b", "c", "f"],
            "what shrinks makes no room for what is written before it"
        );
        let again = growth([("a", 5), ("b", -6)]);
        assert_eq!(
            left(4, [new(), again]),
            ["a", "b", "c"],
            "what is not made makes no room, and goes as a whole"
        );
        let without = LeftOut::from([("a".to_owned(), over(Quota::Entities))]);
        assert!(beyond(13, [new(), growth([])], &without).is_empty());
    }

    #[test]
    fn a_batch_is_tried_again_twice_for_each_quota_and_no_more() {
        let mut limits = Limits::default();
        let tries = [
            Quota::Entities,
            Quota::Bytes,
            Quota::Bytes,
            Quota::Entities,
            Quota::Bytes,
        ];
        let of = |quota| limits.note(&over(quota));
        assert_eq!(tries.map(of), [true, true, true, true, false]);
    }

    #[test]
    fn every_quota_is_found_by_its_name() {
        for quota in Quota::ALL {
            assert_eq!(Quota::named(quota.name()), Some(quota));
        }
        assert_eq!(Quota::named("history"), None);
    }
}
