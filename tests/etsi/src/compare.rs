//! What a case came to, beside what was expected of it.

use crate::expected::{Expected, Reason};
use crate::robot::Case;

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub name: String,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed, as it should.
    Passed,
    /// It failed, for a reason that is known.
    FailedAsExpected(Reason),
    /// It failed and nothing says why it may.
    FailedUnexpectedly(String),
    /// It passed though the file says that it fails: the file is out of date.
    PassedUnexpectedly,
    /// The suite has skipped it.
    Skipped(String),
}

/// Puts each case beside its expectation.
pub fn compare(cases: &[Case], expected: &Expected) -> Vec<Verdict> {
    let verdict = |case: &Case| Verdict {
        name: case.name.clone(),
        outcome: outcome(case, expected.reason(&case.name)),
    };
    cases.iter().map(verdict).collect()
}

fn outcome(case: &Case, reason: Option<&Reason>) -> Outcome {
    use crate::robot::Status;
    match (case.status, reason) {
        (Status::Pass, None) => Outcome::Passed,
        (Status::Pass, Some(_)) => Outcome::PassedUnexpectedly,
        (Status::Fail, Some(reason)) => Outcome::FailedAsExpected(reason.clone()),
        (Status::Fail, None) => Outcome::FailedUnexpectedly(case.message.clone()),
        (Status::Skip | Status::NotRun, _) => Outcome::Skipped(case.message.clone()),
    }
}
