//! The entities that a subscription is about, read by id for one notification after the other. What is large is read, and
//! written, only where there is room for it; where there is none the notification ends before it, and the next one begins there.

use crate::memory::room::{Held, Room};
use crate::model::Refusal;
use crate::model::entity::Entity;
use crate::notify::lane::Post;
use crate::notify::message::{MAX_LINKED_BYTES, Telling};
use crate::permissions::reach::Reach;
use crate::query::Selection;
use crate::query::sql::{self, Among};
use crate::store::intervals::{Class, Due};
use crate::store::rows::{Sizes, UNCOUNTED};
use crate::store::search::Reached;
use crate::store::{Store, StoreError, weight};

/// How many entities one notification has, and how many bytes of them; one that is larger comes alone.
const MAX_ENTITIES: usize = 1000;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How often what is written is in memory: as it is put together, and as it is sent.
const COPIES: usize = 2;
/// What linked entities may take, and what they may take again inside of others.
const LINKED: usize = 3 * MAX_LINKED_BYTES;
/// Room is taken in steps of so many bytes.
const ROOM_STEP: usize = 256 * 1024;

/// Entities that are yet to be told.
pub struct Selected<'a> {
    store: &'a Store,
    reach: Reach<'a>,
    selection: Selection,
    room: &'a Room,
    last: String,
    is_over: bool,
}

impl<'a> Selected<'a> {
    /// All after this one; all that there are without one.
    pub fn after(post: &'a Post, due: &'a Due, last: Option<&str>) -> Result<Self, Refusal> {
        let (rooms, subscription) = (&post.rooms, &due.subscription);
        Ok(Self {
            store: &post.store,
            reach: subscription.reach(due.tenant),
            selection: subscription.criteria()?,
            // A receiver that hangs holds what it was sent.
            room: match due.class() {
                Class::Doubtful => &rooms.doubtful,
                Class::Sound => &rooms.notifications,
            },
            last: last.unwrap_or_default().to_owned(),
            is_over: false,
        })
    }

    /// The last one that was read.
    #[must_use]
    pub fn last(&self) -> &str {
        &self.last
    }

    /// Whether there are none after it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Adds what comes next, as much as one notification has; the room that this takes until it is sent.
    pub async fn fill(&mut self, telling: &mut Telling<'_>) -> Result<Held, StoreError> {
        let linked = if telling.is_joined() { LINKED } else { 0 };
        let mut page = Page {
            room: self.room,
            linked,
            held: take(self.room, linked).await?,
            entities: 0,
            largest: 0,
            telling,
        };
        while !self.is_over && page.entities < MAX_ENTITIES {
            let left = MAX_ENTITIES - page.entities;
            page.largest = 0;
            let small = self.read(&mut page, left, Sizes::Small).await?;
            self.is_over = small.seen < left && small.next.is_empty() && !small.enough;
            let large = page.fitting(&small.next);
            page.largest = large.iter().copied().max().unwrap_or_default();
            if small.enough || (large.is_empty() && !small.next.is_empty()) || !page.make_room().await? {
                break;
            }
            if !large.is_empty() {
                let _room = self.store.room(weight::of_size(page.largest)).await?;
                if self.read(&mut page, large.len(), Sizes::Any).await?.enough {
                    break;
                }
            }
        }
        Ok(page.held)
    }

    async fn read(
        &mut self,
        page: &mut Page<'_, '_>,
        limit: usize,
        sizes: Sizes,
    ) -> Result<Reached, StoreError> {
        let among = Among::After(&self.last);
        let first = sql::first(self.reach, &self.selection, among, limit, sizes);
        let left = page.left();
        let read = self
            .store
            .read_first(self.reach, &first, left, |entity| page.add(entity));
        let mut reached = read.await?;
        if let Some(last) = reached.last.take() {
            self.last = last;
        }
        Ok(reached)
    }
}

/// A notification that is being put together.
struct Page<'p, 't> {
    telling: &'p mut Telling<'t>,
    room: &'p Room,
    /// How much of it is for linked entities.
    linked: usize,
    held: Held,
    entities: usize,
    /// The size of the largest entity that may be added next, where it is not small.
    largest: usize,
}

impl Page<'_, '_> {
    /// Adds an entity; false: it is the last one.
    fn add(&mut self, entity: &Entity) -> bool {
        self.telling.entity(entity);
        self.entities += 1;
        self.telling.size() <= MAX_BYTES && self.has_room()
    }

    /// How many bytes more it has.
    fn left(&self) -> usize {
        MAX_BYTES.saturating_sub(self.telling.size())
    }

    /// Of the next ones those that it has; one that is alone whatever its size.
    fn fitting<'n>(&self, next: &'n [usize]) -> &'n [usize] {
        let mut sum = 0;
        let fit = next.iter().take_while(|size| {
            sum += **size;
            sum <= self.left()
        });
        let fit = fit.count().max(usize::from(self.entities == 0));
        next.get(..fit).unwrap_or(next)
    }

    /// Whether there is room for what there is and one more of the largest.
    fn has_room(&mut self) -> bool {
        let size = self.telling.size() + self.largest;
        let weight = self.weight(size);
        size <= UNCOUNTED || self.room.try_grow(&mut self.held, weight).is_ok()
    }

    fn weight(&self, size: usize) -> usize {
        self.linked + (size * COPIES).next_multiple_of(ROOM_STEP)
    }

    /// Takes that room; false: there is none now, and what there is goes first. Only who holds nothing waits, so nobody waits in
    /// a circle.
    async fn make_room(&mut self) -> Result<bool, StoreError> {
        if self.has_room() {
            return Ok(true);
        }
        if self.entities > 0 {
            return Ok(false);
        }
        self.held = Held::default();
        self.held = take(self.room, self.weight(self.largest)).await?;
        Ok(true)
    }
}

async fn take(room: &Room, bytes: usize) -> Result<Held, StoreError> {
    room.take(bytes).await.map_err(|_| StoreError::Crowded)
}
