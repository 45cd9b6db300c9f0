//! Entities of an answer as they are written: entity by entity, within the room that all answers together have.

use crate::api::accept::Media;
use crate::api::entities::Showing;
use crate::api::problem::{ErrorType, Problem};
use crate::api::reply::{Roomed, UNCOUNTED};
use crate::memory::room::{Crowded, Held, Room};
use crate::model::entity::Entity;
use crate::model::json::write_string;
use crate::model::linked::{Linked, Links, MAX_LINKED, Unlinked};
use crate::model::render::View;
use crate::model::view::join::Form;
use crate::model::view::projection::Shown;

/// The largest answer that is in memory as a whole, in bytes.
pub const MAX_PAGE: usize = 32 * 1024 * 1024;
/// The largest page that is made at once. A larger one is sent in parts (see [`crate::api::parts`]), if that can be done.
pub const AT_ONCE: usize = 4 * 1024 * 1024;
/// The largest answer with linked entities inside of others, and what it may be put together from. Both are in memory
/// at once.
const MAX_FILLED: usize = 22 * 1024 * 1024;
const MAX_PARTS: usize = 12 * 1024 * 1024;
/// Room is taken in steps of so many bytes.
const ROOM_STEP: usize = 256 * 1024;

/// What the answer is, as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// One entity; an array where linked ones follow.
    Single,
    /// An array.
    Array,
    /// A `FeatureCollection`.
    Collection,
}

/// An answer that is being written.
pub struct PageWriter<'a> {
    view: View<'a>,
    showing: &'a Showing,
    answers: &'a Room,
    frame: Frame,
    shown: [Shown<'a>; 1],
    text: String,
    entities: usize,
    room: Held,
    crowded: bool,
    /// How many bytes of text it may have.
    most: usize,
    linked: Option<Linked<'a>>,
}

impl<'a> PageWriter<'a> {
    /// Starts a page: an array, or a `FeatureCollection`.
    #[must_use]
    pub fn new(view: View<'a>, showing: &'a Showing, answers: &'a Room) -> Self {
        let frame = if showing.media == Media::GeoJson {
            Frame::Collection
        } else {
            Frame::Array
        };
        let mut page = Self::framed(view, showing, answers, frame);
        // With linked entities it cannot be sent before all of them are known.
        if page.linked.is_none() {
            page.most = AT_ONCE;
        }
        page
    }

    /// Starts a page whose text is taken part by part.
    #[must_use]
    pub fn in_parts(view: View<'a>, showing: &'a Showing, answers: &'a Room) -> Self {
        let mut page = Self::new(view, showing, answers);
        page.most = MAX_PAGE;
        page
    }

    /// Starts the answer to a request for one entity. Features that follow each other are a collection.
    #[must_use]
    pub fn single(view: View<'a>, showing: &'a Showing, answers: &'a Room) -> Self {
        let is_flat = showing
            .shape
            .join
            .as_ref()
            .is_some_and(|join| join.form == Form::Flat);
        let frame = if showing.media == Media::GeoJson && is_flat {
            Frame::Collection
        } else {
            Frame::Single
        };
        Self::framed(view, showing, answers, frame)
    }

    fn framed(mut view: View<'a>, showing: &'a Showing, answers: &'a Room, frame: Frame) -> Self {
        let mut text = String::with_capacity(4096);
        text.push_str(match frame {
            Frame::Single => "",
            Frame::Array => "[",
            Frame::Collection => "{\"type\":\"FeatureCollection\",\"features\":[",
        });
        // In a collection the context is told once, at its end.
        view.with_context &= frame != Frame::Collection;
        Self {
            view,
            showing,
            answers,
            frame,
            shown: [showing.shape.shown()],
            text,
            entities: 0,
            room: Held::default(),
            crowded: false,
            most: MAX_PAGE,
            linked: showing.shape.join.as_ref().map(Linked::new),
        }
    }

    /// Adds an entity that was asked for, if anything of it is to be shown; false when the answer may not grow any more.
    pub fn add(&mut self, entity: &Entity) -> bool {
        let shown = self.shown;
        if let Some(linked) = &mut self.linked
            && self.view.shows_something(entity, &shown)
        {
            linked.has(&entity.id);
        }
        self.append(self.view, entity, &shown)
    }

    /// The ids of linked entities that are to be read next; none where the answer has all of them.
    pub fn next_level(&mut self) -> Vec<String> {
        self.linked.as_mut().map(Linked::next_level).unwrap_or_default()
    }

    /// Adds a linked entity; false when the answer may not grow any more.
    pub fn add_linked(&mut self, entity: &Entity) -> bool {
        let Some(linked) = &mut self.linked else {
            return true;
        };
        let form = linked.form();
        for shown in linked.shown_of(&entity.id) {
            let whole = match form {
                Form::Flat => self.append(self.view.of_linked(), entity, &shown),
                Form::Inline => self.keep(entity, &shown),
            };
            if !whole {
                return false;
            }
        }
        true
    }

