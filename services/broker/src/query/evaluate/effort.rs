//! How much one selection may cost: what a client writes decides it, and nobody waits for an answer of the database here,
//! whose time is limited.

use crate::query::pattern::{Pattern, Scratch};

/// What one selection may cost for one entity, in steps of some ten nanoseconds.
const MOST: u64 = 20_000_000;

/// What is left of it, and what patterns need to run.
#[derive(Debug, Default)]
pub struct Effort {
    left: u64,
    scratch: Scratch,
}

impl Effort {
    /// For another selection.
    pub fn begin(&mut self) {
        self.left = MOST;
    }

    /// Spends some steps. False: there are not enough, nor will there be; whatever is found now is not to be trusted.
    pub fn spend(&mut self, steps: usize) -> bool {
        let left = self.left.checked_sub(u64::try_from(steps).unwrap_or(u64::MAX));
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    /// Whether more was needed than there was.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Whether a pattern is found in a text.
    pub fn finds(&mut self, pattern: &Pattern, text: &str) -> bool {
        // A state for a byte takes half a step where it comes to the worst.
        let steps = pattern.states().saturating_mul(text.len() + 1) / 2;
        self.spend(steps) && pattern.is_found_in(text, &mut self.scratch)
    }
}
