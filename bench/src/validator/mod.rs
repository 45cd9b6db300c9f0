//! The validator against those that others use: bytes in, verdict out.
//!
//! * [`models`]: schemas, made from the attribute tables of Smart Data Models;
//! * [`entities`]: entities of them, of which some are wrong;
//! * [`peer`]: one implementation as a process of its own, which says how much CPU its verdicts cost;
//! * [`serve`]: what the process does, for those that are written in Rust.

mod entities;
mod models;
mod peer;
mod serve;

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

use crate::error::Error;
use crate::report::{Report, count, median};
use models::Model;
use peer::{Peer, Round};

/// How many types entities are of: at least 50, interleaved.
const TYPES: usize = 60;
/// How many different entities there are.
const ENTITIES: usize = 3_000;
/// How many models are loaded.
const MANY: usize = 1_000;

/// Arguments.
#[derive(Debug, Parser)]
#[command(name = "bench-validator")]
pub struct Args {
    /// Where peers and tables are: `make bench-validator-peers` fills it.
    #[arg(long, env = "MIM_BENCH_VALIDATOR")]
    peers: PathBuf,
    /// How often all are measured, in turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Where the table is written.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
    /// Serve verdicts of one implementation: what the benchmark starts itself with.
    #[arg(long, hide = true)]
    serve: Option<Serve>,
    /// The folder with models and entities.
    #[arg(long, hide = true, requires = "serve")]
    data: Option<PathBuf>,
}

/// What is written in Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Serve {
    /// The validator of this house.
    Ours,
    /// The crate `jsonschema`.
    Jsonschema,
    /// Nothing but the parser of this house.
    Parser,
    /// Loads many models and says what that took.
    Load,
}

/// Measures, prints the table and writes it; or serves, where the arguments say so.
pub fn run(args: &Args) -> Result<(), Error> {
    if let (Some(which), Some(data)) = (args.serve, &args.data) {
        return serve::serve(which, data);
    }
    println!("{}", crate::rig_line("one thread each, in turn"));
    let report = measure(args)?;
    println!("\n{}", report.table());
    let path = report.write(&args.results, "validator")?;
    println!("written to {}", path.display());
    Ok(())
}

fn measure(args: &Args) -> Result<Report, Error> {
    let folder = tempfile::tempdir().map_err(Error::file(Path::new("a temporary folder")))?;
    let data = folder.path();
    let models = models::of_tables(&args.peers.join("smartdatamodels.json.gz"))?;
    let chosen: Vec<&Model> = models.iter().take(TYPES).collect();
    let size = entities::write(&chosen, ENTITIES, data)?;
    models::write(&models, MANY, data)?;
    let mut report = Report::default();
    report.fact("types", count(chosen.len()), "");
    report.fact("entities, mean size", size, "bytes");
    duel(args, data, &mut report)?;
    load(data, &mut report)?;
    Ok(report)
}

/// The peers, each with what ours has to be faster by.
const PEERS: [(&str, Option<f64>); 6] = [
    ("ours", None),
    ("parser", None),
    ("jsonschema", None),
    ("ajv", Some(2.0)),
    ("fastjsonschema", Some(4.0)),
    ("python-jsonschema", Some(40.0)),
];

fn duel(args: &Args, data: &Path, report: &mut Report) -> Result<(), Error> {
    let mut peers = Vec::new();
    for (name, _) in PEERS {
        println!("{name}: reading the models");
        peers.push(Peer::start(name, &args.peers, data)?);
    }
    agree(&mut peers)?;
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); peers.len()];
    for number in 1..=args.rounds {
        for (peer, rounds) in peers.iter_mut().zip(&mut rounds) {
            let round = peer.round(args.seconds)?;
            println!(
                "round {number}: {} {:.2} µs of CPU for each",
                peer.name(),
                round.cpu_each() * 1e6
            );
            rounds.push(round);
        }
    }
    let costs: Vec<f64> = rounds.iter().map(|rounds| cost(rounds)).collect();
    let ours = costs.first().copied().unwrap_or_default();
    for ((name, goal), cost) in PEERS.iter().zip(costs) {
        report.fact(format!("{name}: CPU for each entity"), cost * 1e6, "µs");
        if let Some(goal) = goal {
            report.at_least(format!("{name} costs so many times ours"), cost / ours, "", *goal);
        }
    }
    Ok(())
}

fn cost(rounds: &[Round]) -> f64 {
    let each: Vec<f64> = rounds.iter().map(Round::cpu_each).collect();
    median(&each)
}

/// All that validate have the same verdicts.
fn agree(peers: &mut [Peer]) -> Result<(), Error> {
    let mut first: Option<String> = None;
    for peer in peers.iter_mut().filter(|peer| peer.name() != "parser") {
        let verdicts = peer.verdicts()?;
        let wrong = verdicts.bytes().filter(|verdict| *verdict == b'0').count();
        println!("{}: {wrong} of {} are wrong", peer.name(), verdicts.len());
        match &first {
            None => first = Some(verdicts),
            Some(ours) if *ours == verdicts => {}
            Some(ours) => {
                let at = ours.bytes().zip(verdicts.bytes()).position(|(a, b)| a != b);
                let name = peer.name();
                return Err(Error::Unexpected(format!(
                    "{name} has another verdict of entity {at:?}"
                )));
            }
        }
    }
    Ok(())
}

fn load(data: &Path, report: &mut Report) -> Result<(), Error> {
    let loaded = peer::loaded(data)?;
    report.fact("models loaded, mean size", loaded.size, "bytes");
    report.at_most(
        format!("loading {} models", loaded.models),
        loaded.seconds,
        "s",
        1.0,
    );
    report.at_most("memory of a process with them", loaded.mebibytes, "MiB", 60.0);
    Ok(())
}
