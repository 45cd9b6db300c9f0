//! From page to page of a list that others change meanwhile. An NGSI-LD broker has pages by number only (`limit` and
//! `offset`), so what is deleted before a page moves all that follows it to the front, past who reads. Hence each page
//! begins with the last entity of the page before: where it is there, nothing has moved; where it is not, the walk goes
//! back until it finds what it has already, and takes only what follows.
//!
//! By ids in the order of their bytes, "what it has already" is every id that is not greater than the last one, and
//! nothing has to be remembered. In an order of the broker's own all ids are remembered, as digests.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// How often a broker's own order is read from its beginning before it is given up.
const MOST_BEGINNINGS: u32 = 20;

/// How far a walk over one list is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    by_id: bool,
    /// The entity that was taken last.
    last: Option<String>,
    /// Where the next page begins.
    offset: u64,
    /// How often it began.
    beginnings: u32,
    /// What was taken, where that does not follow from the last one.
    #[serde(skip)]
    seen: HashSet<[u8; 16]>,
}

/// What to do with a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These of its entities are new; then ask for the next page.
    Take(Vec<usize>),
    /// There are no more.
    Done,
    /// The ids are not in the order of their bytes.
    NotById,
    /// The order changes all the time.
    Unsteady,
}

impl Walk {
    /// At the beginning of a list: by ids, or in the broker's order.
    #[must_use]
    pub fn begin(by_id: bool) -> Self {
        Self {
            by_id,
            last: None,
            offset: 0,
            beginnings: 0,
            seen: HashSet::new(),
        }
    }

    /// At the beginning of another list.
    #[must_use]
    pub fn of_next(self) -> Self {
        Self {
            seen: self.seen,
            ..Self::begin(self.by_id)
        }
    }

    /// Whether ids are in the order of their bytes.
    #[must_use]
    pub fn is_by_id(&self) -> bool {
        self.by_id
    }

    /// Where the next page begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Remembers what was taken by a run before.
    pub fn has_seen(&mut self, ids: impl IntoIterator<Item = String>) {
        self.seen.extend(ids.into_iter().map(|id| digest(&id)));
    }

    /// Reads the ids of a page that was asked for with this limit.
    pub fn take(&mut self, ids: &[String], limit: usize) -> Step {
        if self.by_id && !ids.is_sorted_by(|a, b| a < b) {
            return Step::NotById;
        }
        let Some(known) = self.known(ids) else {
            return self.go_back(limit);
        };
        if ids.len() <= 1 && known == ids.len() {
            return Step::Done;
        }
        let new = (known..ids.len()).filter(|index| self.is_new(ids.get(*index)));
        let new: Vec<usize> = new.collect();
        if known < ids.len() {
            self.last = ids.last().cloned();
        }
        if !self.by_id {
            let taken = new.iter().filter_map(|index| ids.get(*index));
            self.seen.extend(taken.map(|id| digest(id)));
        }
        // The next page begins with the last entity of this one.
        self.offset += u64::try_from(ids.len()).unwrap_or(u64::MAX).saturating_sub(1);
        Step::Take(new)
    }

    /// How many entities at the beginning of the page are not new; `None` where that cannot be told from this page.
    fn known(&self, ids: &[String]) -> Option<usize> {
        let Some(last) = &self.last else {
            return Some(0);
        };
        let known = if self.by_id {
            ids.partition_point(|id| id <= last)
        } else {
            ids.iter().position(|id| id == last).map_or(0, |index| index + 1)
        };
        (known > 0 || self.offset == 0).then_some(known)
    }

    fn is_new(&self, id: Option<&String>) -> bool {
        self.by_id || id.is_some_and(|id| !self.seen.contains(&digest(id)))
    }

    fn go_back(&mut self, limit: usize) -> Step {
        let page = u64::try_from(limit).unwrap_or(u64::MAX).saturating_sub(1).max(1);
        self.offset = self.offset.saturating_sub(page);
        if self.offset == 0 && !self.by_id {
            self.beginnings += 1;
            if self.beginnings > MOST_BEGINNINGS {
                return Step::Unsteady;
            }
        }
        Step::Take(Vec::new())
    }
}

