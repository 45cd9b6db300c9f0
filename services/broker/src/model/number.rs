//! Numbers of JSON as decimals, compared as the database compares them: exactly, whatever they are written like.

use std::cmp::Ordering;
use std::hash::Hasher;

/// How two numbers of JSON compare: `5` is `5.0` is `0.5e1`, and no digit is lost to a float. Allocates nothing.
#[must_use]
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Decimal::of(one), Decimal::of(other));
    match (one.sign(), other.sign()) {
        (a, b) if a != b => a.cmp(&b),
        (-1, _) => other.cmp_size(&one),
        (0, _) => Ordering::Equal,
        _ => one.cmp_size(&other),
    }
}

/// Feeds a hasher with a number, the same for all that [`compare`] finds equal.
pub fn hash(number: &str, hasher: &mut impl Hasher) {
    let number = Decimal::of(number);
    let sign = number.sign();
    hasher.write_i8(sign);
    if sign == 0 {
        return;
    }
    hasher.write_i64(number.exponent);
    let mut zeros = 0;
    for digit in number.digits() {
        // Zeros count once another digit comes after them.
        if digit == b'0' {
            zeros += 1;
        } else {
            (0..zeros).for_each(|_| hasher.write_u8(b'0'));
            hasher.write_u8(digit);
            zeros = 0;
        }
    }
}

/// A number as `0.digits × 10^exponent`.
struct Decimal<'t> {
    negative: bool,
    /// The digits before and after the point, zeros before the first other digit skipped.
    whole: &'t [u8],
    fraction: &'t [u8],
    exponent: i64,
}

impl<'t> Decimal<'t> {
    fn of(text: &'t str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // An exponent beyond this type occurs in no number that the parser takes.
        let exponent: i64 = exponent.parse().unwrap_or_default();
        let whole = without_zeros(whole.as_bytes());
        let places = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        if !whole.is_empty() {
            return Self {
                negative,
                whole,
                fraction: fraction.as_bytes(),
                exponent: exponent.saturating_add(places),
            };
        }
        let significant = without_zeros(fraction.as_bytes());
        let skipped = i64::try_from(fraction.len() - significant.len()).unwrap_or(i64::MAX);
        Self {
            negative,
            whole,
            fraction: significant,
            exponent: exponent.saturating_sub(skipped),
        }
    }

    fn sign(&self) -> i8 {
        match (self.whole.is_empty() && self.fraction.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).copied()
    }

    /// Compares without signs; neither is zero.
    fn cmp_size(&self, other: &Self) -> Ordering {
        self.exponent.cmp(&other.exponent).then_with(|| {
            let (mut ours, mut theirs) = (self.digits(), other.digits());
            loop {
                match (ours.next(), theirs.next()) {
                    (None, None) => return Ordering::Equal,
                    // Zeros after the last digit change nothing.
                    (a, b) => match a.unwrap_or(b'0').cmp(&b.unwrap_or(b'0')) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    },
                }
            }
        })
    }
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|d| **d == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::DefaultHasher;

    #[test]
    fn one_number_may_be_written_in_many_ways() {
        for same in [
            ["5", "5.0"],
            ["5", "0.5e1"],
            ["500", "5E+2"],
            ["0.05", "5e-2"],
            ["0", "-0.00"],
            ["0", "0e5"],
            ["-12.50", "-1.25e1"],
            ["100000000000000000001", "1.00000000000000000001e20"],
        ] {
            assert_eq!(compare(same[0], same[1]), Ordering::Equal, "{same:?}");
        }
        for ascending in [
            ["4.9", "5"],
            ["-5", "-4.9"],
            ["-1", "0"],
            ["0", "1e-300"],
            ["9", "10"],
            ["0.1", "0.10000000000000000000001"],
            ["9007199254740992", "9007199254740993"],
            ["-2", "1"],
        ] {
            assert_eq!(
                compare(ascending[0], ascending[1]),
                Ordering::Less,
                "{ascending:?}"
            );
            assert_eq!(
                compare(ascending[1], ascending[0]),
                Ordering::Greater,
                "{ascending:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn numbers_compare_as_integers_of_a_common_scale(a in any::<i64>(), b in any::<i64>(), left in 0u32..4, right in 0u32..4) {
            let text = |n: i64, places: u32| format!("{n}e-{places}");
            let scaled = |n: i64, places: u32| i128::from(n) * 10_i128.pow(4 - places);
            prop_assert_eq!(compare(&text(a, left), &text(b, right)), scaled(a, left).cmp(&scaled(b, right)));
        }

        #[test]
        fn equal_numbers_have_one_hash(a in "-?[01]{1,3}(\\.[01]{1,3})?(e-?[0-2])?", b in "-?[01]{1,3}(\\.[01]{1,3})?(e-?[0-2])?") {
            let [ha, hb] = [&a, &b].map(|number| {
                let mut hasher = DefaultHasher::new();
                hash(number, &mut hasher);
                hasher.finish()
            });
            prop_assert_eq!(compare(&a, &b).is_eq(), ha == hb, "{} {}", a, b);
        }

        #[test]
        fn comparing_never_panics(a in "[-0-9.eE+]{0,12}", b in "[-0-9.eE+]{0,12}") {
            hash(&a, &mut DefaultHasher::new());
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
