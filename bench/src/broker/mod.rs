//! The broker against PostgreSQL itself, and against its own goals: speed, memory, replicas, tenants.
//!
//! * [`postgres`], [`replica`]: the server and the broker, as a city has them;
//! * [`load`] over [`http`]: clients that cost little, in a closed loop or in an open one;
//! * [`pgbench`] with [`statements`]: the peer, with the broker's own SQL;
//! * [`duel`]: both in turn, and what their CPU goes to;
//! * [`reads`], [`writes`], [`notifying`], [`crowd`], [`limits`], [`size`], [`replicas`], [`tenancy`]: what is
//!   measured;
//! * [`schemas`], [`policies`]: what was not chosen to keep tenants apart.

mod crowd;
mod duel;
mod entities;
mod http;
mod limits;
pub(crate) mod load;
mod mail;
mod notifying;
mod pgbench;
mod policies;
mod postgres;
mod reads;
mod replica;
mod replicas;
mod schemas;
mod size;
mod statements;
mod tenancy;
mod writes;

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

use crate::error::Error;
use crate::report::Report;
use duel::{Measure, measured};
use load::{Load, Work};
use postgres::{Database, Postgres};
use replica::{Replica, Setup};

/// The most memory that a replica may ever have, in MiB.
const MEMORY: f64 = 120.0;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// How long a start takes, and what an idle broker weighs.
    Start,
    /// One entity by id.
    Retrieve,
    /// One new entity.
    Create,
    /// A hundred new entities.
    Batch,
    /// By type and `q`.
    Queries,
    /// By distance.
    Near,
    /// From a write to the receiver of its notification.
    Notify,
    /// What many subscriptions cost writes.
    Subscriptions,
    /// What quotas cost writes.
    Quotas,
    /// Large entities, many at once.
    Large,
    /// One, two and four replicas.
    Replicas,
    /// Many tenants with a long past.
    Tenancy,
    /// The same with a schema for each tenant.
    Schemas,
    /// Tables that tenants share, with row-level security.
    Policies,
}

/// Measures the broker's release binary on a PostgreSQL of its own, with pgbench beside it.
#[derive(Debug, Parser)]
pub struct Args {
    /// Entities that are queried; those that are retrieved are a tenth of it.
    #[arg(long, default_value_t = 1_000_000)]
    entities: usize,
    /// Rounds of everything; medians are judged.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each run is.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Parts, in place of all.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    /// Clients.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Connections to the database, of a replica and of pgbench.
    #[arg(long, default_value_t = 10)]
    connections: usize,
    /// Tenants of the part that has many.
    #[arg(long, default_value_t = 300)]
    tenants: usize,
    /// Months of their past.
    #[arg(long, default_value_t = 36)]
    months: i32,
    /// Subscriptions of the part that has many.
    #[arg(long, default_value_t = 10_000)]
    subscriptions: usize,
    /// The database's `shared_buffers`: a quarter of the memory of its pod, which is 1 GiB where nobody says otherwise.
    #[arg(long, default_value = "256MB")]
    shared_buffers: String,
    /// Where the database is made; absent: the folder for temporary files. On a disk, else `fsync` says nothing.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The broker's release binary; absent: beside this program.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where `broker.json` is written.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// What the parts share.
struct Rig<'a> {
    args: &'a Args,
    program: PathBuf,
    server: Postgres,
    /// The most memory of each replica that has ended, in MiB, and in which part.
    peaks: Vec<(String, f64)>,
}

