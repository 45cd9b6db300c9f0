//! State outside Kubernetes: a subscription in a broker, later a realm or a client of an identity provider.
//!
//! A kind says what must be there ([`Remote::wanted`]), reads what is there ([`Remote::read`]), and which one effect comes next
//! ([`Remote::next_step`], pure). A pass hands that over as an [`Errand`] after it has applied the children, and reads what became of it at the
//! next pass; the calls are made beside all passes by [`Errands`], bounded in time, size and number. Each turn reads before it acts and acts once, so a
//! crash between two requests is always a state that the next turn can read. `docs/decisions/0010-state-outside-kubernetes.md` says why.

mod door;
mod errand;
mod errands;

use std::sync::Arc;

use jiff::Timestamp;
use mim_egress::{Request, Response};

use super::event::Note;
use super::kind::Complaint;

pub use door::{Door, MAX_BODY, Unsent};
pub use errand::Errand;
pub use errands::{Errands, PERIOD, Timing};

/// How one kind keeps state outside Kubernetes.
pub trait Remote: Send + Sync + 'static {
    /// What the kind's validation gives.
    type Plan;
    /// What must be there and how it is reached; that it must not be there is one of its values.
    type Wanted: PartialEq + Send + Sync + 'static;
    /// What is there, as read.
    type Found: Send + Sync + 'static;

    /// What the plan asks for.
    fn wanted(plan: &Self::Plan) -> Self::Wanted;

    /// Where it is, as a status may show it: the address of a broker. Calls to one place are few at a time.
    fn place(wanted: &Self::Wanted) -> &str;

    /// What it is, in words of events: `subscription urn:…`.
    fn what(wanted: &Self::Wanted) -> String;

    /// Changes whenever something else is to be written. It stands in a status, so nothing secret may follow from it.
    fn digest(wanted: &Self::Wanted) -> String;

    /// Reads what is there.
    fn read(
        wanted: &Self::Wanted,
        door: &Door<'_>,
    ) -> impl Future<Output = Result<Self::Found, Complaint>> + Send;

    /// The next effect; `None`: it is as wanted. Pure.
    fn next_step(wanted: &Self::Wanted, found: &Self::Found, written: &Written) -> Option<Step>;

    /// What the answer to a step means: `Ok` where it is done, or need not be done any more.
    fn judge(wanted: &Self::Wanted, step: &Step, answer: Result<Response, Unsent>) -> Result<(), Complaint>;

    /// A digest of what the other side shows of that which can be written; `None`: nothing is there. Nothing secret may follow from it.
    fn shown(wanted: &Self::Wanted, found: &Self::Found) -> Option<String>;

    /// Changes whenever the object has to tell something else; not with numbers that move all the time.
    fn news(wanted: &Self::Wanted, found: &Self::Found) -> u64;
}

/// What the operator knows of its own last write. It is kept in the object's status: a new process goes on where this one ended, and without it
/// one more write is made that changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Written {
    /// Where that was.
    pub place: Option<String>,
    /// What was wanted: [`Remote::digest`], and what else the kind adds to it.
    pub applied: Option<String>,
    /// What the other side showed then; absent until it has been read.
    pub shown: Option<String>,
}

/// One effect: one request.
#[derive(Clone, Debug)]
pub struct Step {
    /// The request.
    pub request: Request,
    /// What is known to be written once it has succeeded; its place is filled in.
    pub then: Written,
    /// What to tell then.
    pub note: Option<Note>,
}

/// What the last turn found.
#[derive(Debug)]
pub struct Finding<F> {
    /// Digest of what was wanted.
    pub of: String,
    /// What is there, or why that is not known.
    pub found: Result<Arc<F>, Complaint>,
    /// Whether nothing is left to do.
    pub settled: bool,
    /// What is known to be written.
    pub written: Written,
    /// When it was read.
    pub at: Timestamp,
}

impl<F> Clone for Finding<F> {
    fn clone(&self) -> Self {
        Self {
            of: self.of.clone(),
            found: self.found.clone(),
            settled: self.settled,
            written: self.written.clone(),
            at: self.at,
        }
    }
}
