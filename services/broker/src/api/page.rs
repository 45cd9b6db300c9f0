//! A page of entities as it is written: entity by entity, within the room that all pages together have.

use crate::api::accept::Media;
use crate::api::entities::Showing;
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply::{Roomed, UNCOUNTED};
use crate::memory::room::{Held, Room};
use crate::model::entity::Entity;
use crate::model::json::write_string;
use crate::model::render::View;

/// The largest page, in bytes.
pub const MAX_PAGE: usize = 32 * 1024 * 1024;
/// Room is taken in steps of so many bytes.
const ROOM_STEP: usize = 256 * 1024;

/// A page that is being written.
pub struct PageWriter<'a> {
    view: View<'a>,
    showing: &'a Showing,
    answers: &'a Room,
    text: String,
    empty: bool,
    room: Held,
    crowded: bool,
}

impl<'a> PageWriter<'a> {
    /// Starts a page: an array, or a `FeatureCollection`.
    #[must_use]
    pub fn new(view: View<'a>, showing: &'a Showing, answers: &'a Room) -> Self {
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
            answers,
            text,
            empty: true,
            room: Held::default(),
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
        if self.text.len() > UNCOUNTED && self.text.len() > self.room.size() {
            let size = self.text.len().next_multiple_of(ROOM_STEP);
            self.crowded = self.answers.try_grow(&mut self.room, size).is_err();
        }
        !self.crowded
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
