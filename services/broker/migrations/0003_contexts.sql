-- @contexts that clients see under /jsonldContexts. A Hosted or ImplicitlyCreated one is data of its tenant, content and
-- all. Of a Cached one a tenant has only that it uses a URL, and how often: that is nobody else's business either.
create table mim.contexts (
    tenant integer not null,
    id text collate "C" not null,
    kind text not null check (kind in ('Hosted', 'Cached', 'ImplicitlyCreated')),
    url text collate "C",
    document text,
    size integer not null default 0,
    created timestamptz not null default now(),
    used timestamptz,
    hits bigint not null default 0,
    primary key (tenant, id),
    check ((kind = 'Cached') = (url is not null)),
    check ((kind = 'Cached') = (document is null))
);

create unique index contexts_tenant_url on mim.contexts (tenant, url) where url is not null;
create index contexts_url on mim.contexts (url) where url is not null;

-- What stands behind a URL is the same for everybody who may fetch it, so it is kept once for all tenants and replicas.
-- `guard` tells which addresses the broker was allowed to reach when it was fetched.
create table mim.context_documents (
    url text collate "C" primary key,
    guard text not null,
    document text not null,
    size integer not null,
    fetched timestamptz not null,
    due boolean not null default false
);

-- Changes with every change that copies in the memory of replicas may not outlive. One row: who changes it waits for the
-- one before, so nobody reads a later number and misses an earlier change.
create table mim.context_epoch (
    one boolean primary key default true check (one),
    epoch bigint not null
);

insert into mim.context_epoch (epoch) values (0);
