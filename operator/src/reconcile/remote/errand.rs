//! What a pass hands over, and one turn of it: read, find the next step, take it.

use std::any::Any;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Door, Remote, Unsent, Written};
use crate::reconcile::event::Note;
use crate::reconcile::kind::Complaint;

/// What has to be brought about outside Kubernetes for one object. A clone is the same errand.
#[derive(Clone)]
pub struct Errand {
    pub(super) job: Arc<dyn Job>,
    /// What is known of earlier writes, by the object's status.
    pub(super) written: Written,
    /// Another value asks for a turn now.
    pub(super) nudge: u64,
    /// Whether it only looks: what it finds is told, nothing is changed.
    pub(super) only_looks: bool,
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand")
            .field("what", &self.job.what())
            .field("digest", &self.job.digest())
            .finish_non_exhaustive()
    }
}

impl Errand {
    /// To bring about what is wanted. `nudge`: what else, when it changes, is a reason to look now.
    #[must_use]
    pub fn new<R: Remote>(wanted: R::Wanted, written: Written, nudge: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        nudge.hash(&mut hasher);
        Self {
            job: Arc::new(Of::<R> { wanted }),
            written,
            nudge: hasher.finish(),
            only_looks: false,
        }
    }

    /// The same, which changes nothing.
    #[must_use]
    pub fn only_looking(mut self) -> Self {
        self.only_looks = true;
        self
    }

    /// Whether another errand is after the very same.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.only_looks == other.only_looks && self.job.is(&*other.job)
    }
}

/// What one turn came to.
pub(super) struct Turn {
    /// What is known to be written now.
    pub written: Written,
    pub outcome: Outcome,
}

pub(super) enum Outcome {
    /// All is as wanted.
    Settled(Sight),
    /// Something is to be done, by somebody who may.
    Differs(Sight),
    /// One step was taken; what it came to is for the next turn to read.
    Stepped(Option<Note>),
    /// It is not known, or could not be done.
    Failed(Complaint),
    /// The lease is lost: nothing was done.
    Void,
}

/// What was found, whatever its type.
pub(super) struct Sight {
    pub found: Arc<dyn Any + Send + Sync>,
    pub news: u64,
}

/// An errand whatever it is after.
pub(super) trait Job: Send + Sync {
    fn place(&self) -> &str;
    fn what(&self) -> String;
    fn digest(&self) -> String;
    fn turn<'a>(&'a self, door: Door<'a>, written: Written, only_looks: bool) -> BoxFuture<'a, Turn>;
    fn is(&self, other: &dyn Job) -> bool;
    fn as_any(&self) -> &dyn Any;
}

struct Of<R: Remote> {
    wanted: R::Wanted,
}

impl<R: Remote> Job for Of<R> {
    fn place(&self) -> &str {
        R::place(&self.wanted)
    }

    fn what(&self) -> String {
        R::what(&self.wanted)
    }

    fn digest(&self) -> String {
        R::digest(&self.wanted)
    }

    fn turn<'a>(&'a self, door: Door<'a>, written: Written, only_looks: bool) -> BoxFuture<'a, Turn> {
        turn::<R>(&self.wanted, door, written, only_looks).boxed()
    }

    fn is(&self, other: &dyn Job) -> bool {
        let other = other.as_any().downcast_ref::<Self>();
        other.is_some_and(|other| other.wanted == self.wanted)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

async fn turn<R: Remote>(wanted: &R::Wanted, door: Door<'_>, written: Written, only_looks: bool) -> Turn {
    let found = match R::read(wanted, &door).await {
        Ok(found) => found,
        Err(complaint) => return Turn::failed(written, complaint),
    };
    let Some(step) = R::next_step(wanted, &found, &written) else {
        let shown = R::shown(wanted, &found);
        let written = Written {
            place: Some(R::place(wanted).to_owned()),
            applied: written.applied.filter(|_| shown.is_some()),
            shown,
        };
        let sight = sight::<R>(wanted, found);
        return Turn {
            written,
            outcome: Outcome::Settled(sight),
        };
    };
    if only_looks {
        return Turn {
            written,
            outcome: Outcome::Differs(sight::<R>(wanted, found)),
        };
    }
    let answer = door.send(step.request.clone()).await;
    if answer.as_ref().is_err_and(|why| *why == Unsent::NoLease) {
        return Turn {
            written,
            outcome: Outcome::Void,
        };
    }
    match R::judge(wanted, &step, answer) {
        Ok(()) => Turn {
            written: Written {
                place: Some(R::place(wanted).to_owned()),
                ..step.then
            },
            outcome: Outcome::Stepped(step.note),
        },
        Err(complaint) => Turn::failed(written, complaint),
    }
}

fn sight<R: Remote>(wanted: &R::Wanted, found: R::Found) -> Sight {
    Sight {
        news: R::news(wanted, &found),
        found: Arc::new(found),
    }
}

impl Turn {
    const fn failed(written: Written, complaint: Complaint) -> Self {
        Self {
            written,
            outcome: Outcome::Failed(complaint),
        }
    }
}
