//! What the batches make of each entity, item by item: an id that comes several times is treated as in as many requests,
//! in order (clause 5.5.11).

use crate::api::batch::contexts::BatchContexts;
use crate::api::batch::items::Given;
use crate::api::entities::{denied, no_entity};
use crate::api::problem::{ErrorType, Problem};
use crate::model::change::{self, Existing, UpdateResult};
use crate::model::entity::{Entity, Fragment};
use crate::model::json::Json;
use crate::model::merge::{self, Manner};
use crate::model::read::{Nulls, Reader};
use crate::permissions::Who;
use crate::permissions::change::{Denied, Extent};
use crate::store::decide::{Decide, Decision, Verdict};
use jiff::Timestamp;

/// The changes that a batch has for each id; of each of them the nth is decided given what the ones before it made.
fn nth<'g, T>(given: &'g Given<T>, id: &str, nth: usize) -> Option<&'g T> {
    given.get(id)?.get(nth)
}

fn count<T>(given: &Given<T>, id: &str) -> usize {
    given.get(id).map_or(0, Vec::len)
}

/// Makes an entity, if that is allowed.
fn created(id: &str, fragment: &Fragment, who: &Who, at: Timestamp) -> Verdict<Problem> {
    let mut entity = change::create(fragment.clone(), at);
    id.clone_into(&mut entity.id);
    match who.may_create(&entity) {
        Ok(()) => Verdict::only(Decision::Put(entity)),
        Err(why) => Verdict::refused(denied(id)(why)),
    }
}

/// Creates entities (5.6.7): the first of several, and none that is there.
pub struct Create {
    /// What is to be created.
    pub given: Given<Fragment>,
    /// Who asks.
    pub who: Who,
    /// When.
    pub now: Timestamp,
}

impl Decide for Create {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn count(&self, id: &str) -> usize {
        count(&self.given, id)
    }

    fn decide(&self, id: &str, n: usize, there: Option<&Entity>, at: Timestamp) -> Verdict<Problem> {
        let Some(fragment) = nth(&self.given, id, n) else {
            return Verdict::only(Decision::Leave);
        };
        // Only who may create it learns that it is there.
        let created = created(id, fragment, &self.who, at);
        match (&created.decision, there) {
            (Decision::Put(_), Some(_)) => Verdict::refused(exists(id)),
            _ => created,
        }
    }

    fn too_often(&self, id: &str, there: Option<&Entity>) -> Problem {
        told(&self.who, there, exists(id), Problem::forbidden())
    }
}

fn exists(id: &str) -> Problem {
    Problem::new(ErrorType::AlreadyExists, format!("there is an entity {id}"))
}

/// Creates what is not there; replaces, or with `update` appends to, what is (5.6.8).
pub struct Upsert {
    /// What is to be there.
    pub given: Given<Fragment>,
    /// Who asks.
    pub who: Who,
    /// Whether what is not sent stays.
    pub update: bool,
    /// When.
    pub now: Timestamp,
}

impl Decide for Upsert {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn count(&self, id: &str) -> usize {
        count(&self.given, id)
    }

    fn decide(&self, id: &str, n: usize, there: Option<&Entity>, at: Timestamp) -> Verdict<Problem> {
        let Some(fragment) = nth(&self.given, id, n) else {
            return Verdict::only(Decision::Leave);
        };
        let Some(before) = there else {
            return created(id, fragment, &self.who, at);
        };
        let extent = if self.update { Extent::Parts } else { Extent::Whole };
        let mut entity = before.clone();
        let put = self.who.change(&mut entity, extent, in_use, |entity| {
            if self.update {
                change::append(entity, fragment.clone(), Existing::Overwritten, at);
            } else {
                *entity = change::replace(entity, fragment.clone(), at);
                id.clone_into(&mut entity.id);
            }
            Ok(())
        });
        match put {
            Ok(()) => Verdict::only(Decision::Put(entity)),
            Err(why) => Verdict::refused(why),
        }
    }

    fn too_often(&self, id: &str, there: Option<&Entity>) -> Problem {
        told(&self.who, there, too_often(id), in_use(Denied::NotSeen))
    }
}

/// That an id is in use cannot be kept from who wants to use it.
fn in_use(_: Denied) -> Problem {
    Problem::forbidden()
}

/// Updates entities that are there (5.6.9).
pub struct Update {
    /// What is to be written.
    pub given: Given<Fragment>,
    /// Who asks.
    pub who: Who,
    /// What happens to attributes that are there.
    pub existing: Existing,
    /// When.
    pub now: Timestamp,
}

impl Decide for Update {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn count(&self, id: &str) -> usize {
        count(&self.given, id)
    }

