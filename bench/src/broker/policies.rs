//! Tenants kept apart by the database in place of each statement: row-level security on the tables that they share, forced
//! on their owner too. What it costs those who read.

use super::entities::{self, place};
use super::pgbench::{self, Plans, Script};
use super::postgres::Database;
use super::statements;
use super::{Rig, say};
use crate::error::Error;
use crate::report::{Report, median};

/// What is read.
const TABLES: [&str; 3] = ["entities", "entity_types", "entity_geometries"];
/// How far around a place.
const METRES: u32 = 500;

/// What forced policies cost.
pub async fn policies(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let entities = (rig.args.entities / 10).max(1);
    let (database, replica) = rig.fresh(&rig.setup()).await?;
    entities::load(replica.api(), "", entities)?;
    rig.end("policies", replica).await?;
    let tenant = rig.tenant(&database, "")?;
    declare(rig, &database, tenant)?;
    rig.server.settle(&database)?;
    let by_q = statements::by_q(tenant, r#"quarter=="q-07""#)?;
    let near = statements::near(tenant, place(0), METRES)?;
    let reads = [
        (
            "retrieve by id",
            vec![statements::retrieve(tenant, entities)],
            Plans::Kept,
        ),
        ("q ==, 1 %", statements::scripts(&[by_q]), Plans::OfEach),
        ("near", statements::scripts(&[near]), Plans::OfEach),
    ];
    for (what, scripts, plans) in reads {
        say(what);
        let [free, bound] = compared(rig, &database, &scripts, plans)?;
        let name = format!("row-level security, {what} of {entities} entities");
        report.fact(format!("{name}: with it / without"), bound / free, "x");
        report.fact(format!("{name}: without"), free, "/s");
        report.fact(format!("{name}: with it"), bound, "/s");
    }
    rig.server.drop(&database)
}

/// Policies that bind nobody yet, as the role is the owner, and the tenant that its sessions are of: no statement has to say
/// it, which is the best case.
fn declare(rig: &Rig<'_>, database: &Database, tenant: i32) -> Result<(), Error> {
    for table in TABLES {
        let sql = format!(
            "create policy own on mim.{table} using (tenant = current_setting('mim.tenant')::integer); \
             alter table mim.{table} enable row level security"
        );
        rig.server.psql(&database.name, &sql)?;
    }
    let sql = format!("alter role {} set mim.tenant = '{tenant}'", database.name);
    rig.server.psql(&database.name, &sql).map(drop)
}

/// Transactions per second without and with policies, in turn.
fn compared(rig: &Rig<'_>, database: &Database, scripts: &[Script], plans: Plans) -> Result<[f64; 2], Error> {
    let (connections, seconds) = (rig.args.connections, rig.args.seconds);
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..=rig.args.rounds {
        for (side, rates) in ["no force", "force"].into_iter().zip(&mut rates) {
            for table in TABLES {
                let sql = format!("alter table mim.{table} {side} row level security");
                rig.server.psql(&database.name, &sql)?;
            }
            let run = pgbench::bench(database, scripts, plans, connections, seconds, None)?;
            // The first time everything is touched.
            if round > 0 {
                rates.push(run.per_second());
            }
        }
    }
    Ok(rates.map(|rates| median(&rates)))
}
