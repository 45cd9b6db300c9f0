-- When a tenant deleted its record of a Cached context. Replicas count uses in memory and write them later; what was counted before the deletion does not bring
-- the record back, however late it is written.
create table mim.deleted_contexts (
    tenant integer not null,
    url text collate "C" not null,
    deleted timestamptz not null,
    primary key (tenant, url)
);