impl Rig<'_> {
    fn setup(&self) -> Setup {
        Setup {
            tenants: Vec::new(),
            quotas: "{}",
            keeps_past: false,
            connections: self.args.connections,
        }
    }

    /// A new database and a replica on it.
    async fn fresh(&self, setup: &Setup) -> Result<(Database, Replica), Error> {
        let database = self.server.database()?;
        let replica = Replica::start(&self.program, &database, setup).await?;
        Ok((database, replica))
    }

    /// As much as the replicas take in a closed loop, refusals counted.
    fn most(&self, replicas: &[Replica], work: &Work<'_>) -> Result<Measure, Error> {
        let at: Vec<_> = replicas.iter().map(Replica::api).collect();
        let load = Load {
            at: &at,
            clients: self.args.clients,
            seconds: self.args.seconds,
            rate: None,
            may_refuse: true,
        };
        measured(&self.server, replicas, || load::run(&load, work))
    }

    /// The number of a tenant in the database.
    fn tenant(&self, database: &Database, name: &str) -> Result<i32, Error> {
        self.number(
            database,
            &format!("select id from mim.tenants where name = '{name}'"),
        )
    }

    /// What SQL says that gives one number.
    fn number(&self, database: &Database, sql: &str) -> Result<i32, Error> {
        let said = self.server.psql(&database.name, sql)?;
        said.parse()
            .map_err(|_| Error::Unexpected(format!("{sql} is to give a number, not {said:?}")))
    }

    /// Ends a replica and remembers its peak.
    async fn end(&mut self, part: &str, replica: Replica) -> Result<(), Error> {
        let peak = replica.stop().await?;
        self.peaks.push((part.to_owned(), peak));
        Ok(())
    }

    /// Ends a replica, and its database too.
    async fn end_all(&mut self, part: &str, database: Database, replica: Replica) -> Result<(), Error> {
        self.end(part, replica).await?;
        self.server.drop(&database)
    }
}

/// Runs the parts and returns the rows.
pub async fn run(args: &Args) -> Result<Report, Error> {
    let below = args.data.clone().unwrap_or_else(std::env::temp_dir);
    let mut rig = Rig {
        args,
        program: program(args)?,
        server: Postgres::start(&below, &args.shared_buffers)?,
        peaks: Vec::new(),
    };
    let mut report = Report::default();
    for part in Part::value_variants() {
        if args.wants(*part) {
            say(&format!("{part:?}"));
            measure(*part, &mut rig, &mut report).await?;
            // What was measured is kept, whatever becomes of the parts that follow.
            report.write(&args.results, "broker")?;
        }
    }
    for (part, peak) in &rig.peaks {
        report.fact(format!("memory, the most ever, {part}"), *peak, "MiB");
    }
    let most = rig.peaks.iter().map(|(_, peak)| *peak).fold(0.0, f64::max);
    report.at_most("memory, the most ever of any replica", most, "MiB", MEMORY);
    Ok(report)
}

async fn measure(part: Part, rig: &mut Rig<'_>, report: &mut Report) -> Result<(), Error> {
    match part {
        Part::Start => size::start(rig, report).await,
        Part::Retrieve => reads::retrieve(rig, report).await,
        Part::Create => writes::create(rig, report).await,
        Part::Batch => writes::batch(rig, report).await,
        Part::Queries => {
            let near = rig.args.wants(Part::Near);
            reads::searches(rig, report, true, near).await
        }
        // Together they need a million entities once.
        Part::Near if rig.args.wants(Part::Queries) => Ok(()),
        Part::Near => reads::searches(rig, report, false, true).await,
        Part::Notify => notifying::notify(rig, report).await,
        Part::Subscriptions => crowd::subscriptions(rig, report).await,
        Part::Quotas => limits::quotas(rig, report).await,
        Part::Large => size::large(rig, report).await,
        Part::Replicas => replicas::replicas(rig, report).await,
        Part::Tenancy => tenancy::tenancy(rig, report).await,
        Part::Schemas => schemas::schemas(rig, report).await,
        Part::Policies => policies::policies(rig, report).await,
    }
}

/// Where the rows go.
#[must_use]
pub fn results(args: &Args) -> &Path {
    &args.results
}

fn say(what: &str) {
    eprintln!("bench broker: {what}");
}

fn program(args: &Args) -> Result<PathBuf, Error> {
    if let Some(program) = &args.broker {
        return Ok(program.clone());
    }
    let own = std::env::current_exe().map_err(Error::file(Path::new("this program")))?;
    let beside = own.with_file_name("mim-broker");
    if beside.exists() {
        return Ok(beside);
    }
    Err(Error::Unexpected(format!(
        "{} does not exist: build it with cargo build --release -p mim-broker, or name one with --broker",
        beside.display()
    )))
}