/// Enough of a digest that two ids never share it.
fn digest(id: &str) -> [u8; 16] {
    let whole: [u8; 32] = Sha256::digest(id).into();
    let mut half = [0; 16];
    half.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
    half
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A list that changes between pages.
    #[derive(Clone, Debug)]
    enum Change {
        Insert(u16),
        Delete(u16),
    }

    fn changes() -> impl Strategy<Value = Vec<Vec<Change>>> {
        let change = prop_oneof![
            (0..400u16).prop_map(Change::Insert),
            (0..400u16).prop_map(Change::Delete)
        ];
        prop::collection::vec(prop::collection::vec(change, 0..12), 0..60)
    }

    fn name(n: u16) -> String {
        format!("urn:x:{n}")
    }

    /// Walks over a list in which `order` says where an id is inserted; what was taken, in order.
    fn walked(
        by_id: bool,
        mut list: Vec<String>,
        changes: Vec<Vec<Change>>,
        limit: usize,
        kept: impl Fn(u16) -> bool,
    ) -> Vec<String> {
        let mut walk = Walk::begin(by_id);
        let mut taken = Vec::new();
        let mut changes = changes.into_iter();
        for _ in 0..10_000 {
            let from = usize::try_from(walk.offset()).unwrap();
            let page: Vec<String> = list.iter().skip(from).take(limit).cloned().collect();
            match walk.take(&page, limit) {
                Step::Take(new) => taken.extend(new.into_iter().map(|index| page[index].clone())),
                Step::Done => return taken,
                other => panic!("{other:?}"),
            }
            for change in changes.next().into_iter().flatten() {
                match change {
                    Change::Delete(n) if !kept(n) => list.retain(|id| *id != name(n)),
                    Change::Insert(n) if !list.contains(&name(n)) => {
                        let at = if by_id {
                            list.partition_point(|id| *id < name(n))
                        } else {
                            list.len()
                        };
                        list.insert(at, name(n));
                    }
                    _ => {}
                }
            }
        }
        panic!("the walk has no end");
    }

    proptest! {
        #[test]
        fn what_is_there_all_the_time_is_taken_once_whatever_comes_and_goes(
            there in prop::collection::btree_set(0..400u16, 0..200),
            changes in changes(),
            limit in 2..30usize,
            by_id: bool,
        ) {
            let mut list: Vec<String> = there.iter().map(|n| name(*n)).collect();
            if by_id {
                list.sort();
            }
            // Even ones are never deleted.
            let taken = walked(by_id, list, changes, limit, |n| n % 2 == 0);
            let all: HashSet<&String> = taken.iter().collect();
            prop_assert_eq!(all.len(), taken.len(), "none twice");
            for n in there.iter().filter(|n| **n % 2 == 0) {
                prop_assert!(all.contains(&name(*n)), "{} is lost", n);
            }
        }
    }

    #[test]
    fn without_changes_everything_is_taken_in_order_by_pages_of_any_length() {
        let mut list: Vec<String> = (0..50).map(name).collect();
        list.sort();
        for limit in 2..60 {
            assert_eq!(walked(true, list.clone(), Vec::new(), limit, |_| true), list);
            assert_eq!(walked(false, list.clone(), Vec::new(), limit, |_| true), list);
        }
        assert!(walked(true, Vec::new(), Vec::new(), 2, |_| true).is_empty());
    }

    #[test]
    fn an_order_that_is_not_by_id_is_seen() {
        let mut walk = Walk::begin(true);
        assert_eq!(walk.take(&["b".to_owned(), "a".to_owned()], 2), Step::NotById);
        let mut walk = Walk::begin(true);
        assert_eq!(walk.take(&["a".to_owned(), "a".to_owned()], 2), Step::NotById);
    }

    #[test]
    fn an_order_that_is_another_one_each_time_is_given_up() {
        let mut walk = Walk::begin(false);
        let mut n = 0;
        let step = loop {
            n += 2;
            assert!(n < 1000);
            match walk.take(&[name(n), name(n + 1)], 2) {
                Step::Take(_) => {}
                other => break other,
            }
        };
        assert_eq!(step, Step::Unsteady);
    }
}
