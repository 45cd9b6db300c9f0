//! Room of one kind: a number of bytes that requests take, wait for and give back.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for room. Longer than a client may keep room without sending anything, so that such clients
/// cost others time, not their request.
const PATIENCE: Duration = Duration::from_secs(8);
/// What is small, as a part of the room; and how much of the room is for small things only.
const SMALL: usize = 64;
const FOR_SMALL: usize = 8;

/// Somebody else has the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

/// Room in two parts: what is small never waits behind what is large. Each part is given in the order of asking, so
/// nobody starves.
#[derive(Debug)]
pub struct Room {
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
    large_size: usize,
    small_size: usize,
    small_up_to: usize,
}

/// Room that is held until this is dropped; by default none.
#[derive(Debug, Default)]
pub struct Held {
    permit: Option<OwnedSemaphorePermit>,
    is_large: bool,
}

impl Held {
    fn new(permit: OwnedSemaphorePermit, is_large: bool) -> Self {
        Self {
            permit: Some(permit),
            is_large,
        }
    }

    /// How many bytes are held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

impl Room {
    /// Room of so many bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        // Permits are taken as 32-bit numbers.
        let size = size.min(u32::MAX as usize);
        let small_size = size / FOR_SMALL;
        let large_size = size - small_size;
        Self {
            large: Arc::new(Semaphore::new(large_size)),
            small: Arc::new(Semaphore::new(small_size)),
            large_size,
            small_size,
            small_up_to: size / SMALL,
        }
    }

    /// Room that is not divided, for things that nobody waits for.
    #[must_use]
    pub fn undivided(size: usize) -> Self {
        let size = size.min(u32::MAX as usize);
        Self {
            large: Arc::new(Semaphore::new(size)),
            small: Arc::new(Semaphore::new(0)),
            large_size: size,
            small_size: 0,
            small_up_to: 0,
        }
    }

    /// How much there is in all.
    #[must_use]
    pub fn size(&self) -> usize {
        self.large_size + self.small_size
    }

    fn part(&self, bytes: usize, large: bool) -> (&Arc<Semaphore>, u32) {
        let (part, size) = if large {
            (&self.large, self.large_size)
        } else {
            (&self.small, self.small_size)
        };
        // What is estimated as larger than all there is gets all there is.
        (part, u32::try_from(bytes.min(size)).unwrap_or(u32::MAX))
    }

    /// Takes room if there is some right now.
    pub fn try_take(&self, bytes: usize) -> Result<Held, Crowded> {
        let mut held = Held::default();
        self.try_grow(&mut held, bytes)?;
        Ok(held)
    }

    /// Takes as much more as it needs to hold so many bytes, if there is so much right now. It holds no less than
    /// before either way.
    pub fn try_grow(&self, held: &mut Held, bytes: usize) -> Result<(), Crowded> {
        let large = held.is_large || bytes > self.small_up_to;
        let bytes = bytes.min(if large { self.large_size } else { self.small_size });
        if bytes <= held.size() {
            return Ok(());
        }
        let had = if large == held.is_large { held.size() } else { 0 };
        let (part, permits) = self.part(bytes - had, large);
        let Ok(more) = Arc::clone(part).try_acquire_many_owned(permits) else {
            return Err(Crowded);
        };
        match &mut held.permit {
            Some(permit) if had > 0 => permit.merge(more),
            _ => *held = Held::new(more, large),
        }
        Ok(())
    }

    /// Takes room, and waits for it, in turn, at most 8 s.
    pub async fn take(&self, bytes: usize) -> Result<Held, Crowded> {
        if let Ok(held) = self.try_take(bytes) {
            return Ok(held);
        }
        let large = bytes > self.small_up_to;
        let (part, permits) = self.part(bytes, large);
        match tokio::time::timeout(PATIENCE, Arc::clone(part).acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(Held::new(permit, large)),
            _ => Err(Crowded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things_do_not_wait_behind_large_ones() {
        let room = Room::new(6400);
        let all = room.try_take(5600).unwrap();
        assert_eq!(room.try_take(101).unwrap_err(), Crowded);
        assert!(room.try_take(100).is_ok());
        drop(all);
        assert!(room.try_take(5600).is_ok());
    }

    #[test]
    fn what_grows_leaves_the_small_part_and_gives_everything_back() {
        let room = Room::new(6400);
        let mut held = room.try_take(100).unwrap();
        room.try_grow(&mut held, 3000).unwrap();
        room.try_grow(&mut held, 5000).unwrap();
        assert_eq!((held.size(), room.small.available_permits()), (5000, 800));
        let other = room.try_take(500).unwrap();
        assert_eq!(room.try_grow(&mut held, 5200).unwrap_err(), Crowded);
        assert_eq!(held.size(), 5000);
        drop((held, other));
        assert_eq!(room.large.available_permits(), 5600);
    }

    #[tokio::test]
    async fn what_is_larger_than_all_there_is_gets_all_there_is_in_its_turn() {
        let room = Arc::new(Room::new(6400));
        let first = room.try_take(4000).unwrap();
        let mut waiting = std::pin::pin!(room.take(usize::MAX));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(room.try_take(1000).unwrap_err(), Crowded, "nobody overtakes");
        drop(first);
        let mut all = waiting.await.unwrap();
        assert_eq!(all.size(), 5600);
        assert!(room.try_grow(&mut all, 9000).is_ok(), "it has all there is");
    }
}
