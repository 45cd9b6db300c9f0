//! What the batches make of each entity. An id that comes several times is treated as in as many requests, in order
//! (clause 5.5.11).

use crate::api::batch::contexts::BatchContexts;
use crate::api::batch::items::Given;
use crate::api::entities::no_entity;
use crate::api::problem::{ErrorType, Problem};
use crate::model::change::{self, Existing, UpdateResult};
use crate::model::entity::{Entity, Fragment};
use crate::model::json::Json;
use crate::model::merge::{self, Manner};
use crate::model::read::{Nulls, Reader};
use crate::model::stored;
use crate::store::batch::{Decide, Decision, Verdict};
use jiff::Timestamp;

/// Applies the items of an id one after the other to what is there.
fn one_by_one<T>(
    items: Option<&Vec<T>>,
    there: Option<Entity>,
    mut apply: impl FnMut(Option<Entity>, &T) -> Step,
) -> Verdict<Problem> {
    let (mut current, mut is_written, mut refused) = (there, false, Vec::new());
    for item in items.into_iter().flatten() {
        let step = apply(current, item);
        current = step.now;
        is_written |= step.is_written;
        refused.extend(step.refused);
    }
    let decision = match current {
        _ if !is_written => Decision::Leave,
        Some(entity) => Decision::Put(entity),
        None => Decision::Delete,
    };
    Verdict { decision, refused }
}

/// What comes of one item.
struct Step {
    now: Option<Entity>,
    is_written: bool,
    refused: Option<Problem>,
}

impl Step {
    fn put(entity: Entity) -> Self {
        Self {
            now: Some(entity),
            is_written: true,
            refused: None,
        }
    }

    fn refused(there: Option<Entity>, why: Problem) -> Self {
        Self {
            now: there,
            is_written: false,
            refused: Some(why),
        }
    }
}

fn created(id: &str, fragment: &Fragment, now: Timestamp) -> Entity {
    let mut entity = change::create(fragment.clone(), now);
    id.clone_into(&mut entity.id);
    entity
}

/// Creates entities (5.6.7): the first of several, and none that is there.
pub struct Create {
    /// What is to be created.
    pub given: Given<Fragment>,
    /// When.
    pub now: Timestamp,
}

impl Decide for Create {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn decide(&self, id: &str, there: Option<Entity>) -> Verdict<Problem> {
        one_by_one(self.given.get(id), there, |there, fragment| match there {
            None => Step::put(created(id, fragment, self.now)),
            there => {
                let why = Problem::new(ErrorType::AlreadyExists, format!("there is an entity {id}"));
                Step::refused(there, why)
            }
        })
    }
}

/// Creates what is not there; replaces, or with `update` appends to, what is (5.6.8).
pub struct Upsert {
    /// What is to be there.
    pub given: Given<Fragment>,
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

    fn decide(&self, id: &str, there: Option<Entity>) -> Verdict<Problem> {
        one_by_one(self.given.get(id), there, |there, fragment| {
            Step::put(match there {
                None => created(id, fragment, self.now),
                Some(mut before) if self.update => {
                    change::append(&mut before, fragment.clone(), Existing::Overwritten, self.now);
                    before
                }
                Some(before) => {
                    let mut entity = change::replace(&before, fragment.clone(), self.now);
                    id.clone_into(&mut entity.id);
                    entity
                }
            })
        })
    }
}

/// Updates entities that are there (5.6.9).
pub struct Update {
    /// What is to be written.
    pub given: Given<Fragment>,
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

    fn decide(&self, id: &str, there: Option<Entity>) -> Verdict<Problem> {
        one_by_one(self.given.get(id), there, |there, fragment| {
            let Some(mut entity) = there else {
                return Step::refused(None, no_entity(id));
            };
            let before = entity.modified;
            let result = change::append(&mut entity, fragment.clone(), self.existing, self.now);
            Step {
                is_written: entity.modified != before || !result.updated.is_empty(),
                now: Some(entity),
                refused: self.left_out(&result),
            }
        })
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

/// How many bytes of an entity, as it is stored, a batch may go through again and again: each merge of an id after its
/// first one goes through all of the entity.
const MAX_REPEATED: usize = 32 * 1024 * 1024;

/// Merges into entities that are there (5.6.20).
pub struct Merge<'a> {
    /// What is to be merged.
    pub given: Given<&'a Json>,
    /// What names mean.
    pub contexts: &'a BatchContexts,
    /// When.
    pub now: Timestamp,
}

impl Merge<'_> {
    fn merged(&self, id: &str, there: Option<&Entity>, patch: &Json) -> Result<Entity, Problem> {
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
        merge::merge(&mut entity, patch, &reader, &manner, self.now)?;
        Ok(entity)
    }
}

impl Decide for Merge<'_> {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn decide(&self, id: &str, there: Option<Entity>) -> Verdict<Problem> {
        let (mut left, mut is_first) = (MAX_REPEATED, true);
        one_by_one(self.given.get(id), there, |there, patch| {
            if !std::mem::take(&mut is_first) {
                // What is not left is not measured again either.
                if left > 0 {
                    left = left.saturating_sub(there.as_ref().map_or(0, size));
                }
                if left == 0 {
                    return Step::refused(there, too_often(id));
                }
            }
            match self.merged(id, there.as_ref(), patch) {
                Ok(entity) => Step::put(entity),
                Err(why) => Step::refused(there, why),
            }
        })
    }
}

fn size(entity: &Entity) -> usize {
    stored::write(&entity.attributes).map_or(stored::MAX_BYTES, |text| text.len())
}

fn too_often(id: &str) -> Problem {
    Problem::bad_data(format!(
        "the batch merges {id}, which is large, more often than it may; send what is left in another one, or as one item"
    ))
}

/// Deletes entities that are there (5.6.10).
pub struct Delete {
    /// How often each is to be deleted.
    pub given: Given<()>,
    /// When.
    pub now: Timestamp,
}

impl Decide for Delete {
    type Reason = Problem;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn decide(&self, id: &str, there: Option<Entity>) -> Verdict<Problem> {
        one_by_one(self.given.get(id), there, |there, ()| match there {
            Some(_) => Step {
                now: None,
                is_written: true,
                refused: None,
            },
            None => Step::refused(None, no_entity(id)),
        })
    }
}
