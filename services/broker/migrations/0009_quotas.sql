-- What tenants may have, as the configuration says it: by name ('' is the default tenant), or '*' for each that is not named. Null: as much as it likes.
create table mim.quotas (
    tenant text collate "C" primary key,
    entities bigint,
    subscriptions bigint,
    bytes bigint
);

-- What a tenant has of what it may not have without end; there is no row where there is no limit. Until it is counted, `used` is only what came and went
-- since the row was made, and limits nothing. Who was writing when it was made may not have seen it: they have all ended once no transaction before
-- `since` runs.
create table mim.usage (
    tenant integer not null references mim.tenants on delete cascade,
    quota text not null check (quota in ('entities', 'subscriptions', 'bytes')),
    most bigint not null,
    used bigint not null default 0,
    counted boolean not null default false,
    since xid8,
    primary key (tenant, quota)
) with (fillfactor = 50);

-- How many bytes an entity has: id, types, scopes, and its attributes as they are kept, without the times that the broker adds to them, so that a change of
-- a value by one of the same length is no growth. A type always stands before these times. What a client sends is below a member `value`; an entity in which that
-- has members with these names is counted whole, times and all.
create function mim.entity_bytes(id text, types text[], scope text[], attrs jsonb) returns bigint
    language sql immutable strict parallel safe
    as $$
        select (octet_length(id) + octet_length(array_to_string(types || scope, ' '))
            + octet_length(case
                when attrs @? 'strict $.**.value.**.createdAt' or attrs @? 'strict $.**.value.**.modifiedAt' then attrs::text
                else regexp_replace(attrs::text, ', "(createdAt|modifiedAt)": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"', '', 'g')
            end))::bigint
    $$;

-- Takes note of so much more, or less. Who takes more than there may be is refused; less is always taken note of, and more of what is left as well. Writes of a
-- tenant that has this limit, and changes how much there is, wait here for each other until they are committed.
create function mim.use(of_tenant integer, what text, more bigint) returns void
    language plpgsql
    as $$
        declare
            u mim.usage;
        begin
            update mim.usage set used = used + more where tenant = of_tenant and quota = what returning * into u;
            if found and more > 0 and u.counted and u.used > u.most then
                raise exception using errcode = '54Q01',
                    message = case what
                        when 'entities' then format('the tenant may have %s entities and has %s; this would add %s', u.most, u.used - more, more)
                        when 'subscriptions' then format('the tenant may have %s subscriptions and has %s; this would add %s', u.most, u.used - more, more)
                        else format('the tenant may have %s bytes of entities and has %s; this would add %s', u.most, u.used - more, more)
                    end || ': delete what is not needed, or let the operator of the broker raise the quota of ' || what,
                    detail = what;
            end if;
        end
    $$;

-- The rows of a statement, by tenant; whatever broker writes them. Of several limits one order holds, so that nobody waits in a circle.
create function mim.use_by_inserted() returns trigger
    language plpgsql
    as $$
        declare
            r record;
        begin
            if exists (select from mim.usage) then
                for r in
                    select u.tenant, u.quota,
                        sum(case u.quota when 'bytes' then mim.entity_bytes(n.id, n.types, n.scope, n.attrs) else 1 end)::bigint as more
                    from new_rows n join mim.usage u on u.tenant = n.tenant and u.quota in ('entities', 'bytes')
                    group by u.tenant, u.quota order by u.tenant, u.quota desc
                loop
                    perform mim.use(r.tenant, r.quota, r.more);
                end loop;
            end if;
            return null;
        end
    $$;

create function mim.use_by_deleted() returns trigger
    language plpgsql
    as $$
        declare
            r record;
        begin
            if exists (select from mim.usage) then
                for r in
                    select u.tenant, u.quota,
                        sum(case u.quota when 'bytes' then mim.entity_bytes(o.id, o.types, o.scope, o.attrs) else 1 end)::bigint as less
                    from old_rows o join mim.usage u on u.tenant = o.tenant and u.quota in ('entities', 'bytes')
                    group by u.tenant, u.quota order by u.tenant, u.quota desc
                loop
                    perform mim.use(r.tenant, r.quota, -r.less);
                end loop;
            end if;
            return null;
        end
    $$;

