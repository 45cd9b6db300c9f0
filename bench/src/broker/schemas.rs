//! Many tenants with a schema each in place of tables that they share: what a session of the database weighs that has
//! read an entity and its past of every tenant.

use super::tenancy::{Month, Months, private_in};
use super::{Rig, say};
use crate::error::Error;
use crate::report::Report;

/// What a tenant has of each table that the broker shares among them: the same columns, indexes and partitions.
const TABLES: [&str; 6] = [
    "entities",
    "entity_types",
    "entity_geometries",
    "temporal_entities",
    "subscriptions",
    "deliveries",
];

/// What the session weighs that asks it.
const WEIGHT: &str = "select pg_read_file('/proc/self/smaps_rollup')";

/// What schemas weigh.
pub async fn schemas(rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    let (tenants, months) = (rig.args.tenants, rig.args.months);
    let (database, replica) = rig.fresh(&rig.setup()).await?;
    rig.end("schemas", replica).await?;
    say(&format!("making {tenants} schemas with {months} months"));
    let partitions = Months::before_this_one(months)?;
    for number in 0..tenants {
        let schema = format!("city_{number}");
        rig.server.psql(&database.name, &declared(&schema, &partitions))?;
    }
    rig.server.settle(&database)?;
    let relations = "select count(*) from pg_class where relnamespace::regnamespace::text like 'city\\_%' \
        or oid in (select reltoastrelid from pg_class where relnamespace::regnamespace::text like 'city\\_%')";
    let relations = rig.number(&database, relations)?;
    let visits: Vec<String> = (0..tenants).map(visit).collect();
    let visits = visits.iter().map(String::as_str);
    let said = rig.server.session(&database.name, visits.chain([WEIGHT]))?;
    let name = format!("a schema for each of {tenants} tenants, {months} months");
    report.fact(
        format!("{name}: tables, indexes and TOAST tables"),
        f64::from(relations),
        "relations",
    );
    report.fact(
        format!("{name}: private memory of a session that has read all of them"),
        private_in(&said),
        "MiB",
    );
    rig.server.drop(&database)
}

/// The tables of one tenant.
fn declared(schema: &str, partitions: &Months) -> String {
    let like = |table: &str| format!("create table {schema}.{table} (like mim.{table} including all)");
    let mut statements = vec![format!("create schema {schema}")];
    statements.extend(TABLES.map(like));
    statements.push(like("history") + " partition by range (instance)");
    statements.extend(partitions.0.iter().map(|Month { name, from, to }| {
        format!(
            "create table {schema}.{name} partition of {schema}.history \
             for values from (mim.first_instance('{from}')) to (mim.first_instance('{to}'))"
        )
    }));
    statements.join(";\n")
}

/// Reads an entity and its past of a tenant, in a transaction of its own: one that reads all of them holds more locks than
/// there are.
fn visit(number: usize) -> String {
    format!(
        "do $$ begin \
           perform attrs from city_{number}.entities where tenant = 1 and id = 'urn:x:1'; \
           perform body from city_{number}.history where tenant = 1 and entity = 'urn:x:1' order by instance desc limit 10; \
         end $$"
    )
}
