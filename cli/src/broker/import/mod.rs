//! `mimctl broker import`: entities of a file, one a line, into a tenant.
//!
//! * [`lines`]: the file, line by line; [`batch`]: lines that are sent together;
//! * [`send`]: what becomes of a batch; [`rejects`]: what the broker does not take, and why.

pub mod batch;
pub mod lines;
pub mod rejects;
pub mod send;

use crate::arguments::ImportArguments;
use crate::broker::checkpoint::{Checkpoint, beside};
use crate::broker::client::Client;
use crate::broker::client::target::Target;
use crate::broker::import::batch::Batch;
use crate::broker::import::lines::Lines;
use crate::broker::import::rejects::{Rejected, Rejects};
use crate::broker::import::send::Sender;
use crate::broker::progress::Progress;
use crate::failure::{Failure, Outcome};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of what, into what.
    of: Source,
    /// Where in the file the next line begins, and its number.
    offset: u64,
    line: u64,
    /// How many entities were taken.
    taken: u64,
    /// How many were not, and how many bytes the file of rejects has.
    rejected: u64,
    rejects: u64,
}

/// What is imported: what has to be the same for one to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    url: String,
    tenant: String,
    update: bool,
    /// How many bytes the file has.
    size: u64,
}

/// Runs the command.
pub async fn run(wanted: &ImportArguments) -> Result<Outcome, Failure> {
    let target = Target::of(&wanted.broker)?;
    let size = std::fs::metadata(&wanted.file)
        .map_err(Failure::of(&wanted.file))?
        .len();
    let source = Source {
        url: target.url().to_string(),
        tenant: target.tenant().to_owned(),
        update: wanted.update,
        size,
    };
    let path = wanted
        .state
        .clone()
        .unwrap_or_else(|| beside(&wanted.file, ".import"));
    let checkpoint = Checkpoint::at(path);
    let before = if wanted.restart {
        None
    } else {
        checkpoint.read::<State>()?
    };
    let goes_on = before.is_some() || wanted.restart;
    let state = state(before, source, &checkpoint)?;
    let rejects = wanted
        .rejects
        .clone()
        .unwrap_or_else(|| beside(&wanted.file, ".rejects"));
    let mut import = Import {
        lines: Lines::open(&wanted.file, state.offset, state.line)?,
        rejects: Rejects::open(rejects, state.rejects, goes_on)?,
        progress: Progress::of("import", state.taken),
        state,
        checkpoint,
        most: usize::from(wanted.batch.get()),
    };
    if import.state.offset > 0 {
        let line = import.state.line;
        import
            .progress
            .note(&format!("import: going on with line {line}"));
    }
    let client = Client::of(
        target,
        Duration::from_secs(wanted.broker.patience),
        Duration::from_secs(wanted.broker.timeout),
    );
    import.run(Sender::of(client, wanted.update)).await
}

fn state(before: Option<State>, source: Source, checkpoint: &Checkpoint) -> Result<State, Failure> {
    match before {
        Some(state) if state.of == source => Ok(state),
        Some(state) => Err(Failure::Usage(format!(
            "{} is of another import: into {}, tenant {:?}, of a file of {} bytes; write --restart to forget it, or another --state",
            checkpoint.path().display(),
            state.of.url,
            state.of.tenant,
            state.of.size
        ))),
        None => Ok(State {
            of: source,
            offset: 0,
            line: 1,
            taken: 0,
            rejected: 0,
            rejects: 0,
        }),
    }
}

struct Import {
    lines: Lines,
    rejects: Rejects,
    progress: Progress,
    state: State,
    checkpoint: Checkpoint,
    most: usize,
}

impl Import {
    async fn run(&mut self, mut sender: Sender) -> Result<Outcome, Failure> {
        loop {
            let (batch, unreadable) = Batch::next(&mut self.lines, self.most)?;
            if batch.is_empty() && unreadable.is_empty() {
                break;
            }
            let count = batch.len();
            let mut rejected = sender.send(batch, &mut self.progress).await?;
            self.state.taken += number(count.saturating_sub(rejected.len()));
            rejected.extend(unreadable);
            self.note(rejected)?;
            (self.state.offset, self.state.line) = self.lines.place();
            if self.checkpoint.is_due() {
                self.rejects.sync()?;
                self.checkpoint.write(&self.state)?;
            }
            let more = format!(", {} rejected", self.state.rejected);
            self.progress.tell(self.state.taken, &more);
        }
        self.end()
    }

    fn note(&mut self, mut rejected: Vec<Rejected>) -> Result<(), Failure> {
        rejected.sort_by_key(|one| one.line);
        for one in &rejected {
            self.state.rejects += self.rejects.write(one)?;
            self.state.rejected += 1;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Outcome, Failure> {
        self.rejects.sync()?;
        self.checkpoint.remove()?;
        let rejected = self.state.rejected;
        if rejected == 0 {
            self.progress.end(self.state.taken, "");
            return Ok(Outcome::Whole);
        }
        let more = format!(
            "; {rejected} were rejected, {} says why",
            self.rejects.path().display()
        );
        self.progress.end(self.state.taken, &more);
        Ok(Outcome::WithRejects)
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
