//! A map with a bound on what it weighs: what was used longest ago goes first.

use std::collections::HashMap;

/// A map of at most `max_entries` entries that weigh at most `max_weight` together.
pub struct Bounded<V> {
    entries: HashMap<String, Entry<V>>,
    max_entries: usize,
    max_weight: usize,
    weight: usize,
    clock: u64,
}

struct Entry<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<V> Bounded<V> {
    /// An empty map.
    #[must_use]
    pub fn new(max_entries: usize, max_weight: usize) -> Self {
        Self {
            entries: HashMap::new(),
            max_entries,
            max_weight,
            weight: 0,
            clock: 0,
        }
    }

    /// Finds a value and counts that as a use.
    pub fn get(&mut self, key: &str) -> Option<&mut V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(&mut entry.value)
    }

    /// Sets a value; others leave until the bounds hold again. A value that alone is over the bound is not kept.
    pub fn set(&mut self, key: String, value: V, weight: usize) {
        self.remove(&key);
        if weight > self.max_weight {
            return;
        }
        self.clock += 1;
        self.weight += weight;
        self.entries.insert(
            key,
            Entry {
                value,
                weight,
                used: self.clock,
            },
        );
        while self.entries.len() > self.max_entries || self.weight > self.max_weight {
            self.remove_oldest();
        }
    }

    /// Takes out what was used longest ago; false when there is nothing.
    pub fn remove_oldest(&mut self) -> bool {
        let oldest = self.entries.iter().min_by_key(|(_, e)| e.used);
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
            return false;
        };
        self.remove(&oldest);
        true
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &str) {
        if let Some(gone) = self.entries.remove(key) {
            self.weight -= gone.weight;
        }
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_leaves_first() {
        let mut map = Bounded::new(2, 100);
        map.set("a".into(), 1, 1);
        map.set("b".into(), 2, 1);
        map.get("a");
        map.set("c".into(), 3, 1);
        assert!(map.get("b").is_none() && map.get("a").is_some() && map.get("c").is_some());
    }

    #[test]
    fn the_weight_is_bounded() {
        let mut map = Bounded::new(10, 10);
        map.set("a".into(), 1, 6);
        map.set("b".into(), 2, 6);
        assert!(map.get("a").is_none());
        map.set("huge".into(), 3, 11);
        assert!(map.get("huge").is_none());
        assert!(map.get("b").is_some());
    }
}
