//! Reading: one entity by id, and pages of queries, against pgbench with the same statements.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::duel::{Duel, Duelled};
use super::entities::{self, id, place};
use super::http::write_request;
use super::pgbench::Plans;
use super::postgres::Database;
use super::replica::Replica;
use super::statements::{self, LIMIT, Query};
use super::{Rig, say};
use crate::error::Error;
use crate::random::Random;
use crate::report::Report;

/// The part of pgbench's throughput that retrieving is to have.
const SHARE: f64 = 0.5;
/// How many times as long as with pgbench the slowest of a hundred queries may take.
const TIMES: f64 = 4.0;
/// The same of queries by distance, in the middle.
const TIMES_NEAR: f64 = 1.5;
/// How many places are asked in turn, and how far around each.
const PLACES: u64 = 8;
const METRES: u32 = 500;

/// Queries by `q`, by what they do, with the percentage of entities that each selects.
const QUERIES: [(&str, [(u32, &str); 3]); 5] = [
    (
        "==",
        [
            (1, r#"quarter=="q-07""#),
            (20, r#"district=="d-3""#),
            (50, r#"side=="left""#),
        ],
    ),
    (">", [(1, "level>989"), (20, "level>799"), (50, "level>499")]),
    (
        "range",
        [
            (1, "level==100..109"),
            (20, "level==100..299"),
            (50, "level==100..599"),
        ],
    ),
    (
        "~=",
        [
            (1, r#"quarter~="^q-07$""#),
            (20, r#"district~="^d-3""#),
            (50, r#"side~="^le""#),
        ],
    ),
    (
        "|",
        [
            (1, "level<5|level>994"),
            (20, "level<100|level>899"),
            (50, "level<250|level>749"),
        ],
    ),
];

/// One entity by id.
pub async fn retrieve(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let entities = (rig.args.entities / 10).max(1);
    let (database, replica) = rig.fresh(&rig.setup()).await?;
    entities::load(replica.api(), "", entities)?;
    rig.server.settle(&database)?;
    let peer = [statements::retrieve(rig.tenant(&database, "")?, entities)];
    let work = move |random: &mut Random, out: &mut Vec<u8>| retrieval(random, out, "", entities);
    let replicas = [replica];
    let duelled = Duel {
        server: &rig.server,
        database: &database,
        replicas: &replicas,
        clients: rig.args.clients,
        work: &work,
        peer: &peer,
        plans: Plans::Kept,
        connections: rig.args.connections,
        seconds: rig.args.seconds,
        rounds: rig.args.rounds,
        rounds_of_most: rig.args.rounds,
    }
    .fight()?;
    let name = format!("retrieve by id, {entities} entities");
    report.at_least(format!("{name}: broker / pgbench"), duelled.share(), "x", SHARE);
    duelled.facts(report, &name, "pgbench", (1.0, "/s"));
    let [replica] = replicas;
    rig.end_all("retrieve", database, replica).await
}

/// Writes the request of one of the first entities.
pub fn retrieval(random: &mut Random, out: &mut Vec<u8>, tenant: &str, entities: usize) {
    let target = format!("/ngsi-ld/v1/entities/{}", id(random.below(entities as u64)));
    write_request(out, "GET", &target, tenant, b"");
}

/// Queries over all entities: by type and `q`, by distance.
pub async fn searches(
    rig: &mut Rig<'_>,
    report: &mut Report,
    by_q: bool,
    by_distance: bool,
) -> Result<(), Error> {
    let (database, replica) = loaded(rig, report).await?;
    let tenant = rig.tenant(&database, "")?;
    let replicas = [replica];
    if by_q {
        for (operator, by_share) in QUERIES {
            for (percent, q) in by_share {
                say(&format!("q={q}"));
                let query = statements::by_q(tenant, q)?;
                let name = format!("q {operator}, {percent} % of {} entities", rig.args.entities);
                let duelled = duel(rig, &database, &replicas, &[query])?;
                let row = format!("{name}: p99, broker / pgbench");
                report.at_most(row, duelled.times(|run| run.p99), "x", TIMES);
                duelled.facts(report, &name, "pgbench", (1.0, "/s"));
            }
        }
    }
    if by_distance {
        say("near");
        near(rig, report, &database, &replicas, tenant)?;
    }
    let [replica] = replicas;
    rig.end_all("queries", database, replica).await
}

/// By distance.
fn near(
    rig: &Rig<'_>,
    report: &mut Report,
    database: &Database,
    replicas: &[Replica],
    tenant: i32,
) -> Result<(), Error> {
    let queries: Result<Vec<Query>, Error> = (0..PLACES)
        .map(|number| statements::near(tenant, place(number), METRES))
        .collect();
    let duelled = duel(rig, database, replicas, &queries?)?;
    let name = format!("near, {METRES} m, of {} points", rig.args.entities);
    let row = format!("{name}: p50, broker / pgbench");
    report.at_most(row, duelled.times(|run| run.p50), "x", TIMES_NEAR);
    report.fact(
        format!("{name}: p99, broker / pgbench"),
        duelled.times(|run| run.p99),
        "x",
    );
    report.fact(
        format!("{name}: CPU of broker and database / of the database under pgbench"),
        duelled.most[0].median(|run| run.broker + run.database) / duelled.most[1].median(|run| run.database),
        "x",
    );
    duelled.facts(report, &name, "pgbench", (1.0, "/s"));
    Ok(())
}

/// A broker with all entities.
async fn loaded(rig: &Rig<'_>, report: &mut Report) -> Result<(Database, Replica), Error> {
    let (database, replica) = rig.fresh(&rig.setup()).await?;
    let rate = entities::load(replica.api(), "", rig.args.entities)?;
    report.fact(
        format!("load of {} entities by batch upserts of 500", rig.args.entities),
        rate,
        "entities/s",
    );
    rig.server.settle(&database)?;
    Ok((database, replica))
}

/// These queries in turn, against the same statements by chance.
fn duel(
    rig: &Rig<'_>,
    database: &Database,
    replicas: &[Replica],
    queries: &[Query],
) -> Result<Duelled, Error> {
    for (query, replica) in queries.iter().zip(replicas) {
        check(rig, query, replica)?;
    }
    let turn = AtomicUsize::new(0);
    let work = |_: &mut Random, out: &mut Vec<u8>| {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % queries.len().max(1);
        if let Some(query) = queries.get(turn) {
            write_request(out, "GET", &query.target, "", b"");
        }
    };
    Duel {
        server: &rig.server,
        database,
        replicas,
        clients: rig.args.clients,
        work: &work,
        peer: &statements::scripts(queries),
        plans: Plans::OfEach,
        connections: rig.args.connections,
        seconds: rig.args.seconds,
        rounds: rig.args.rounds,
        // Only to know where half of it is.
        rounds_of_most: rig.args.rounds.min(1),
    }
    .fight()
}

/// Whether a page is full where it has to be: numbers of queries that find nothing say nothing.
fn check(rig: &Rig<'_>, query: &Query, replica: &Replica) -> Result<(), Error> {
    let answer = entities::call(replica.api(), "GET", &query.target, "", "")?;
    let found = serde_json::from_slice::<Vec<serde_json::Value>>(&answer).map_or(0, |page| page.len());
    if found == LIMIT || (found > 0 && rig.args.entities < 100_000) {
        return Ok(());
    }
    Err(Error::Unexpected(format!(
        "{} finds {found} entities of {}",
        query.target, rig.args.entities
    )))
}
