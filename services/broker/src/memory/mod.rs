//! Memory as a thing that requests share: how much there is, and who may use how much of it for what.
//!
//! What one request may take is bounded where it is taken; here is bounded what all of them take together, so that no
//! number of requests is a way to end the process.
//!
//! A request that holds room of one kind may wait for room of a later kind, never of an earlier one, in the order of the
//! fields of [`Rooms`]: so nobody waits in a circle.

pub mod limit;
pub mod room;

use crate::memory::room::Room;

const MIB: usize = 1024 * 1024;
/// The limit for which the sizes below are chosen: the operator's default for a broker.
const USUAL: usize = 256 * MIB;
/// More room than this many times the usual only lets more requests be slow at once.
const MOST: usize = 16;

/// The room of a process, by what it is for.
///
/// What things are going to take is guessed, and rather too high: half of what is counted is what is measured. So the
/// rooms may be somewhat more than the limit together.
#[derive(Debug)]
pub struct Rooms {
    /// Bodies, from their announcement until they are parsed.
    pub bodies: Room,
    /// Parsed documents, and what is made of them on their way to the database.
    pub documents: Room,
    /// What names of documents become when their context has long IRIs.
    pub names: Room,
    /// Contexts, kept or in use.
    pub contexts: Room,
    /// Notifications of intervals, until their receivers have taken them.
    pub notifications: Room,
    /// Those for receivers that did not take the last one: however many of them hang, they leave the others theirs.
    pub doubtful: Room,
    /// Entities on their way from the database.
    pub entities: Room,
    /// Answers, until the client has taken them.
    pub answers: Room,
}

impl Rooms {
    /// Shares out what a process may use, in bytes. The largest thing of each kind always fits.
    #[must_use]
    pub fn of(limit: usize) -> Self {
        // Whole sixteenths keep the arithmetic plain; below the usual limit the largest document must still fit.
        let sixteenths = (limit.saturating_mul(16) / USUAL).clamp(8, 16 * MOST);
        let share = |mib: usize| mib * MIB / 16 * sixteenths;
        Self {
            bodies: Room::new(share(20).max(18 * MIB)),
            documents: Room::new(share(104)),
            names: Room::new(share(24)),
            contexts: Room::undivided(share(28).max(24 * MIB)),
            notifications: Room::new(share(24)),
            doubtful: Room::new(share(8)),
            entities: Room::new(share(56)),
            answers: Room::new(share(40).max(38 * MIB)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_the_limit_and_never_below_what_one_request_needs() {
        let (least, usual, large) = (Rooms::of(1), Rooms::of(USUAL), Rooms::of(USUAL * 4));
        assert_eq!(large.documents.size(), usual.documents.size() * 4);
        assert_eq!(
            Rooms::of(usize::MAX).documents.size(),
            usual.documents.size() * MOST
        );
        assert!(least.bodies.size() >= crate::api::call::MAX_BODY);
        assert!(least.answers.size() >= crate::api::page::MAX_PAGE);
    }
}
