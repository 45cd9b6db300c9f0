//! Writing new entities, with the past kept, against pgbench with one set-based statement by hand.
//!
//! The hand writes to the broker's own tables and keeps their indexes: what is written must be found as the broker finds
//! it. It gets for nothing what costs the broker most: its values are those that the broker stored of other entities, ready
//! to be stored again.

use super::duel::{Duel, Duelled};
use super::entities::{self, UPSERT, id};
use super::http::write_request;
use super::load::Work;
use super::pgbench::{Plans, Script};
use super::postgres::Database;
use super::replica::{Replica, Setup};
use super::{Rig, say};
use crate::error::Error;
use crate::random::Random;
use crate::report::{Report, count};

/// The part of the hand's throughput that writing is to have.
const SHARE: f64 = 0.5;
/// Entities of a batch.
const BATCH: usize = 100;
/// Clients that send batches.
const BATCH_CLIENTS: usize = 16;
/// Entities there are before.
const BEFORE: usize = 10_000;
/// Where a change record goes that is written by hand: one of the broker's would be taken away by it.
const RECORDS: &str =
    "create table mim.by_hand (like mim.changes including all); grant all on mim.by_hand to public";
/// How many entities' values travel as one parameter: a command line takes 128 KiB at once.
const PART: usize = 20;

/// One new entity.
pub async fn create(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let work = |random: &mut Random, out: &mut Vec<u8>| {
        let number = random.any() >> 8;
        let mut body = String::new();
        entities::write(&mut body, &id(format_args!("new-{number}")), number);
        write_request(out, "POST", "/ngsi-ld/v1/entities", "", body.as_bytes());
    };
    let clients = rig.args.clients;
    contest(rig, report, ("create", 1), clients, &work).await
}

/// A hundred new entities.
pub async fn batch(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let work = |random: &mut Random, out: &mut Vec<u8>| {
        let first = random.any() >> 16;
        let mut body = String::new();
        let name = |number: u64| id(format_args!("new-{first}-{}", number - first));
        entities::write_all(&mut body, first..first + BATCH as u64, name);
        write_request(out, "POST", UPSERT, "", body.as_bytes());
    };
    let clients = rig.args.clients.min(BATCH_CLIENTS);
    contest(rig, report, ("batch upsert of 100 new", BATCH), clients, &work).await
}

async fn contest(
    rig: &mut Rig<'_>,
    report: &mut Report,
    (name, entities): (&str, usize),
    clients: usize,
    work: &Work<'_>,
) -> Result<(), Error> {
    let setup = Setup {
        keeps_past: true,
        ..rig.setup()
    };
    let (database, replica) = rig.fresh(&setup).await?;
    entities::load(replica.api(), "", BEFORE.min(rig.args.entities))?;
    rig.server.psql(&database.name, RECORDS)?;
    rig.server.settle(&database)?;
    let replicas = [replica];
    for (what, has_record) in [
        ("entity, history and change record", true),
        ("entity and history", false),
    ] {
        say(&format!("{name} against {what}"));
        let peer = [by_hand(rig, &database, entities, has_record)?];
        let duelled = fight(rig, &database, &replicas, clients, work, &peer, has_record)?;
        let row = format!("{name}: broker / insert of {what} by hand");
        report.at_least(row, duelled.share(), "x", SHARE);
        if has_record {
            duelled.facts(report, name, "by hand", (count(entities), "entities/s"));
        }
    }
    let [replica] = replicas;
    rig.end_all(name, database, replica).await
}

fn fight(
    rig: &Rig<'_>,
    database: &Database,
    replicas: &[Replica],
    clients: usize,
    work: &Work<'_>,
    peer: &[Script],
    has_latencies: bool,
) -> Result<Duelled, Error> {
    Duel {
        server: &rig.server,
        database,
        replicas,
        clients,
        work,
        peer,
        plans: Plans::Kept,
        connections: rig.args.connections,
        seconds: rig.args.seconds,
        rounds: if has_latencies { rig.args.rounds } else { 0 },
        rounds_of_most: rig.args.rounds,
    }
    .fight()
}

/// The statement, with the values of so many entities that the broker has stored.
fn by_hand(rig: &Rig<'_>, database: &Database, entities: usize, has_record: bool) -> Result<Script, Error> {
    let tenant = rig.tenant(database, "")?;
    let ask = |sql: &str| rig.server.psql(&database.name, sql);
    let mut variables = vec![
        ("tenant".to_owned(), tenant.to_string()),
        // A colon begins a name of pgbench, also within quotes.
        ("before".to_owned(), id("new-")),
        (
            "type".to_owned(),
            ask("select type from mim.entity_types limit 1")?,
        ),
        (
            "place".to_owned(),
            ask("select attr from mim.entity_geometries limit 1")?,
        ),
    ];
    let mut lists = vec![Vec::new(); 3];
    for part in (0..entities).step_by(PART) {
        let size = PART.min(entities - part);
        for (list, (name, column)) in lists.iter_mut().zip([
            ("attrs", "e.attrs::text"),
            ("terms", "e.terms::text"),
            ("geoms", "g.geom::text"),
        ]) {
            let values = ask(&format!(
                "select string_agg(x.v, chr(31) order by x.id) from (select e.id, {column} as v \
                 from mim.entities e join mim.entity_geometries g using (tenant, id) \
                 where e.id ~ ':[0-9]+$' order by e.id limit {size} offset {part}) x"
            ))?;
            let name = format!("{name}{part}");
            list.push(format!(":{name}::text"));
            variables.push((name, values));
        }
    }
    let lists: Vec<String> = lists.iter().map(|parts| parts.join(" || chr(31) || ")).collect();
    let (Some(attrs), Some(terms), Some(geoms)) = (lists.first(), lists.get(1), lists.get(2)) else {
        return Err(Error::Unexpected("there is nothing to write by hand".to_owned()));
    };
    let record = if has_record {
        ", told as (insert into mim.by_hand (tenant, entity, body) select :tenant::int4, u.id, u.text from u)"
    } else {
        ""
    };
    Ok(Script {
        text: format!(
            "\\set n random(1, 1000000000000000)\n\
             with u as materialized ( \
               select :before::text || :n::text || '-' || o.nr as id, o.attrs as text, o.attrs::jsonb as attrs, \
                 o.terms::bigint[] as terms, o.geom::geometry as geom, now.instance \
               from unnest(string_to_array({attrs}, chr(31)), string_to_array({terms}, chr(31)), \
                 string_to_array({geoms}, chr(31))) with ordinality as o(attrs, terms, geom, nr) \
                 cross join (select mim.first_instance(now()) as instance offset 0) now), \
             new as (insert into mim.entities (tenant, id, types, scope, attrs, terms, created, modified) \
               select :tenant::int4, u.id, array[:type::text], array[]::text[], u.attrs, u.terms, now(), now() from u order by u.id), \
             typed as (insert into mim.entity_types (tenant, type, id) select :tenant::int4, :type::text, u.id from u), \
             placed as (insert into mim.entity_geometries (tenant, id, attr, geom) \
               select :tenant::int4, u.id, :place::text, u.geom from u), \
             kept as (insert into mim.history (tenant, entity, attr, instance, recorded, observed, body) \
               select :tenant::int4, u.id, a.key, u.instance, now(), \
                 (a.value -> 0 ->> 'observedAt')::timestamptz, a.value -> 0 from u cross join jsonb_each(u.attrs) a){record} \
             select 1;\n"
        ),
        variables,
    })
}
