//! A set of small numbers: which rules of a table are meant.

/// A set of numbers below a bound that is given when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bits(Box<[u64]>);

impl Bits {
    /// None of the numbers below `bound`.
    pub fn none(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)].into())
    }

    /// Adds a number; one beyond the bound is not added.
    pub fn add(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Adds all of another set of the same bound.
    pub fn add_all(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// Keeps what is in another set of the same bound too.
    pub fn keep(&mut self, other: &Self) {
        for (word, kept) in self.0.iter_mut().zip(&other.0) {
            *word &= kept;
        }
    }

    /// Whether a number is in it.
    pub fn has(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// What is in both sets, in order.
    pub fn both<'a, 'b>(&'a self, other: &'b Self) -> impl Iterator<Item = usize> + use<'a, 'b> {
        let words = self.0.iter().zip(&other.0).enumerate();
        words.flat_map(|(at, (one, other))| numbers(one & other).map(move |bit| at * 64 + bit))
    }
}

/// The numbers of the bits that are set.
fn numbers(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        // Takes the lowest bit away; of nothing nothing.
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_in_it_and_nothing_else() {
        let (mut one, mut all) = (Bits::none(200), Bits::none(200));
        (0..200).for_each(|n| all.add(n));
        for n in [0, 63, 64, 127, 128, 199] {
            one.add(n);
        }
        one.add(10_000);
        assert_eq!(one.both(&all).collect::<Vec<_>>(), [0, 63, 64, 127, 128, 199]);
        assert!(one.has(64) && !one.has(65) && !one.has(10_000) && !one.is_empty());
        let mut other = Bits::none(200);
        assert!(other.is_empty());
        other.add(65);
        other.add_all(&one);
        assert!(other.has(65) && other.has(199));
        other.keep(&one);
        assert_eq!(other, one);
    }
}
