-- The read-only contract (docs/contract.md): of which tenants there are schema and role, and which views have been asked for.
create table mim.contract_tenants (
    tenant integer primary key,
    schema text collate "C" not null unique,
    role text collate "C" not null,
    -- Of which form the view of places is.
    form integer not null
);

create table mim.contract_views (
    tenant integer not null,
    name text collate "C" not null,
    definition jsonb not null,
    created timestamptz not null default now(),
    modified timestamptz not null default now(),
    primary key (tenant, name)
);

-- What follows stands in columns of views and in expressions of indexes. None of it ever fails, whatever an attribute is: an index may not refuse a
-- write. In PL/pgSQL, as functions of SQL that nest are not inlined and then cost four times as much. They call nothing but what is in pg_catalog.

-- The instance of an attribute that has no datasetId; mostly it is the first and only one.
create function mim.default_instance(holder jsonb, attr text) returns jsonb
    language plpgsql immutable strict parallel safe
    as $$
        declare
            first jsonb := holder -> attr -> 0;
        begin
            if first ? 'datasetId' then
                return jsonb_path_query_first(holder -> attr, '$[*] ? (!exists(@.datasetId))');
            end if;
            return first;
        end
    $$;

-- The value of an instance: of a language map the text of one language, or else that of none; of a typed value what stands in it.
create function mim.plain_value(instance jsonb, lang text) returns jsonb
    language plpgsql immutable strict parallel safe
    as $$
        declare
            v jsonb := instance -> 'value';
        begin
            if instance ->> 'type' = 'LanguageProperty' then
                return coalesce(v -> lang, v -> '@none');
            end if;
            if jsonb_typeof(v) = 'object' and v ? '@value' then
                return v -> '@value';
            end if;
            return v;
        end
    $$;

-- A member of the value: names stand as they were sent in language maps and JSON, else as IRIs.
create function mim.member_value(instance jsonb, sent text[], expanded text[]) returns jsonb
    language sql immutable strict parallel safe
    return case
        when instance ->> 'type' in ('LanguageProperty', 'JsonProperty') then instance -> 'value' #> sent
        else instance -> 'value' #> expanded
    end;

create function mim.text_of(v jsonb) returns text
    language plpgsql immutable strict parallel safe
    as $$
        begin
            return case when jsonb_typeof(v) = 'string' then v #>> '{}' end;
        end
    $$;

create function mim.boolean_of(v jsonb) returns boolean
    language plpgsql immutable strict parallel safe
    as $$
        begin
            return case when jsonb_typeof(v) = 'boolean' then v::boolean end;
        end
    $$;

create function mim.integer_of(v jsonb) returns bigint
    language plpgsql immutable strict parallel safe
    as $$
        declare
            n numeric;
        begin
            if jsonb_typeof(v) <> 'number' then
                return null;
            end if;
            n := v::numeric;
            if n <> trunc(n) or n not between -9223372036854775808 and 9223372036854775807 then
                return null;
            end if;
            return n::bigint;
        end
    $$;

-- What no double can hold is none; what is nearer to 0 than doubles are precise is 0.
create function mim.number_of(v jsonb) returns double precision
    language plpgsql immutable strict parallel safe
    as $$
        declare
            n numeric;
        begin
            if jsonb_typeof(v) <> 'number' then
                return null;
            end if;
            n := v::numeric;
            if abs(n) > 1.7976931348623157e308 then
                return null;
            end if;
            return case when abs(n) < 1e-307 then 0 else n::double precision end;
        end
    $$;

-- A DateTime of the standard: UTC, with seconds. The text names the same instant whatever a session has set.
create function mim.timestamp_of(v jsonb) returns timestamptz
    language plpgsql immutable strict parallel safe
    as $$
        declare
            t text := case when jsonb_typeof(v) = 'string' then v #>> '{}' end;
            y integer;
        begin
            if t is null or octet_length(t) > 27 or t !~ '^\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2\d))T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:[.,]\d{1,6})?Z$' then
                return null;
            end if;
            y := substr(t, 1, 4)::integer;
            if y = 0 or (substr(t, 6, 5) = '02-29' and (y % 4 <> 0 or (y % 100 = 0 and y % 400 <> 0))) then
                return null;
            end if;
            return replace(t, ',', '.')::timestamptz;
        end
    $$;

-- A geometry of WGS 84 in the plane, as predicates take it; what mim.searchable cannot repair in bounded time is none. It is not called here: a reader
-- runs this, and may use nothing of the schema mim by its name. PostgreSQL starts no subtransaction in a parallel query, so this is none for one.
create function mim.geometry_of(v jsonb) returns geometry
    language plpgsql immutable strict parallel unsafe
    set search_path from current
    as $$
        declare
            g geometry;
        begin
            if jsonb_typeof(v) <> 'object' or not v ? 'coordinates' then
                return null;
            end if;
            g := ST_Force2D(ST_SetSRID(ST_GeomFromGeoJSON(v), 4326));
            if ST_IsValid(g) then
                return g;
            end if;
            if ST_NPoints(g) > 200 then
                return null;
            end if;
            return ST_CollectionExtract(ST_MakeValid(g, 'method=structure'));
        exception when others then
            return null;
        end
    $$;
