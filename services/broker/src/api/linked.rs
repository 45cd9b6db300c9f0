//! Reads the entities that those of an answer link to, one statement for each level.

use crate::api::page::PageWriter;
use crate::api::problem::Problem;
use crate::api::query::too_slow;
use crate::model::entity::Entity;
use crate::permissions::reach::Reach;
use crate::store::rows::Sizes;
use crate::store::{Store, weight};

/// Adds linked entities until the answer has all that were asked for; false when it may not grow any more.
pub async fn add_linked(
    store: &Store,
    reach: Reach<'_>,
    writer: &mut PageWriter<'_>,
) -> Result<bool, Problem> {
    loop {
        let ids = writer.next_level();
        if ids.is_empty() {
            return Ok(true);
        }
        let take = |entity: &Entity| writer.add_linked(entity);
        let read = store.entities_of(reach, &ids, Sizes::Small, take);
        let Some(large) = read.await.map_err(too_slow)? else {
            return Ok(false);
        };
        for (id, size) in large {
            // The answer already holds room that others may be waiting for.
            let room = store.room_now(weight::of_size(size))?;
            let take = |entity: &Entity| writer.add_linked(entity);
            let read = store.entities_of(reach, std::slice::from_ref(&id), Sizes::Any, take);
            let read = read.await.map_err(too_slow)?;
            drop(room);
            if read.is_none() {
                return Ok(false);
            }
        }
    }
}
