-- The past: one row for each instance of an attribute that was written or deleted (body is null then). Partitioned by
-- when it was stored, which the id of the instance carries (UUID version 7): clocks of sensors may say 1970, and what is
-- to go by age goes as a whole table. The broker makes the partitions before they are needed; there are none while
-- nothing is kept.
create table mim.history (
    tenant integer not null,
    entity text collate "C" not null,
    attr text collate "C" not null,
    instance uuid not null,
    recorded timestamptz not null,
    dataset text collate "C",
    observed timestamptz,
    body jsonb,
    primary key (tenant, entity, attr, instance)
) partition by range (instance);

-- An entity's past by when it was observed; what has no such time is not found by it.
create index history_observed on mim.history (tenant, entity, attr, observed) where observed is not null;

-- Entities that were deleted: their rows before this instance are not theirs any more, should one of that id come again,
-- and go soon after. A deletion does not wait for that.
create table mim.forgotten (
    tenant integer not null,
    entity text collate "C" not null,
    before uuid not null,
    primary key (tenant, entity)
);

-- Makes a partition where it is not there yet. Attaching locks out neither readers nor writers.
create function mim.add_history(name text, lower uuid, upper uuid) returns boolean
    language plpgsql
    as $$
        begin
            perform pg_advisory_xact_lock(x'6d696d02'::int);
            if to_regclass(format('mim.%I', name)) is not null then
                return false;
            end if;
            execute format('create table mim.%I (like mim.history)', name);
            execute format('alter table mim.history attach partition mim.%I for values from (%L) to (%L)', name, lower, upper);
            return true;
        end
    $$;
