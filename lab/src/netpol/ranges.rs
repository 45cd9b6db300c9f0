//! Sets of numbers kept as ranges: addresses and ports.
//!
//! The kernel refuses a set whose intervals overlap, and an `except` of one `ipBlock` must not take away what another peer of
//! the same rule allows. Both are settled here, by arithmetic, before any text is written.

use std::net::Ipv4Addr;

/// A type whose values lie in a row, each with a neighbour.
pub trait Ordinal: Copy + Ord {
    /// The value after this one; `None` for the last.
    fn successor(self) -> Option<Self>;
    /// The value before this one; `None` for the first.
    fn predecessor(self) -> Option<Self>;
}

impl Ordinal for u16 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn predecessor(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Ordinal for Ipv4Addr {
    fn successor(self) -> Option<Self> {
        self.to_bits().checked_add(1).map(Self::from_bits)
    }

    fn predecessor(self) -> Option<Self> {
        self.to_bits().checked_sub(1).map(Self::from_bits)
    }
}

/// A set of values as ranges that are sorted, do not overlap and do not touch: two equal sets are equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges<T>(Vec<(T, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ordinal> Ranges<T> {
    /// Adds every value from `first` to `last`, both included. Nothing is added where `first` is the greater.
    pub fn insert(&mut self, first: T, last: T) {
        if first > last {
            return;
        }
        let (mut low, mut high) = (first, last);
        self.0.retain(|&(start, end)| {
            let apart = end.successor().is_some_and(|after| after < low)
                || high.successor().is_some_and(|after| after < start);
            if !apart {
                low = low.min(start);
                high = high.max(end);
            }
            apart
        });
        let place = self.0.partition_point(|&(start, _)| start < low);
        self.0.insert(place, (low, high));
    }

    /// Takes every value from `first` to `last` away, both included. Nothing is taken where `first` is the greater.
    pub fn remove(&mut self, first: T, last: T) {
        if first > last {
            return;
        }
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for &(start, end) in &self.0 {
            if end < first || last < start {
                kept.push((start, end));
                continue;
            }
            if let Some(before) = first.predecessor().filter(|before| start <= *before) {
                kept.push((start, before));
            }
            if let Some(after) = last.successor().filter(|after| *after <= end) {
                kept.push((after, end));
            }
        }
        self.0 = kept;
    }

    /// Adds every value of another set.
    pub fn extend(&mut self, other: &Self) {
        for &(first, last) in &other.0 {
            self.insert(first, last);
        }
    }

    /// Whether the set holds `value`.
    pub fn contains(&self, value: T) -> bool {
        self.0
            .iter()
            .any(|&(first, last)| first <= value && value <= last)
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in order, first and last value of each, both included.
    pub fn iter(&self) -> impl Iterator<Item = (T, T)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(parts: &[(u16, u16)]) -> Ranges<u16> {
        let mut set = Ranges::default();
        for &(first, last) in parts {
            set.insert(first, last);
        }
        set
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        assert_eq!(
            ranges(&[(10, 20), (31, 40), (21, 30)]).0,
            vec![(10, 40)],
            "21-30 touches both"
        );
        assert_eq!(ranges(&[(10, 20), (15, 25)]).0, vec![(10, 25)]);
        assert_eq!(ranges(&[(5, 5), (3, 3)]).0, vec![(3, 3), (5, 5)]);
    }

    #[test]
    fn the_ends_of_the_row_are_values_like_others() {
        assert_eq!(
            ranges(&[(0, 0), (u16::MAX, u16::MAX), (1, u16::MAX - 1)]).0,
            vec![(0, u16::MAX)]
        );
        let mut all = ranges(&[(0, u16::MAX)]);
        all.remove(0, 0);
        all.remove(u16::MAX, u16::MAX);
        assert_eq!(all.0, vec![(1, u16::MAX - 1)]);
    }

    #[test]
    fn an_inverted_range_adds_nothing() {
        assert!(ranges(&[(9, 3)]).is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec((any::<bool>(), 0u16..60, 0u16..60), 0..20)) {
            let (mut set, mut plain) = (Ranges::default(), BTreeSet::new());
            for (add, first, last) in steps {
                if add {
                    set.insert(first, last);
                    plain.extend(first..=last);
                } else {
                    set.remove(first, last);
                    plain.retain(|value| *value < first || last < *value);
                }
            }
            for value in 0..70 {
                prop_assert_eq!(set.contains(value), plain.contains(&value));
            }
            for pair in set.0.windows(2) {
                prop_assert!(pair[0].1 + 1 < pair[1].0, "sorted and apart: {:?}", set);
            }
        }
    }
}
