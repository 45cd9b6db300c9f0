//! `mim-etsi`: ETSI's NGSI-LD test suite against the broker, group by group. `make etsi` runs it.
//!
//! The suite is somebody else's and not part of this repository. Each group gets a new database and a new broker; what
//! fails is compared with `expected.toml`, and any difference is a failure.

mod broker;
mod compare;
mod contexts;
mod error;
mod expected;
mod groups;
mod mosquitto;
mod network;
#[path = "../../../services/broker/tests/support/postgres.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::zombie_processes,
    reason = "the server of the broker's own tests; it ends with this process, and without it nothing can be measured"
)]
mod postgres;
mod robot;
mod table;

use clap::Parser;
use compare::Verdict;
use error::{Error, Result};
use expected::Expected;
use groups::{GROUPS, Group};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use table::Table;

/// Runs ETSI's NGSI-LD test suite against the broker and compares with what is expected to fail.
#[derive(Parser)]
#[command(name = "mim-etsi")]
struct Arguments {
    /// Checkout of the suite: the folder with TP, resources, data and libraries.
    #[arg(long)]
    suite: PathBuf,
    /// The program `robot`, with the suite's requirements. Absent: that of `.venv` in the suite, or the one on PATH.
    #[arg(long)]
    robot: Option<PathBuf>,
    /// The broker's program.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Cases that are expected to fail, with the reasons.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/expected.toml"))]
    expected: PathBuf,
    /// Where logs and reports go, a folder per group.
    #[arg(long, default_value = "target/etsi")]
    out: PathBuf,
    /// Run only groups whose name contains this, ignoring case; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Run only cases whose name contains this.
    #[arg(long)]
    case: Option<String>,
    /// This process is in a network of its own already.
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("mim-etsi: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as expected.
fn run(arguments: &Arguments) -> Result<bool> {
    let plan = Plan::new(arguments)?;
    if !arguments.inside {
        return Err(network::enter());
    }
    network::bring_up()?;
    let groups = groups::chosen(&arguments.only)?;
    let mut table = Table::default();
    for group in &groups {
        table.add(group.name, plan.group(group)?);
    }
    let whole = groups.len() == GROUPS.len() && arguments.case.is_none();
    let unknown = if whole {
        table.never_run(&plan.expected)
    } else {
        Vec::new()
    };
    print!("{}", table.text(&unknown));
    Ok(table.is_as_expected() && unknown.is_empty())
}

/// What every group needs.
struct Plan<'a> {
    robot: robot::Robot,
    broker: PathBuf,
    expected: Expected,
    out: &'a Path,
}

impl<'a> Plan<'a> {
    /// Finds everything, so that what is missing is said before the first group.
    fn new(arguments: &'a Arguments) -> Result<Self> {
        Ok(Self {
            robot: robot::Robot::find(
                &arguments.suite,
                arguments.robot.as_deref(),
                arguments.case.as_deref(),
            )?,
            broker: broker::find(arguments.broker.as_deref())?,
            expected: Expected::read(&arguments.expected)?,
            out: &arguments.out,
        })
    }

    /// One group against a new broker on a new database.
    fn group(&self, group: &Group) -> Result<Vec<Verdict>> {
        let out = self.out.join(group.name);
        std::fs::create_dir_all(&out).map_err(|source| Error::Write {
            path: out.clone(),
            source,
        })?;
        let out = std::path::absolute(&out).map_err(|source| Error::Write { path: out, source })?;
        let mut broker = broker::Broker::start(&self.broker, self.robot.suite(), &out.join("broker.log"))?;
        let cases = self.robot.run(group, broker.api(), &out)?;
        let mut verdicts = compare::compare(&cases, &self.expected);
        verdicts.extend(broker.misdeeds().into_iter().map(|why| Verdict {
            name: group.name.to_owned(),
            outcome: compare::Outcome::FailedUnexpectedly(why),
        }));
        Ok(verdicts)
    }
}
