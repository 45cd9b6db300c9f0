//! How soon a broker is there, and how much memory it takes.

use std::time::Duration;

use super::entities::{UPSERT, call};
use super::http::write_request;
use super::load::{self, Load};
use super::replica::Replica;
use super::{Rig, say};
use crate::error::Error;
use crate::random::Random;
use crate::report::{Report, count, median};

/// Milliseconds until `/readyz`.
const READY: f64 = 300.0;
/// MiB of an idle broker.
const IDLE: f64 = 30.0;
/// After this nothing of a start is under way any more.
const SETTLED: Duration = Duration::from_secs(10);
/// Large entities: how many, how large, how many of them a batch has.
const LARGE: usize = 1000;
const BYTES: usize = 100_000;
const BATCH: usize = 20;
/// How many clients ask for them at once.
const CLIENTS: usize = 8;

/// How long a start takes, and what an idle broker weighs.
pub async fn start(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    // The first one makes the schema.
    let (database, first) = rig.fresh(&rig.setup()).await?;
    report.fact(
        "start to /readyz on an empty database",
        first.ready_after * 1000.0,
        "ms",
    );
    first.stop().await?;
    let mut times = Vec::new();
    for round in 1..=rig.args.rounds {
        let replica = Replica::start(&rig.program, &database, &rig.setup()).await?;
        let time = replica.ready_after * 1000.0;
        report.fact(format!("start to /readyz, round {round}"), time, "ms");
        times.push(time);
        replica.stop().await?;
    }
    report.at_most(
        "start to /readyz on a migrated database, median",
        median(&times),
        "ms",
        READY,
    );
    let replica = Replica::start(&rig.program, &database, &rig.setup()).await?;
    tokio::time::sleep(SETTLED).await;
    let memory = replica.memory()?;
    report.at_most("memory, idle", memory.resident, "MiB", IDLE);
    report.fact("memory, idle, without mapped files", memory.anonymous, "MiB");
    rig.end_all("idle", database, replica).await
}

/// Large entities, many at once.
pub async fn large(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let (database, replica) = rig.fresh(&rig.setup()).await?;
    let text = "x".repeat(BYTES);
    for first in (0..LARGE).step_by(BATCH) {
        let entities: Vec<String> = (first..first + BATCH)
            .map(|number| {
                format!(
                    r#"{{"id":"urn:ngsi-ld:Large:{number}","type":"Large","text":{{"type":"Property","value":"{text}"}}}}"#
                )
            })
            .collect();
        let body = format!("[{}]", entities.join(","));
        call(replica.api(), "POST", UPSERT, "", &body)?;
    }
    report.fact(
        "memory, after the load of large entities",
        replica.memory()?.peak,
        "MiB",
    );
    for limit in [1000, 200] {
        let target = format!("/ngsi-ld/v1/entities?type=Large&limit={limit}");
        let what = format!("{limit} entities of 100 kB");
        say(&what);
        let said = match call(replica.api(), "GET", &target, "", "") {
            Ok(body) => count(body.len()) / 1024.0 / 1024.0,
            // A page has a largest size, and who asks for more is told so.
            Err(Error::Answer { status: 403, .. }) => 0.0,
            Err(problem) => return Err(problem),
        };
        report.fact(
            format!("{what}: answer, 0 where it is refused as too large"),
            said,
            "MiB",
        );
        report.fact(
            format!("{what}: memory after one query"),
            replica.memory()?.peak,
            "MiB",
        );
        let load = Load {
            at: &[replica.api()],
            clients: CLIENTS,
            seconds: rig.args.seconds,
            rate: None,
            may_refuse: true,
        };
        let work = |_: &mut Random, out: &mut Vec<u8>| write_request(out, "GET", &target, "", b"");
        let sample = load::run(&load, &work)?;
        report.fact(
            format!("{what}: queries of {CLIENTS} clients at once"),
            count(sample.requests + sample.refused) / sample.seconds,
            "/s",
        );
        report.fact(
            format!("{what}: memory after {CLIENTS} clients at once"),
            replica.memory()?.peak,
            "MiB",
        );
    }
    tokio::time::sleep(SETTLED).await;
    report.fact(
        "memory, after large queries, at rest",
        replica.memory()?.resident,
        "MiB",
    );
    rig.end_all("large", database, replica).await
}
