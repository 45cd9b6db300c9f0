-- Entities of which only the past is known: it was written as such, and no current entity was made of it. Where there is
-- a row, an entity's past begins at its `created`, whatever mim.entities says.
create table mim.temporal_entities (
    tenant integer not null,
    id text collate "C" not null,
    types text[] not null,
    created timestamptz not null,
    modified timestamptz not null,
    primary key (tenant, id)
);

-- When an instance of the past was corrected; null: never.
alter table mim.history add column modified timestamptz;

-- An entity's past by each time that it may be asked by. Every instance stands in the index of its observation or in that
-- of those without one; corrections and deletions are few.
create index history_unobserved on mim.history (tenant, entity, attr, instance) where observed is null;
create index history_modified on mim.history (tenant, entity, attr, modified) where modified is not null;
create index history_deleted on mim.history (tenant, entity, attr, instance) where body is null;

-- The least id that an instance stored at this time, or later, can have. The broker has the same function.
create function mim.first_instance(at timestamptz) returns uuid
    language sql immutable strict parallel safe
    as $$
        select (lpad(to_hex(t.micros / 1000), 12, '0') || '7' || lpad(to_hex(t.micros % 1000 * 4096 / 1000), 3, '0')
            || '8000000000000000')::uuid
        from (select greatest(floor(extract(epoch from at) * 1000000), 0)::bigint as micros) t
    $$;

-- The geometry of an instance of the past, as predicates take it; null for what is none. It never fails.
create function mim.past_geometry(body jsonb) returns geometry
    language plpgsql immutable strict parallel safe
    as $$
        begin
            if body ->> 'type' <> 'GeoProperty' then
                return null;
            end if;
            return mim.searchable(ST_SetSRID(ST_GeomFromGeoJSON(body ->> 'value'), 4326));
        exception when others then
            return null;
        end
    $$;
