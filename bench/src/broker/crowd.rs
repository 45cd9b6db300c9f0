//! What many subscriptions cost those who write: two tenants of one broker, one without any, one with ten thousand on the
//! types that are written, of which none is concerned.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::duel::{Measure, Runs};
use super::entities::{self, KIND, id};
use super::http::write_request;
use super::replica::{Replica, Setup};
use super::{Rig, say};
use crate::error::Error;
use crate::random::Random;
use crate::report::Report;

/// How much of the throughput of writes may be lost, in percent.
const COST: f64 = 10.0;
/// Entities of each tenant.
const ENTITIES: usize = 10_000;
/// How many subscriptions are made at once.
const AT_ONCE: usize = 8;
const NONE: &str = "none";
const MANY: &str = "many";

/// What many subscriptions cost writes.
pub async fn subscriptions(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let setup = Setup {
        tenants: vec![NONE.to_owned(), MANY.to_owned()],
        ..rig.setup()
    };
    let (database, replica) = rig.fresh(&setup).await?;
    let all = rig.args.subscriptions;
    for tenant in [NONE, MANY] {
        entities::load(replica.api(), tenant, ENTITIES)?;
    }
    say(&format!("making {all} subscriptions"));
    subscribe(&replica, all)?;
    rig.server.settle(&database)?;
    let replicas = [replica];
    let (mut without, mut with) = (Runs::default(), Runs::default());
    for tenant in [NONE, MANY] {
        write(rig, &replicas, tenant)?;
    }
    for _ in 0..rig.args.rounds {
        without.0.push(write(rig, &replicas, NONE)?);
        with.0.push(write(rig, &replicas, MANY)?);
    }
    let per_second = |runs: &Runs| runs.median(|run| run.per_second);
    report.at_most(
        format!("{all} subscriptions: writes lost"),
        (1.0 - per_second(&with) / per_second(&without)) * 100.0,
        "%",
        COST,
    );
    for (runs, name) in [
        (&without, "no subscription".to_owned()),
        (&with, format!("{all} subscriptions")),
    ] {
        report.fact(
            format!("partial updates, {name}: refused in a run"),
            runs.median(|run| run.refused),
            "requests",
        );
        report.fact(format!("partial updates, {name}"), per_second(runs), "/s");
        report.fact(
            format!("partial updates, {name}: CPU of the broker"),
            runs.median(|run| run.broker),
            "ms/request",
        );
    }
    let [replica] = replicas;
    rig.end_all("subscriptions", database, replica).await
}

fn write(rig: &Rig<'_>, replicas: &[Replica], tenant: &str) -> Result<Measure, Error> {
    let work = |random: &mut Random, out: &mut Vec<u8>| update(random, out, tenant, ENTITIES);
    rig.most(replicas, &work)
}

/// Writes the request of a new measurement.
pub fn update(random: &mut Random, out: &mut Vec<u8>, tenant: &str, entities: usize) {
    let target = format!("/ngsi-ld/v1/entities/{}/attrs", id(random.below(entities as u64)));
    let body = format!(
        r#"{{"level":{{"type":"Property","value":{}}}}}"#,
        random.below(1000)
    );
    write_request(out, "PATCH", &target, tenant, body.as_bytes());
}

/// A third each by id, by pattern, by `q`.
fn subscribe(replica: &Replica, all: usize) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let makers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= all {
                            return Ok(());
                        }
                        let body = subscription(number);
                        let at = replica.api();
                        entities::call(at, "POST", "/ngsi-ld/v1/subscriptions", MANY, &body)?;
                    }
                })
            })
            .collect();
        makers.into_iter().try_for_each(|maker| {
            maker
                .join()
                .unwrap_or_else(|_| Err(Error::Unexpected("a subscriber panicked".to_owned())))
        })
    })
}

fn subscription(number: usize) -> String {
    let absent = id(format_args!("absent-{number}"));
    let what = match number % 3 {
        0 => format!(r#""entities":[{{"type":"{KIND}","id":"{absent}"}}]"#),
        1 => format!(r#""entities":[{{"type":"{KIND}","idPattern":"^{absent}-[0-9]+$"}}]"#),
        _ => format!(
            r#""entities":[{{"type":"{KIND}"}}],"q":"level=={}""#,
            10_000 + number
        ),
    };
    // Nobody listens there, and nothing is sent.
    format!(
        r#"{{"type":"Subscription",{what},"notification":{{"endpoint":{{"uri":"http://127.0.0.1:9/","accept":"application/json"}}}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_each_is_by_id_by_pattern_and_by_q() {
        for (number, has) in [(0, "\"id\""), (1, "idPattern"), (2, "\"q\"")] {
            let text = subscription(number);
            assert!(text.contains(has) && serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}