create function mim.use_by_updated() returns trigger
    language plpgsql
    as $$
        declare
            r record;
        begin
            if exists (select from mim.usage where quota = 'bytes') then
                for r in
                    select u.tenant,
                        ((select sum(mim.entity_bytes(n.id, n.types, n.scope, n.attrs)) from new_rows n where n.tenant = u.tenant)
                            - (select sum(mim.entity_bytes(o.id, o.types, o.scope, o.attrs)) from old_rows o where o.tenant = u.tenant))::bigint as more
                    from mim.usage u where u.quota = 'bytes' and u.tenant in (select n.tenant from new_rows n) order by u.tenant
                loop
                    if r.more <> 0 then
                        perform mim.use(r.tenant, 'bytes', r.more);
                    end if;
                end loop;
            end if;
            return null;
        end
    $$;

create function mim.use_by_subscriptions() returns trigger
    language plpgsql
    as $$
        begin
            if tg_op = 'INSERT' then
                perform mim.use(new.tenant, 'subscriptions', 1);
            else
                perform mim.use(old.tenant, 'subscriptions', -1);
            end if;
            return null;
        end
    $$;

create trigger quota_inserted after insert on mim.entities
    referencing new table as new_rows for each statement execute function mim.use_by_inserted();
create trigger quota_deleted after delete on mim.entities
    referencing old table as old_rows for each statement execute function mim.use_by_deleted();
create trigger quota_updated after update on mim.entities
    referencing old table as old_rows new table as new_rows for each statement execute function mim.use_by_updated();
create trigger quota_subscriptions after insert or delete on mim.subscriptions
    for each row execute function mim.use_by_subscriptions();

-- What each tenant may not exceed.
create view mim.limits as
    select t.id as tenant, m.quota, m.most
    from mim.tenants t
        cross join lateral (
            select q.* from mim.quotas q where q.tenant in (t.name, '*') order by q.tenant = '*' limit 1) q
        cross join lateral (values ('entities', q.entities), ('subscriptions', q.subscriptions), ('bytes', q.bytes)) m(quota, most)
    where m.most is not null and t.dropped is null;

-- Takes over what the configuration says. What a limit is raised or lowered to holds from the next write on; what has no
-- limit yet is counted first.
create function mim.set_quotas(names text[], entities bigint[], subscriptions bigint[], bytes bigint[]) returns void
    language plpgsql
    as $$
        begin
            -- "mimq" in ASCII: one at a time, and no tenant is made meanwhile.
            perform pg_advisory_xact_lock(x'6d696d71'::int);
            delete from mim.quotas q where q.tenant <> all(names);
            insert into mim.quotas as q select * from unnest(names, entities, subscriptions, bytes)
                on conflict (tenant) do update set entities = excluded.entities, subscriptions = excluded.subscriptions, bytes = excluded.bytes
                where (q.entities, q.subscriptions, q.bytes) is distinct from (excluded.entities, excluded.subscriptions, excluded.bytes);
            -- Those that change or go, in the order in which writers lock them; for the others nobody waits.
            perform from mim.usage u left join mim.limits l on (l.tenant, l.quota) = (u.tenant, u.quota)
                where l.most is distinct from u.most order by u.tenant, u.quota desc for update of u;
            delete from mim.usage u where not exists (select from mim.limits l where (l.tenant, l.quota) = (u.tenant, u.quota));
            update mim.usage u set most = l.most from mim.limits l where (l.tenant, l.quota) = (u.tenant, u.quota) and l.most <> u.most;
            insert into mim.usage (tenant, quota, most) select l.tenant, l.quota, l.most from mim.limits l
                where not exists (select from mim.usage u where (l.tenant, l.quota) = (u.tenant, u.quota))
                on conflict do nothing;
        end
    $$;

-- A new tenant has nothing that would have to be counted.
create function mim.limit_new_tenant() returns trigger
    language plpgsql
    as $$
        begin
            perform pg_advisory_xact_lock_shared(x'6d696d71'::int);
            insert into mim.usage (tenant, quota, most, counted)
                select l.tenant, l.quota, l.most, true from mim.limits l where l.tenant = new.id
                on conflict do nothing;
            return null;
        end
    $$;

create trigger quota_tenant after insert on mim.tenants for each row execute function mim.limit_new_tenant();
