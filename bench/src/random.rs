//! Numbers by chance, the same in every run: SplitMix64.

/// A source of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// Spreads the bits of a number over all of it; the same for the same.
#[must_use]
pub const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Random {
    /// A source with this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below a limit; 0 where there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.any().checked_rem(limit).unwrap_or_default()
    }

    /// A number above 0, 1 at most.
    pub fn share(&mut self) -> f64 {
        let high = u32::try_from(self.any() >> 32).unwrap_or_default();
        (f64::from(high) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }

    /// The time to the next of events that come by chance, so many a second: a Poisson process.
    pub fn wait(&mut self, per_second: f64) -> f64 {
        -self.share().ln() / per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_have_the_mean_that_is_asked_for() {
        let mut random = Random::new(7);
        let sum: f64 = (0..100_000).map(|_| random.wait(50.0)).sum();
        assert!((sum / 100_000.0 - 0.02).abs() < 0.000_5, "{sum}");
    }

    #[test]
    fn numbers_stay_below_their_limit() {
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| random.below(10) < 10 && random.share() > 0.0));
        assert_eq!(random.below(0), 0);
    }
}
