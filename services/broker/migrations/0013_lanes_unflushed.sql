-- Who has a lane, and what was sent, need not be on disk when it is told: what a crash of the server takes of it, the last half second at most, is sent once
-- more, as after any crash, and what is to be sent itself was flushed with the write. So neither of the two waits for the disk, which each notification did
-- twice. The setting holds until the end of the transaction, which a function's own would not.

-- As mim.take_lane, which the broker before calls, but that it does not wait for the disk.
create function mim.hold_lane(s bigint, l smallint, who uuid, ms integer, most integer, bytes bigint)
    returns table (change bigint, tenant integer, epoch bigint, entity text, body text)
    language plpgsql
    set enable_seqscan = off
    set plan_cache_mode = force_generic_plan
    as $$
        declare
            unflushed text := set_config('synchronous_commit', 'off', true);
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

-- As mim.go_on_with_lane, but that it does not wait for the disk, finds each change by its own key however many wait in the lane, and reads nothing of a lane
-- that is empty. Planned for its values, each delete takes longer to plan than to run.
create function mim.advance_lane(
    s bigint, l smallint, who uuid, ms integer, most integer, bytes bigint,
    done bigint[], sent bigint, failed bigint, success timestamptz, failure timestamptz, again timestamptz)
    returns table (change bigint, tenant integer, epoch bigint, entity text, body text)
    language plpgsql
    set enable_seqscan = off
    set plan_cache_mode = force_generic_plan
    as $$
        declare
            unflushed text := set_config('synchronous_commit', 'off', true);
        begin
            update mim.lanes set held_until = '-infinity', retry_at = again,
                failures = case when again is null then 0 else failures + 1 end
            where subscription = s and lane = l and holder = who;
            if not found then
                return;
            end if;
            delete from mim.deliveries d using unnest(done) as u(change) cross join lateral (
                select x.ctid from mim.deliveries x
                where x.subscription = s and x.lane = l and x.change = u.change offset 0) as its(place)
            where d.ctid = its.place;
            delete from mim.changes c using unnest(done) as u(change) cross join lateral (
                select x.ctid from mim.changes x where x.number = u.change
                    and not exists (select from mim.deliveries d where d.change = x.number) offset 0) as its(place)
            where c.ctid = its.place;
            if sent > 0 or failure is not null then
                update mim.subscriptions x set times_sent = times_sent + sent, times_failed = times_failed + failed,
                    last_notification = greatest(x.last_notification, success, failure),
                    last_success = greatest(x.last_success, success), last_failure = greatest(x.last_failure, failure)
                where x.number = s;
            end if;
            if again is not null then
                return;
            end if;
            perform from mim.deliveries d where d.subscription = s and d.lane = l limit 1;
            if not found then
                return;
            end if;
            return query select * from mim.first_in_lane(s, l, most, bytes);
            if found then
                update mim.lanes set held_until = clock_timestamp() + ms * interval '1 millisecond'
                where subscription = s and lane = l;
            end if;
        end
    $$;
