//! `@contexts` of tenants (clause 5.13), and what all tenants and replicas share of those from elsewhere.
//!
//! What a tenant adds (Hosted) or the broker makes for it (ImplicitlyCreated) is the tenant's data, and seen by nobody
//! else: clause 5.5.10 makes the tenant the bound of every operation, and clause 5.13 has no exception. Of a Cached
//! context a tenant has a record of its own, that it uses the URL and how often, since the list of URLs that somebody
//! uses tells much. The document behind the URL belongs to whoever serves it and is the same for every tenant: it is
//! kept once, so that a hundred tenants fetch it once, and a replica that starts while its server is away has it.

use crate::context::shelf::{Brought, Fetched, Put, Shelf};
use crate::context::uses::{Part, Used};
use crate::store::{Store, StoreError, TenantId};
use jiff::Timestamp;
use std::fmt;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

/// How many contexts a tenant may keep, and how many bytes they may have together.
pub const MAX_OWN: i64 = 10_000;
/// See [`MAX_OWN`].
pub const MAX_OWN_BYTES: i64 = 256 * 1024 * 1024;
/// How many contexts a tenant has at most that came with queries, and how many bytes they may have together. Those used
/// longest ago go.
const MAX_ASKED: i64 = 1000;
/// See [`MAX_ASKED`].
const MAX_ASKED_BYTES: i64 = 32 * 1024 * 1024;
/// How many Cached contexts a tenant has at most. Those used longest ago go.
const MAX_CACHED: i64 = 1000;
/// How many documents from elsewhere are kept, and how many bytes they may have together. Those fetched longest ago go.
const MAX_DOCUMENTS: i64 = 512;
const MAX_DOCUMENT_BYTES: i64 = 64 * 1024 * 1024;

/// How a context came to be there (clause 5.13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client has added it.
    Hosted,
    /// The broker has fetched it.
    Cached,
    /// The broker has made it, of what a client sent where only a URL can be told.
    ImplicitlyCreated,
}

impl Kind {
    /// As clients and the database have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hosted => "Hosted",
            Self::Cached => "Cached",
            Self::ImplicitlyCreated => "ImplicitlyCreated",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Hosted, Self::Cached, Self::ImplicitlyCreated]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a context, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id in this broker.
    pub id: String,
    /// How it came to be there.
    pub kind: Kind,
    /// Where it comes from; `None` where it comes from this broker.
    pub url: Option<String>,
    /// How many bytes its content has; 0 of a Cached one.
    pub size: usize,
    /// Since when it is there.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Option<Timestamp>,
    /// How often it was used.
    pub hits: i64,
}

const LIST: &str = "select id, kind, url, size, created, used, hits from mim.contexts \
    where tenant = $1 and ($2::text is null or kind = $2) order by created, id";

const FIND: &str = "select id, kind, url, size, created, used, hits from mim.contexts \
    where tenant = $1 and id = $2 union all \
    select id, kind, url, size, created, used, hits from mim.contexts \
    where tenant = $1 and url = $2 limit 1";

const CONTENT: &str = "select document from mim.contexts where tenant = $1 and id = $2";

const ADD: &str = "insert into mim.contexts (tenant, id, kind, document, size) \
    select $1, gen_random_uuid()::text, $2, $3, octet_length($3) \
    where (select count(*) < $4 and coalesce(sum(size), 0) + octet_length($3) <= $5 \
        from mim.contexts where tenant = $1 and url is null and substr(id, 15, 1) <> '8') \
    returning id";

/// Contexts that came with queries are known by their ids: of version 8, where others are random.
const KEEP_ASKED: &str = "with put as (insert into mim.contexts (tenant, id, kind, document, size) \
        values ($1, $2, 'ImplicitlyCreated', $3, octet_length($3)) on conflict (tenant, id) do nothing), \
    ranked as (select id, row_number() over latest as n, sum(size) over latest as total from mim.contexts \
        where tenant = $1 and url is null and substr(id, 15, 1) = '8' and id <> $2 \
        window latest as (order by coalesce(used, created) desc, id)), \
    over as (select c.tenant, c.id from mim.contexts c join ranked r on c.tenant = $1 and c.id = r.id \
        where r.n >= $4 or r.total + octet_length($3) > $5 order by c.id for update of c skip locked), \
    gone as (delete from mim.contexts c using over o where c.tenant = o.tenant and c.id = o.id returning c.id) \
    update mim.context_epoch set epoch = epoch + 1 where exists (select from gone)";

