//! What limits cost those who write: tenants of one broker, one without any, one with a limit of entities, one with one of
//! bytes. Every write changes how long a text is.

use super::Rig;
use super::duel::{Measure, Runs};
use super::entities::{self, id};
use super::http::write_request;
use super::replica::{Replica, Setup};
use crate::error::Error;
use crate::random::Random;
use crate::report::Report;

/// Entities of each tenant.
const ENTITIES: usize = 10_000;
/// The longest text.
const LONGEST: u64 = 100;
/// The tenants, by what is limited.
const TENANTS: [&str; 3] = ["none", "entities", "bytes"];
/// More than they get.
const QUOTAS: &str =
    "{tenants: [{tenant: entities, entities: 1000000000}, {tenant: bytes, bytes: 1000000000000}]}";

/// What limits cost writes.
pub async fn quotas(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let setup = Setup {
        tenants: TENANTS.map(str::to_owned).to_vec(),
        quotas: QUOTAS,
        ..rig.setup()
    };
    let (database, replica) = rig.fresh(&setup).await?;
    for tenant in TENANTS {
        entities::load(replica.api(), tenant, ENTITIES)?;
    }
    rig.server.settle(&database)?;
    let replicas = [replica];
    for tenant in TENANTS {
        write(rig, &replicas, tenant)?;
    }
    let mut of_tenants = TENANTS.map(|tenant| (tenant, Runs::default()));
    for _ in 0..rig.args.rounds {
        for (tenant, runs) in &mut of_tenants {
            runs.0.push(write(rig, &replicas, tenant)?);
        }
    }
    for (limit, runs) in of_tenants {
        let name = format!("changes of entities, limit: {limit}");
        report.fact(name.clone(), runs.median(|run| run.per_second), "/s");
        report.fact(
            format!("{name}: refused in a run"),
            runs.median(|run| run.refused),
            "requests",
        );
    }
    let [replica] = replicas;
    rig.end_all("quotas", database, replica).await
}

fn write(rig: &Rig<'_>, replicas: &[Replica], tenant: &str) -> Result<Measure, Error> {
    let work = |random: &mut Random, out: &mut Vec<u8>| {
        let target = format!("/ngsi-ld/v1/entities/{}/attrs", id(random.below(ENTITIES as u64)));
        let text = "x".repeat(usize::try_from(random.below(LONGEST)).unwrap_or_default());
        let body = format!(r#"{{"note":{{"type":"Property","value":"{text}"}}}}"#);
        write_request(out, "PATCH", &target, tenant, body.as_bytes());
    };
    rig.most(replicas, &work)
}