    fn decide(&self, id: &str, n: usize, there: Option<&Entity>, at: Timestamp) -> Verdict<Problem> {
        let (Some(fragment), Some(before)) = (nth(&self.given, id, n), there) else {
            return Verdict::refused(no_entity(id));
        };
        let mut entity = before.clone();
        let updated = self.who.change(&mut entity, Extent::Parts, denied(id), |entity| {
            Ok(change::append(entity, fragment.clone(), self.existing, at))
        });
        let result = match updated {
            Ok(result) => result,
            Err(why) => return Verdict::refused(why),
        };
        let is_written = entity.modified != before.modified || !result.updated.is_empty();
        Verdict {
            decision: if is_written {
                Decision::Put(entity)
            } else {
                Decision::Leave
            },
            refused: self.left_out(&result),
        }
    }

    fn too_often(&self, id: &str, there: Option<&Entity>) -> Problem {
        told(&self.who, there, too_often(id), no_entity(id))
    }
}

impl Update {
    /// The error of an entity whose update left something out.
    fn left_out(&self, result: &UpdateResult) -> Option<Problem> {
        let (_, reason) = result.not_updated.first()?;
        let kind = match self.existing {
            Existing::Kept => ErrorType::AlreadyExists,
            Existing::Overwritten => ErrorType::ResourceNotFound,
        };
        let names: Vec<&str> = result.not_updated.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        Some(Problem::new(
            kind,
            format!("{reason}: {names}; all else of the entity is written"),
        ))
    }
}

/// Merges into entities that are there (5.6.20).
pub struct Merge<'a> {
    /// What is to be merged.
    pub given: Given<&'a Json>,
    /// Who asks.
    pub who: Who,
    /// What names mean.
    pub contexts: &'a BatchContexts,
    /// When.
    pub now: Timestamp,
}

impl Merge<'_> {
    fn merged(
        &self,
        id: &str,
        there: Option<&Entity>,
        patch: &Json,
        at: Timestamp,
    ) -> Result<Entity, Problem> {
        let reader = Reader {
            context: self.contexts.of(patch)?,
            nulls: Nulls::Deep,
        };
        let manner = Manner::default();
        let Some(before) = there else {
            // What is wrong wherever it is merged is told first.
            merge::check(patch, &reader, &manner)?;
            return Err(no_entity(id));
        };
        // What is refused halfway must not be kept.
        let mut entity = before.clone();
        self.who
            .change(&mut entity, Extent::Parts, denied(id), |entity| {
                merge::merge(entity, patch, &reader, &manner, at).map_err(Problem::from)
            })?;
        Ok(entity)
    }
}

impl Decide for Merge<'_> {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn count(&self, id: &str) -> usize {
        count(&self.given, id)
    }

    fn decide(&self, id: &str, n: usize, there: Option<&Entity>, at: Timestamp) -> Verdict<Problem> {
        let Some(patch) = nth(&self.given, id, n) else {
            return Verdict::only(Decision::Leave);
        };
        match self.merged(id, there.filter(|there| self.who.knows(there)), patch, at) {
            Ok(entity) => Verdict::only(Decision::Put(entity)),
            Err(why) => Verdict::refused(why),
        }
    }

    fn too_often(&self, id: &str, there: Option<&Entity>) -> Problem {
        told(&self.who, there, too_often(id), no_entity(id))
    }
}

/// What is told of an entity to who knows of it, and else.
fn told(who: &Who, there: Option<&Entity>, known: Problem, unknown: Problem) -> Problem {
    match there {
        Some(entity) if !who.knows(entity) => unknown,
        _ => known,
    }
}

fn too_often(id: &str) -> Problem {
    Problem::bad_data(format!(
        "the batch changes {id}, which is large, more often than it may; send what is left in another one, or as one item"
    ))
}

/// Deletes entities that are there (5.6.10).
pub struct Delete {
    /// How often each is to be deleted.
    pub given: Given<()>,
    /// Who asks.
    pub who: Who,
    /// When.
    pub now: Timestamp,
}

impl Decide for Delete {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn count(&self, id: &str) -> usize {
        count(&self.given, id)
    }

    fn decide(&self, id: &str, _: usize, there: Option<&Entity>, _: Timestamp) -> Verdict<Problem> {
        let Some(there) = there else {
            return Verdict::refused(no_entity(id));
        };
        match self.who.may_delete(there) {
            Ok(()) => Verdict::only(Decision::Delete),
            Err(why) => Verdict::refused(denied(id)(why)),
        }
    }

    fn too_often(&self, id: &str, there: Option<&Entity>) -> Problem {
        told(&self.who, there, Problem::forbidden(), no_entity(id))
    }
}