/// The document goes too, unless another tenant uses it: then it is fetched anew before it is used again. When it was
/// deleted is kept for as long as a replica may hold uses that it could not write.
const DELETE: &str = "with gone as (delete from mim.contexts where tenant = $1 and id = $2 returning url), \
    noted as (insert into mim.deleted_contexts (tenant, url, deleted) \
        select $1, g.url, $3 from gone g where g.url is not null \
        on conflict (tenant, url) do update set deleted = greatest(deleted_contexts.deleted, excluded.deleted)), \
    forgotten as (delete from mim.deleted_contexts d where d.deleted < now() - interval '1 hour' \
        and not exists (select from gone g where d.tenant = $1 and d.url = g.url)), \
    shared as (select g.url from gone g where exists \
        (select from mim.contexts c where c.url = g.url and c.tenant <> $1)), \
    dropped as (delete from mim.context_documents d using gone g \
        where d.url = g.url and not exists (select from shared)), \
    due as (update mim.context_documents d set due = true from shared s where d.url = s.url) \
    update mim.context_epoch set epoch = epoch + 1 where exists (select from gone) returning epoch";

const EPOCH: &str = "select epoch from mim.context_epoch";

/// Who changes what copies are made of takes this first, so nobody waits for another one in a circle.
const LOCK: &str = "select epoch from mim.context_epoch for update";

/// Who counts uses sees each deletion whole or comes before it.
const LOCK_TO_COUNT: &str = "select epoch from mim.context_epoch for share";

const FETCHED: &str =
    "select document, fetched, due from mim.context_documents where url = $1 and guard = $2";

const PUT: &str = "with old as (select document from mim.context_documents where url = $1), \
    put as (insert into mim.context_documents (url, guard, document, size, fetched) \
        values ($1, $2, $3, octet_length($3), $4) \
        on conflict (url) do update set guard = excluded.guard, document = excluded.document, \
            size = excluded.size, fetched = excluded.fetched, due = false \
        where $5 or context_documents.fetched <= excluded.fetched returning url), \
    changed as (update mim.context_epoch set epoch = epoch + 1 \
        where exists (select from put) and ($5 or exists (select from old where document <> $3))), \
    ranked as (select url, row_number() over newest as n, sum(size) over newest as total \
        from mim.context_documents window newest as (order by fetched desc, url)), \
    trimmed as (delete from mim.context_documents d using ranked r \
        where d.url = r.url and d.url <> $1 and (r.n >= $6 or r.total > $7)) \
    select exists (select from put)";

const COUNT_CACHED: &str = "insert into mim.contexts (tenant, id, kind, url, used, hits) \
    select u.tenant, gen_random_uuid()::text, 'Cached', u.url, u.used, u.hits \
    from unnest($1::integer[], $2::text[], $3::timestamptz[], $4::bigint[]) as u(tenant, url, used, hits) \
    where not exists (select from mim.deleted_contexts d \
        where d.tenant = u.tenant and d.url = u.url and d.deleted >= u.used) \
    on conflict (tenant, url) where url is not null do update \
        set hits = contexts.hits + excluded.hits, used = greatest(contexts.used, excluded.used) \
    returning tenant, xmax = 0";

const COUNT_OWN: &str = "with u as (select * from unnest($1::integer[], $2::text[], $3::timestamptz[], $4::bigint[]) \
        as u(tenant, id, used, hits)), \
    locked as (select c.tenant, c.id from mim.contexts c join u on u.tenant = c.tenant and u.id = c.id \
        order by c.tenant, c.id for no key update of c) \
    update mim.contexts c set hits = c.hits + u.hits, used = greatest(c.used, u.used) \
    from locked l join u on u.tenant = l.tenant and u.id = l.id where c.tenant = l.tenant and c.id = l.id";

const TRIM: &str = "delete from mim.contexts c using \
    (select tenant, id, row_number() over (partition by tenant order by used desc, id) as n \
        from mim.contexts where tenant = any($1) and url is not null) r \
    where c.tenant = r.tenant and c.id = r.id and r.n > $2";

fn record(row: &Row) -> Result<Record, StoreError> {
    let kind: &str = row.get(1);
    Ok(Record {
        id: row.get(0),
        kind: Kind::named(kind)
            .ok_or_else(|| StoreError::Internal(format!("there is a context of the kind {kind}")))?,
        url: row.get(2),
        size: usize::try_from(row.get::<_, i32>(3)).unwrap_or_default(),
        created: row.get(4),
        used: row.get(5),
        hits: row.get(6),
    })
}