    fn append(&mut self, view: View<'a>, entity: &Entity, shown: &[Shown<'a>]) -> bool {
        if !view.shows_something(entity, shown) {
            return true;
        }
        if self.entities > 0 {
            self.text.push(',');
        }
        self.entities += 1;
        let is_feature = self.showing.media == Media::GeoJson;
        match &mut self.linked {
            None => write(view, is_feature, entity, shown, &mut self.text, &mut Unlinked),
            Some(linked) => {
                let mut links = linked.links_of(&entity.id, shown);
                write(view, is_feature, entity, shown, &mut self.text, &mut links);
                links.keep_places();
            }
        }
        self.has_room()
    }

    /// Keeps a linked entity, to be put inside of others.
    fn keep(&mut self, entity: &Entity, shown: &[Shown<'a>]) -> bool {
        let mut view = self.view.of_linked();
        view.with_context = false;
        let (true, Some(linked)) = (view.shows_something(entity, shown), &mut self.linked) else {
            return true;
        };
        let mut text = String::new();
        let mut links = linked.links_of(&entity.id, shown);
        view.entity(entity, shown, &mut text, &mut links);
        links.keep_text(text);
        self.has_room()
    }

    /// How many bytes it has, and how many it may have.
    fn size(&self) -> (usize, usize) {
        match &self.linked {
            Some(linked) if linked.form() == Form::Inline => (self.text.len() + linked.size(), MAX_PARTS),
            _ => (self.text.len(), self.most),
        }
    }

    fn has_room(&mut self) -> bool {
        let (size, limit) = self.size();
        size <= limit && self.grow(size)
    }

    fn grow(&mut self, size: usize) -> bool {
        if size > UNCOUNTED && size > self.room.size() {
            let size = size.next_multiple_of(ROOM_STEP);
            self.crowded = self.answers.try_grow(&mut self.room, size).is_err();
        }
        !self.crowded
    }

    /// Puts linked entities into their places; false when the answer would become too large.
    fn fill(&mut self) -> bool {
        let Some(linked) = self.linked.take().filter(Linked::fills) else {
            return true;
        };
        let mut size = 0;
        let whole = linked.filled(&self.text, &mut |piece| {
            size += piece.len();
            size <= MAX_FILLED
        });
        if !whole || !self.grow(self.text.len() + linked.size() + size) {
            return false;
        }
        let mut filled = String::with_capacity(size + 64);
        linked.filled(&self.text, &mut |piece| {
            filled.push_str(piece);
            true
        });
        self.text = filled;
        true
    }

    /// Whether this page, with so many bytes of entities that were left out, is to be sent in parts.
    #[must_use]
    pub fn is_for_parts(&self, left_out: usize) -> bool {
        self.linked.is_none() && !self.crowded && self.text.len() + left_out > AT_ONCE
    }

    /// Takes room for a part of which so much is known, and waits for it.
    pub async fn reserve(&mut self, size: usize) -> Result<(), Crowded> {
        if size > UNCOUNTED {
            self.room = self.answers.take(size.next_multiple_of(ROOM_STEP)).await?;
        }
        Ok(())
    }

    /// What was written since this was asked last, with its room.
    pub fn part(&mut self) -> Roomed {
        Roomed {
            text: std::mem::take(&mut self.text),
            room: std::mem::take(&mut self.room),
        }
    }

    /// Ends the answer. `whole` is what the store says of it.
    pub fn finish(mut self, whole: bool) -> Result<Roomed, Problem> {
        if self.linked.as_ref().is_some_and(Linked::are_too_many) {
            let detail = format!(
                "the entities of this answer link to more than {MAX_LINKED} others; ask for fewer at once, or for less of them by pick"
            );
            return Err(Problem::new(ErrorType::TooManyResults, detail));
        }
        let whole = whole && !self.crowded && self.fill();
        if self.crowded {
            return Err(Problem::unavailable(
                "too many large answers are being sent at the moment",
            ));
        }
        if !whole {
            return Err(self.too_large());
        }
        match self.frame {
            Frame::Single if self.entities > 1 => {
                self.text.insert(0, '[');
                self.text.push(']');
            }
            Frame::Single => {}
            Frame::Array => self.text.push(']'),
            Frame::Collection => self.end_collection(),
        }
        Ok(Roomed {
            text: self.text,
            room: self.room,
        })
    }

    fn end_collection(&mut self) {
        self.text.push(']');
        if !self.showing.link {
            self.text.push_str(",\"@context\":");
            write_string(&mut self.text, self.view.context.link());
        }
        self.text.push('}');
    }

    fn too_large(&self) -> Problem {
        let detail = match self.showing.shape.join.as_ref().map(|join| join.form) {
            None => format!(
                "the entities of this page are more than {} MiB; ask for a smaller limit",
                MAX_PAGE >> 20
            ),
            Some(form) => format!(
                "the entities of this answer, with those they link to, are more than {} MiB; ask for a smaller limit or joinLevel, or for less of them by pick",
                if form == Form::Flat { MAX_PAGE } else { MAX_PARTS } >> 20
            ),
        };
        Problem::new(ErrorType::TooManyResults, detail)
    }
}

fn write(
    view: View<'_>,
    is_feature: bool,
    entity: &Entity,
    shown: &[Shown<'_>],
    out: &mut String,
    links: &mut dyn Links,
) {
    if is_feature {
        view.feature(entity, shown, out, links);
    } else {
        view.entity(entity, shown, out, links);
    }
}
