//! One, two and four replicas on one database and one machine: what is gained, and what limits it.

use super::crowd::update;
use super::duel::{Runs, measured};
use super::entities;
use super::load::{self, Load, Work};
use super::reads::retrieval;
use super::replica::Replica;
use super::{Rig, say};
use crate::error::Error;
use crate::random::Random;
use crate::report::Report;

/// Entities there are.
const ENTITIES: usize = 20_000;
/// How many replicas there are at a time.
const NUMBERS: [usize; 3] = [1, 2, 4];

/// One, two and four replicas.
pub async fn replicas(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let (database, first) = rig.fresh(&rig.setup()).await?;
    let mut replicas = vec![first];
    for _ in 1..4 {
        replicas.push(Replica::start(&rig.program, &database, &rig.setup()).await?);
    }
    if let Some(first) = replicas.first() {
        entities::load(first.api(), "", ENTITIES)?;
    }
    rig.server.settle(&database)?;
    let retrieve = |random: &mut Random, out: &mut Vec<u8>| retrieval(random, out, "", ENTITIES);
    let write = |random: &mut Random, out: &mut Vec<u8>| update(random, out, "", ENTITIES);
    let works: [(&str, &Work<'_>); 2] = [("retrieve by id", &retrieve), ("partial update", &write)];
    for (name, work) in works {
        let mut runs: [Runs; 3] = Default::default();
        for round in 0..=rig.args.rounds {
            for (number, runs) in NUMBERS.iter().zip(&mut runs) {
                say(&format!("{name}, {number} replicas, round {round}"));
                let some = replicas.get(..*number).unwrap_or(&replicas);
                let at: Vec<_> = some.iter().map(Replica::api).collect();
                let load = Load {
                    at: &at,
                    clients: rig.args.clients,
                    seconds: rig.args.seconds,
                    rate: None,
                    may_refuse: false,
                };
                let run = measured(&rig.server, &replicas, || load::run(&load, work))?;
                // The first makes connections.
                if round > 0 {
                    runs.0.push(run);
                }
            }
        }
        for (number, runs) in NUMBERS.iter().zip(&runs) {
            rows(report, &format!("{name}, {number} replicas"), runs);
        }
    }
    for replica in replicas.drain(1..).collect::<Vec<_>>() {
        rig.end("replicas", replica).await?;
    }
    match replicas.pop() {
        Some(first) => rig.end_all("replicas", database, first).await,
        None => Ok(()),
    }
}

/// Throughput, and on how many cores who was busy: where all of the machine is used, that is the limit.
fn rows(report: &mut Report, name: &str, runs: &Runs) {
    report.fact(name, runs.median(|run| run.per_second), "/s");
    report.fact(format!("{name}: p99"), runs.median(|run| run.p99), "ms");
    let busy = |of: fn(&super::duel::Measure) -> f64| runs.median(|run| of(run) * run.per_second / 1000.0);
    report.fact(
        format!("{name}: cores of the replicas"),
        busy(|run| run.broker),
        "cores",
    );
    report.fact(
        format!("{name}: cores of the database"),
        busy(|run| run.database),
        "cores",
    );
    report.fact(
        format!("{name}: cores of the clients"),
        busy(|run| run.client),
        "cores",
    );
    report.fact(
        format!("{name}: cores of all"),
        runs.median(|run| run.cores),
        "cores",
    );
}
