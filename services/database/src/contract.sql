-- What a superuser does in a database of mim-broker, so that its owner may keep the login roles of the read-only contract (docs/contract.md)
-- and no other roles. It may be run again at any time. The owner of the database is the broker's role.

-- Who is in this group was made by the functions below; pg_hba.conf lets its members in.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'mim_readers') then
        create role mim_readers nologin;
    end if;
exception when duplicate_object or unique_violation then
    null;
end
$$;

create schema if not exists mim_roles;

-- Whether a role is a reader of this database; an error where it is there and is something else.
create or replace function mim_roles.is_reader(reader text) returns boolean
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
    as $$
        begin
            if reader !~ '^[A-Za-z0-9_.~-]{1,63}$' or reader !~ '[.~]' or reader like 'pg\_%' then
                raise exception using errcode = '42602', message = format('%s is no name of a reader', reader);
            end if;
            if not exists (select from pg_roles where rolname = reader) then
                return false;
            end if;
            if not exists (
                select from pg_roles r join pg_auth_members m on m.member = r.oid join pg_roles g on g.oid = m.roleid
                where r.rolname = reader and g.rolname = 'mim_readers'
                    and shobj_description(r.oid, 'pg_authid') = 'reader of ' || current_database()
            ) then
                raise exception using errcode = '42710',
                    message = format('there is a role %s already, which is no reader of this database', reader);
            end if;
            return true;
        end
    $$;

-- Makes a reader, or makes it as it is to be. The verifier is of SCRAM-SHA-256, never the password. The caller becomes a member, so that it may end
-- the reader's sessions.
create or replace function mim_roles.keep(reader text, verifier text, connections integer, timeout integer, path text) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
        begin
            if verifier !~ '^SCRAM-SHA-256\$' or connections not between 1 and 100 or timeout not between 1 and 86400000 then
                raise exception using errcode = '22023', message = 'no verifier, or a limit that is none';
            end if;
            if not mim_roles.is_reader(reader) then
                execute format('create role %I nologin', reader);
                execute format('comment on role %I is %L', reader, 'reader of ' || current_database());
                execute format('grant mim_readers to %I', reader);
            end if;
            execute format('grant %I to %I', reader, session_user);
            execute format('alter role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit '
                'connection limit %s password %L', reader, connections, verifier);
            execute format('alter role %I set default_transaction_read_only = on', reader);
            execute format('alter role %I set statement_timeout = %s', reader, timeout);
            execute format('alter role %I set idle_in_transaction_session_timeout = %s', reader, timeout);
            -- Only superusers may set these, so a reader cannot raise them.
            execute format('alter role %I set temp_file_limit = ''256MB''', reader);
            perform set_config('search_path', path, true);
            execute format('alter role %I set search_path from current', reader);
            perform set_config('search_path', 'pg_catalog, pg_temp', true);
        end
    $$;

-- Lets a reader in no more.
create or replace function mim_roles.close(reader text) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
        begin
            if mim_roles.is_reader(reader) then
                execute format('alter role %I nologin password null', reader);
            end if;
        end
    $$;

-- Takes a reader away with all its rights in this database.
create or replace function mim_roles.drop(reader text) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
        begin
            if mim_roles.is_reader(reader) then
                execute format('drop owned by %I', reader);
                execute format('drop role %I', reader);
            end if;
        end
    $$;

revoke all on schema mim_roles from public;
revoke all on all functions in schema mim_roles from public;

do $$
declare
    broker name := (select pg_get_userbyid(datdba) from pg_database where datname = current_database());
    f regprocedure;
begin
    execute format('grant usage on schema mim_roles to %I', broker);
    execute format('grant execute on all functions in schema mim_roles to %I', broker);
    -- Every role may make large objects and fill the log, read-only as it is said to be, and hold the locks by which replicas of the broker take turns.
    for f in select p.oid::regprocedure from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace
            and (p.proname like 'pg\_advisory\_%' or p.proname like 'pg\_try\_advisory\_%'
                or p.proname in ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64', 'lo_unlink',
                    'pg_logical_emit_message'))
    loop
        execute format('revoke execute on function %s from public', f);
        execute format('grant execute on function %s to %I', f, broker);
    end loop;
    -- Views of the contract ask for the tenant before anything else, but for what cannot tell of what it has seen. Comparing boxes cannot.
    for f in select p.oid::regprocedure from pg_proc p
        join pg_depend d on d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e'
        join pg_extension e on e.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
        where e.extname = 'postgis' and p.proname = 'geometry_overlaps' and not p.proleakproof
    loop
        execute format('alter function %s leakproof', f);
    end loop;
end
$$;
