//! The operator against a client that does nothing but send, and against its own goals at rest.

mod audit;
mod brokers;
mod kubelet;
mod recording;
mod replay;
mod rig;
mod rounds;
mod rows;
mod steady;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;

use crate::error::Error;
use crate::report::Report;
use recording::Sequence;
use rounds::{BareRun, OperatorRun};

/// The number of objects that the goals speak of.
const GOAL_OBJECTS: usize = 1000;
/// How many of the swept concurrencies race.
const RACERS: usize = 2;

/// Measures the operator on a control plane of its own (etcd and kube-apiserver); pods are simulated.
#[derive(Debug, Parser)]
pub struct Args {
    /// Objects of the race and of the steady part.
    #[arg(long, default_value_t = GOAL_OBJECTS)]
    objects: usize,
    /// Rounds of the race; medians are judged.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Minutes without a change, in which only watches and the lease may be heard.
    #[arg(long, default_value_t = 10.0)]
    idle_minutes: f64,
    /// Objects at a time that the bare client is tried with; the best two race.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64")]
    concurrency: Vec<usize>,
    /// The operator's release binary; absent: beside this program.
    #[arg(long)]
    operator: Option<PathBuf>,
    /// Where `operator.json` is written.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

/// A concurrency and the bare client's runs with it.
type Racer = (usize, Vec<BareRun>);

/// Runs all of it and returns the rows.
pub async fn run(args: &Args) -> Result<Report, Error> {
    let program = program(args)?;
    let objects = args.objects;
    say("recording what the operator sends");
    let sequences = Arc::new(recording::record().await?);
    let mut report = Report::default();
    let racers = sweep(args, &sequences, &mut report).await?;
    let (operator, racers) = race(args, &program, &sequences, racers).await?;
    rows::race(&mut report, objects, &sequences, &operator, &racers);
    let idle = Duration::from_secs_f64(args.idle_minutes * 60.0);
    say(&format!(
        "steady: {objects} objects, then {} idle minutes",
        args.idle_minutes
    ));
    let steady = steady::measure(&program, objects, idle).await?;
    rows::steady(&mut report, objects, args.idle_minutes, &steady);
    Ok(report)
}

/// Where the rows go.
#[must_use]
pub fn results(args: &Args) -> &std::path::Path {
    &args.results
}

fn say(what: &str) {
    eprintln!("bench operator: {what}");
}

fn program(args: &Args) -> Result<PathBuf, Error> {
    if let Some(program) = &args.operator {
        return Ok(program.clone());
    }
    let own = std::env::current_exe().map_err(Error::file(std::path::Path::new("this program")))?;
    let beside = own.with_file_name("mim-operator");
    if beside.exists() {
        return Ok(beside);
    }
    Err(Error::Unexpected(format!(
        "{} does not exist: build it with cargo build --release -p mim-operator, or name one with --operator",
        beside.display()
    )))
}

/// Tries every concurrency once, and returns the quickest.
async fn sweep(
    args: &Args,
    sequences: &Arc<Vec<Sequence>>,
    report: &mut Report,
) -> Result<Vec<usize>, Error> {
    let mut times = Vec::new();
    for concurrency in &args.concurrency {
        let run = rounds::bare(sequences, args.objects, *concurrency).await?;
        say(&format!(
            "sweep: bare client, {concurrency} at a time: {:.2} s",
            run.seconds
        ));
        report.fact(
            format!(
                "bare client, {} objects, {concurrency} at a time, once",
                args.objects
            ),
            run.seconds,
            "s",
        );
        times.push((run.seconds, *concurrency));
    }
    times.sort_by(|one, other| one.0.total_cmp(&other.0));
    Ok(times
        .into_iter()
        .take(RACERS)
        .map(|(_, concurrency)| concurrency)
        .collect())
}

async fn race(
    args: &Args,
    program: &std::path::Path,
    sequences: &Arc<Vec<Sequence>>,
    concurrencies: Vec<usize>,
) -> Result<(Vec<OperatorRun>, Vec<Racer>), Error> {
    let mut operator = Vec::new();
    let mut racers: Vec<Racer> = concurrencies.into_iter().map(|of| (of, Vec::new())).collect();
    for round in 1..=args.rounds {
        let run = rounds::operator(program, args.objects).await?;
        say(&format!("round {round}: operator {:.2} s", run.seconds));
        operator.push(run);
        for (concurrency, runs) in &mut racers {
            let run = rounds::bare(sequences, args.objects, *concurrency).await?;
            say(&format!(
                "round {round}: bare client, {concurrency} at a time: {:.2} s",
                run.seconds
            ));
            runs.push(run);
        }
    }
    Ok((operator, racers))
}
