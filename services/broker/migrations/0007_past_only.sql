-- What is forgotten of an entity is its whole past, also that it is known by its past alone. Brokers from before
-- mim.temporal_entities forget pasts of entities that they delete, and know nothing of that table.
create function mim.forget_past_only() returns trigger
    language plpgsql
    as $$
        begin
            delete from mim.temporal_entities t where t.tenant = new.tenant and t.id = new.entity;
            return null;
        end
    $$;

create trigger past_only after insert or update on mim.forgotten
    for each row execute function mim.forget_past_only();
