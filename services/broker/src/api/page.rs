//! A page of entities as it is written: entity by entity, within the room that all pages together have.

use crate::api::accept::Media;
use crate::api::entities::Showing;
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply::Roomed;
use crate::model::entity::Entity;
use crate::model::json::write_string;
use crate::model::render::View;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest page, in bytes.
const MAX_PAGE: usize = 32 * 1024 * 1024;
/// Room is taken in steps of so many bytes; what is below one is not counted, as connections bound that.
const ROOM_STEP: u32 = 1024 * 1024;

/// A page that is being written.
pub struct PageWriter<'a> {
    view: View<'a>,
    showing: &'a Showing,
    pages: Arc<Semaphore>,
    text: String,
    empty: bool,
    room: Option<OwnedSemaphorePermit>,
    crowded: bool,
}

impl<'a> PageWriter<'a> {
    /// Starts a page: an array, or a `FeatureCollection`.
    pub fn new(view: View<'a>, showing: &'a Showing, pages: Arc<Semaphore>) -> Self {
        let collection = showing.media == Media::GeoJson;
        let start = if collection {
            "{\"type\":\"FeatureCollection\",\"features\":["
        } else {
            "["
        };
        let mut text = String::with_capacity(4096);
        text.push_str(start);
        // In a collection the context is told once, at its end.
        let view = View {
            with_context: view.with_context && !collection,
            ..view
        };
        Self {
            view,
            showing,
            pages,
            text,
            empty: true,
            room: None,
            crowded: false,
        }
    }

    /// Adds an entity; false when the page may not grow any more.
    pub fn add(&mut self, entity: &Entity) -> bool {
        if !std::mem::take(&mut self.empty) {
            self.text.push(',');
        }
        match self.showing.media {
            Media::GeoJson => self.view.feature(entity, &self.showing.geometry, &mut self.text),
            _ => self.view.entity(entity, &mut self.text),
        }
        self.text.len() <= MAX_PAGE && self.has_room()
    }

    fn has_room(&mut self) -> bool {
        loop {
            let had = self.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if self.text.len() <= had + ROOM_STEP as usize {
                return true;
            }
            let Ok(more) = Arc::clone(&self.pages).try_acquire_many_owned(ROOM_STEP) else {
                self.crowded = true;
                return false;
            };
            match &mut self.room {
                Some(room) => room.merge(more),
                None => self.room = Some(more),
            }
        }
    }

    /// Ends the page. `whole` is what the store says of it.
    pub fn finish(mut self, whole: bool) -> Result<Roomed, Problem> {
        if self.crowded {
            return Err(Problem::unavailable(
                "too many large pages are being sent at the moment",
            ));
        }
        if !whole {
            let detail = format!(
                "the entities of this page are more than {} MiB; ask for a smaller limit",
                MAX_PAGE >> 20
            );
            return Err(Problem::new(ErrorType::TooManyResults, detail));
        }
        self.text.push(']');
        if self.showing.media == Media::GeoJson {
            if !self.showing.link {
                self.text.push_str(",\"@context\":");
                write_string(&mut self.text, self.view.context.link());
            }
            self.text.push('}');
        }
        Ok(Roomed {
            text: self.text,
            room: self.room,
        })
    }
}
