-- How often the subscriptions of a tenant have changed. A write reads it in its own transaction, so that a replica that
-- knows older subscriptions learns of the new ones before it says which of them the write concerns.
alter table mim.tenants add column subscriptions bigint not null default 0;

-- What is wanted, and what came of it.
create table mim.subscriptions (
    number bigint generated always as identity primary key,
    tenant integer not null,
    id text collate "C" not null,
    body jsonb not null,
    created timestamptz not null,
    modified timestamptz not null,
    times_sent bigint not null default 0,
    times_failed bigint not null default 0,
    last_notification timestamptz,
    last_success timestamptz,
    last_failure timestamptz,
    -- Until when nothing is sent: throttling, or the cooldown of a receiver that failed.
    quiet_until timestamptz,
    -- When the next one of a timeInterval is due.
    due timestamptz,
    unique (tenant, id)
) with (fillfactor = 70);

create index subscriptions_due on mim.subscriptions (due) where due is not null;

-- One record for each write of an entity that concerns somebody: the entity as it was and is, and what happened to it.
create table mim.changes (
    number bigint generated always as identity primary key,
    tenant integer not null,
    entity text collate "C" not null,
    body text not null
);

-- Whom it concerns. Notifications of one subscription about one entity are in one lane, and leave it in order.
create table mim.deliveries (
    subscription bigint not null,
    lane smallint not null,
    change bigint not null,
    primary key (subscription, lane, change)
);

create index deliveries_change on mim.deliveries (change);

-- Who empties a lane, and until when nobody else may. What waits after a failure waits here.
create table mim.lanes (
    subscription bigint not null,
    lane smallint not null,
    holder uuid,
    held_until timestamptz not null,
    failures integer not null default 0,
    retry_at timestamptz,
    primary key (subscription, lane)
) with (fillfactor = 70);
