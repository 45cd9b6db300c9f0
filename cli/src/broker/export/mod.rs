//! `mimctl broker export`: all entities of a tenant, one a line, each once.
//!
//! * [`walk`]: from page to page while others write, so that none is lost and none comes twice;
//! * [`selection`]: how the broker is asked for all of them;
//! * [`part`]: the file while it is not whole; [`line`]: an entity as a line.

pub mod line;
pub mod part;
pub mod selection;
pub mod walk;

use crate::arguments::ExportArguments;
use crate::broker::checkpoint::{Checkpoint, beside};
use crate::broker::client::target::Target;
use crate::broker::client::{Answer, Ask, Client};
use crate::broker::export::line::Page;
use crate::broker::export::part::Part;
use crate::broker::export::selection::{Plan, has_next, is_too_much};
use crate::broker::export::walk::{Step, Walk};
use crate::broker::progress::Progress;
use crate::failure::{Failure, Outcome};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The fewest that are asked for at once: of a page, one is already there.
const LEAST: usize = 2;
const CORE_RELATION: &str = "http://www.w3.org/ns/json-ld#context";

/// How far an export is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Of what.
    pub of: Source,
    /// How the broker is asked.
    pub plan: Plan,
    /// Where in it.
    pub walk: Walk,
    /// How many entities are in the file, and in how many bytes.
    pub entities: u64,
    /// See [`Self::entities`].
    pub bytes: u64,
}

/// What is exported: what has to be the same for one to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    url: String,
    tenant: String,
    context: Option<String>,
    sys_attrs: bool,
}

/// Runs the command.
pub async fn run(wanted: &ExportArguments) -> Result<Outcome, Failure> {
    if wanted.file.exists() {
        return Err(Failure::Usage(format!(
            "{} is there already; move it away or write another name",
            wanted.file.display()
        )));
    }
    let target = Target::of(&wanted.broker)?;
    let source = Source {
        url: target.url().to_string(),
        tenant: target.tenant().to_owned(),
        context: wanted.context.as_ref().map(ToString::to_string),
        sys_attrs: wanted.sys_attrs,
    };
    let checkpoint = Checkpoint::at(beside(&wanted.file, ".state"));
    let before = if wanted.restart {
        None
    } else {
        checkpoint.read::<State>()?
    };
    let mut export = Export {
        progress: Progress::of("export", before.as_ref().map_or(0, |state| state.entities)),
        client: Client::of(
            target,
            Duration::from_secs(wanted.broker.patience),
            Duration::from_secs(wanted.broker.timeout),
        ),
        headers: headers(wanted),
        source,
        checkpoint,
    };
    let state = export.state(before, usize::from(wanted.page.get())).await?;
    let part = Part::open(beside(&wanted.file, ".part"), state.bytes)?;
    export.run(state, part, wanted).await?;
    Ok(Outcome::Whole)
}

/// Without a context of the client's, names are told in full and a line needs none; with one, each line carries it.
fn headers(wanted: &ExportArguments) -> Vec<(&'static str, String)> {
    match &wanted.context {
        None => vec![("accept", "application/json".to_owned())],
        Some(context) => vec![
            ("accept", "application/ld+json".to_owned()),
            (
                "link",
                format!("<{context}>; rel=\"{CORE_RELATION}\"; type=\"application/ld+json\""),
            ),
        ],
    }
}

struct Export {
    client: Client,
    progress: Progress,
    headers: Vec<(&'static str, String)>,
    source: Source,
    checkpoint: Checkpoint,
}

impl Export {
    /// Where to go on, or to begin.
    async fn state(&mut self, before: Option<State>, page: usize) -> Result<State, Failure> {
        if let Some(state) = before {
            if state.of != self.source {
                return Err(Failure::Usage(format!(
                    "{} is of another export: of {}, tenant {:?}; write --restart to forget it, or another file",
                    self.checkpoint.path().display(),
                    state.of.url,
                    state.of.tenant
                )));
            }
            self.progress
                .note(&format!("export: going on after {} entities", state.entities));
            return Ok(state);
        }
        let plan = selection::plan(&mut self.client, &mut self.progress, page.max(LEAST)).await?;
        let walk = Walk::begin(plan.is_by_id());
        Ok(State {
            of: self.source.clone(),
            plan,
            walk,
            entities: 0,
            bytes: 0,
        })
    }

    async fn run(
        &mut self,
        mut state: State,
        mut part: Part,
        wanted: &ExportArguments,
    ) -> Result<(), Failure> {
        if !state.walk.is_by_id() {
            state.walk.has_seen(part.ids()?);
        }
        while let Some(selection) = state.plan.selection().map(str::to_owned) {
            let (answer, page) = self.page(&mut state, &selection).await?;
            match state.walk.take(page.ids(), state.plan.limit) {
                Step::Take(new) => {
                    for index in new {
                        state.bytes += part.write(page.line(index))?;
                        state.entities += 1;
                    }
                }
                Step::NotById => {
                    self.progress
                        .note("export: this broker has an order of its own; ids are remembered instead");
                    state.walk = Walk::begin(false);
                    state.walk.has_seen(part.ids()?);
                }
                Step::Unsteady => {
                    return Err(Failure::Refused(
                        "the broker's order changes faster than it can be read; export while less is written"
                            .to_owned(),
                    ));
                }
                Step::Done if has_next(&answer.headers) => {
                    return Err(Failure::Refused(
                        "the broker gives one entity at a time, which cannot be told from the last one"
                            .to_owned(),
                    ));
                }
                Step::Done => {
                    state.plan.next();
                    state.walk = state.walk.of_next();
                }
            }
            if self.checkpoint.is_due() {
                part.sync()?;
                self.checkpoint.write(&state)?;
            }
            self.progress
                .tell(state.entities, &format!(", {} MiB", state.bytes >> 20));
        }
        part.finish(&wanted.file)?;
        self.checkpoint.remove()?;
        self.progress
            .end(state.entities, &format!(" in {}", wanted.file.display()));
        Ok(())
    }

    /// The page that is next; fewer entities where so many are too much at once.
    async fn page(&mut self, state: &mut State, selection: &str) -> Result<(Answer, Page), Failure> {
        loop {
            let options = if self.source.sys_attrs {
                "&options=sysAttrs"
            } else {
                ""
            };
            let ask = Ask {
                method: Method::GET,
                path: format!(
                    "/entities?{selection}&limit={}&offset={}{options}",
                    state.plan.limit,
                    state.walk.offset()
                ),
                headers: self.headers.clone(),
                body: bytes::Bytes::new(),
            };
            let answer = self.client.ask(&ask, &mut self.progress).await?;
            match &answer.body {
                Some(body) if answer.status == StatusCode::OK => {
                    let page = Page::read(body)?;
                    return Ok((answer, page));
                }
                _ if is_too_much(&answer) && state.plan.limit > LEAST => {
                    state.plan.limit = (state.plan.limit / 2).max(LEAST);
                }
                _ => {
                    return Err(Failure::Refused(format!(
                        "the broker does not list entities: {}",
                        answer.words()
                    )));
                }
            }
        }
    }
}