impl Store {
    /// The contexts of a tenant, of one kind or of all, in the order in which they came.
    pub async fn contexts(&self, tenant: TenantId, kind: Option<Kind>) -> Result<Vec<Record>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(LIST, &[&tenant.0, &kind.map(Kind::name)]).await?;
        rows.iter().map(record).collect()
    }

    /// The context of this id, or the Cached one of this URL.
    pub async fn context(&self, tenant: TenantId, name: &str) -> Result<Option<Record>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(FIND, &[&tenant.0, &name]).await?;
        rows.first().map(record).transpose()
    }

    /// The value of `@context` of one that this broker keeps.
    pub async fn context_content(&self, tenant: TenantId, id: &str) -> Result<Option<String>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease.query(CONTENT, &[&tenant.0, &id]).await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    /// Keeps a context of a tenant and gives its id; `None` where the tenant has as many as it may. It is found by all
    /// replicas from then on.
    pub async fn add_context(
        &self,
        tenant: TenantId,
        kind: Kind,
        context: &str,
    ) -> Result<Option<String>, StoreError> {
        let mut lease = self.pool.lease().await?;
        let rows = lease
            .query(
                ADD,
                &[&tenant.0, &kind.name(), &context, &MAX_OWN, &MAX_OWN_BYTES],
            )
            .await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// Keeps a context that came with a query, under the id that its content has. Those that were asked with longest ago
    /// make way.
    pub async fn keep_asked(&self, tenant: TenantId, id: &str, context: &str) -> Result<(), StoreError> {
        let mut lease = self.pool.lease().await?;
        lease.begin(LOCK, &[]).await?;
        let params: [&(dyn ToSql + Sync); 5] = [&tenant.0, &id, &context, &MAX_ASKED, &MAX_ASKED_BYTES];
        lease.commit(KEEP_ASKED, &params).await.map(drop)
    }

    /// Deletes a context; false when there is none. Uses of a Cached one from before do not bring it back. Replicas may use
    /// copies of it until [`crate::context::cache::Contexts::spread`] has come back.
    pub async fn delete_context(&self, tenant: TenantId, id: &str) -> Result<bool, StoreError> {
        let mut lease = self.pool.lease().await?;
        lease.begin(LOCK, &[]).await?;
        let now = Timestamp::now();
        let rows = lease.commit(DELETE, &[&tenant.0, &id, &now]).await?;
        Ok(!rows.is_empty())
    }

    async fn add_uses(&self, used: &[Used]) -> Result<(), StoreError> {
        let (mut cached, mut own) = (Counts::default(), Counts::default());
        for one in used {
            match &one.part {
                Part::Own(id) => own.add(one, id),
                Part::Url(url) => cached.add(one, url),
            }
        }
        let mut lease = self.pool.lease().await?;
        lease.begin(LOCK_TO_COUNT, &[]).await?;
        let rows = lease.within(COUNT_CACHED, &cached.params()).await?;
        let new = rows.iter().filter(|row| row.get(1));
        let new: Vec<i32> = new.map(|row| row.get(0)).collect();
        lease.within(COUNT_OWN, &own.params()).await?;
        lease.commit(TRIM, &[&new, &MAX_CACHED]).await.map(drop)
    }
}

/// Uses as columns.
#[derive(Default)]
struct Counts<'u> {
    tenants: Vec<i32>,
    names: Vec<&'u str>,
    last: Vec<Timestamp>,
    hits: Vec<i64>,
}

impl<'u> Counts<'u> {
    fn add(&mut self, used: &Used, name: &'u str) {
        self.tenants.push(used.tenant.0);
        self.names.push(name);
        self.last.push(used.last);
        self.hits.push(used.hits);
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.tenants, &self.names, &self.last, &self.hits]
    }
}

impl Shelf for Store {
    fn epoch(&self) -> Brought<'_, i64> {
        Box::pin(async move {
            let rows = self.pool.lease().await?.query(EPOCH, &[]).await?;
            let row = rows.first().map(|row| row.get(0));
            row.ok_or_else(|| StoreError::Internal("the epoch of contexts has no row".to_owned()))
        })
    }

    fn own<'a>(&'a self, tenant: TenantId, id: &'a str) -> Brought<'a, Option<String>> {
        Box::pin(self.context_content(tenant, id))
    }

    fn fetched<'a>(&'a self, url: &'a str, guard: &'a str) -> Brought<'a, Option<Fetched>> {
        Box::pin(async move {
            let rows = self.pool.lease().await?.query(FETCHED, &[&url, &guard]).await?;
            Ok(rows.first().map(|row| Fetched {
                document: row.get(0),
                at: row.get(1),
                due: row.get(2),
            }))
        })
    }

    fn put<'a>(&'a self, put: Put<'a>) -> Brought<'a, bool> {
        Box::pin(async move {
            let mut lease = self.pool.lease().await?;
            lease.begin(LOCK, &[]).await?;
            let (url, guard, document, at, force) = (put.url, put.guard, put.document, put.at, put.force);
            let params: [&(dyn ToSql + Sync); 7] = [
                &url,
                &guard,
                &document,
                &at,
                &force,
                &MAX_DOCUMENTS,
                &MAX_DOCUMENT_BYTES,
            ];
            let rows = lease.commit(PUT, &params).await?;
            Ok(rows.first().is_some_and(|row| row.get(0)))
        })
    }

    fn count_uses<'a>(&'a self, used: &'a [Used]) -> Brought<'a, ()> {
        Box::pin(self.add_uses(used))
    }
}
