-- Tenants share tables; every key, and every term of the inverted index, starts with the tenant.
create table mim.tenants (
    id integer generated always as identity primary key,
    name text collate "C" not null unique,
    created timestamptz not null default now()
);

-- The default tenant: requests without NGSILD-Tenant.
insert into mim.tenants (name) values ('');

-- One row per entity. Room is left in each page so that an update of values stays on its page (heap-only).
create table mim.entities (
    tenant integer not null,
    id text collate "C" not null,
    types text[] not null,
    scope text[] not null,
    attrs jsonb not null,
    terms bigint[] not null,
    created timestamptz not null,
    modified timestamptz not null,
    primary key (tenant, id)
) with (fillfactor = 85);

-- New terms wait in a list that every search reads too; a short one keeps searches fast while much is created.
create index entities_terms on mim.entities using gin (terms) with (gin_pending_list_limit = 256);

-- A page of "all of this type" is read off this key in order.
create table mim.entity_types (
    tenant integer not null,
    type text collate "C" not null,
    id text collate "C" not null,
    primary key (tenant, type, id)
);

-- What is searched by area: valid geometries; the entity keeps what was sent.
create table mim.entity_geometries (
    tenant integer not null,
    id text collate "C" not null,
    attr text collate "C" not null,
    geom geometry(Geometry, 4326) not null
);

create index entity_geometries_entity on mim.entity_geometries (tenant, id);
create index entity_geometries_geom on mim.entity_geometries using gist (geom);

-- A text that sorts as the instant does; null for what is no DateTime. It never fails, so queries may use it on
-- anything. The broker has the same function.
create function mim.instant_key(t text) returns text
    language sql immutable strict parallel safe
    as $$
        select case
            when t ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.,]\d{1,6})?Z$'
                then left(t, 19) || '.' || rpad(rtrim(substr(t, 21), 'Z'), 6, '0')
        end
    $$;
