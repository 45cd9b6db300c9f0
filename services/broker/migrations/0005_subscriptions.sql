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

-- What is first in a lane that this holder has: changes, in order, of at most so many bytes together, or one.
create function mim.first_in_lane(s bigint, l smallint, most integer, bytes bigint)
    returns table (change bigint, tenant integer, epoch bigint, entity text, body text)
    language sql stable
    as $$
        select f.number, f.tenant, t.subscriptions, f.entity, f.body
        from (
            select c.number, c.tenant, c.entity, c.body,
                sum(octet_length(c.body)) over (order by c.number) - octet_length(c.body) as before
            from mim.deliveries d join mim.changes c on c.number = d.change
            where d.subscription = s and d.lane = l and c.number in (
                select i.change from mim.deliveries i where i.subscription = s and i.lane = l order by i.change limit most)
        ) f join mim.tenants t on t.id = f.tenant
        where f.before < bytes
        order by f.number
    $$;

-- Takes a lane for so many milliseconds, unless somebody has it or it rests after a failure, and gives what is first in
-- it. Every statement of a function sees what was committed before it, so nothing that was there is missed: who adds to
-- a lane after this has looked waits at the lane's row, and then finds it free.
create function mim.take_lane(s bigint, l smallint, who uuid, ms integer, most integer, bytes bigint)
    returns table (change bigint, tenant integer, epoch bigint, entity text, body text)
    language plpgsql
    as $$
        begin
            insert into mim.lanes as x (subscription, lane, holder, held_until)
            values (s, l, who, clock_timestamp() + ms * interval '1 millisecond')
            on conflict (subscription, lane) do update set holder = excluded.holder, held_until = excluded.held_until
            where x.held_until <= clock_timestamp() and (x.retry_at is null or x.retry_at <= clock_timestamp());
            if not found then
                return;
            end if;
            return query select * from mim.first_in_lane(s, l, most, bytes);
            if not found then
                update mim.lanes set held_until = '-infinity' where subscription = s and lane = l;
            end if;
        end
    $$;

-- Takes away what was sent, or is not to be sent any more, notes what came of it, and goes on with the lane: gives what
-- is next in it and holds it for so long, or leaves it. With a time to try again it is left until then. Nothing happens
-- where somebody else has it by now.
create function mim.go_on_with_lane(
    s bigint, l smallint, who uuid, ms integer, most integer, bytes bigint,
    done bigint[], sent bigint, failed bigint, success timestamptz, failure timestamptz, again timestamptz)
    returns table (change bigint, tenant integer, epoch bigint, entity text, body text)
    language plpgsql
    as $$
        begin
            update mim.lanes set held_until = '-infinity', retry_at = again,
                failures = case when again is null then 0 else failures + 1 end
            where subscription = s and lane = l and holder = who;
            if not found then
                return;
            end if;
            delete from mim.deliveries d where d.subscription = s and d.lane = l and d.change = any(done);
            delete from mim.changes c where c.number = any(done)
                and not exists (select from mim.deliveries d where d.change = c.number);
            if sent > 0 or failure is not null then
                update mim.subscriptions x set times_sent = times_sent + sent, times_failed = times_failed + failed,
                    last_notification = greatest(x.last_notification, success, failure),
                    last_success = greatest(x.last_success, success), last_failure = greatest(x.last_failure, failure)
                where x.number = s;
            end if;
            if again is not null then
                return;
            end if;
            return query select * from mim.first_in_lane(s, l, most, bytes);
            if found then
                update mim.lanes set held_until = clock_timestamp() + ms * interval '1 millisecond'
                where subscription = s and lane = l;
            end if;
        end
    $$;
