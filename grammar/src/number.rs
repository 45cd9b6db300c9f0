//! Numbers of JSON as they are written, compared by what they are worth, as PostgreSQL does: exactly, however many digits
//! they have. Allocates nothing.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// A number: 0.d₁d₂d₃… × 10^exponent, without zeros at either end of the digits; zero has none.
#[derive(Clone, Copy, Debug)]
pub struct Number<'t> {
    negative: bool,
    /// Digits before the point, then those behind it.
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
}

impl<'t> Number<'t> {
    /// Reads a number that is known to be one of JSON.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let exponent = written_exponent(exponent);
        let digits = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let mut number = Self {
            negative,
            whole,
            fraction,
            exponent: exponent.saturating_add(digits),
        };
        if whole.is_empty() {
            let zeros = fraction.len() - fraction.trim_start_matches('0').len();
            number.fraction = fraction.get(zeros..).unwrap_or_default();
            number.exponent = exponent.saturating_sub(i64::try_from(zeros).unwrap_or(i64::MAX));
        }
        if fraction.is_empty() {
            number.whole = whole.trim_end_matches('0');
        }
        if number.is_zero() {
            number.negative = false;
            number.exponent = 0;
        }
        number
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    fn length(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    /// Whether it has no fraction: `1.0` has none, nor has `1e400`.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        i64::try_from(self.length()).is_ok_and(|length| length <= self.exponent) || self.is_zero()
    }

    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn size(&self, other: &Number<'_>) -> Ordering {
        self.exponent
            .cmp(&other.exponent)
            .then_with(|| self.digits().cmp(other.digits()))
    }

    /// Whether it is a multiple of a number above zero. Exact where that one has at most 18 digits; else by the quotient of
    /// doubles.
    #[must_use]
    pub fn is_multiple_of(&self, of: &Number<'_>) -> bool {
        const MAX_DIGITS: usize = 18;
        if self.is_zero() {
            return true;
        }
        if of.length() > MAX_DIGITS {
            let quotient = self.double() / of.double();
            return quotient.is_finite() && quotient.fract() == 0.0;
        }
        // Neither has zeros at the end, so what ends behind the other's last digit is no multiple of it.
        let Ok(zeros) = u64::try_from(self.last_place().saturating_sub(of.last_place())) else {
            return false;
        };
        let modulus = of
            .digits()
            .fold(0, |sum, digit| sum * 10 + u128::from(digit.wrapping_sub(b'0')));
        let rest = self.digits().fold(0, |rest, digit| {
            (rest * 10 + u128::from(digit.wrapping_sub(b'0'))) % modulus
        });
        (rest * power_of_ten(zeros, modulus)).is_multiple_of(modulus)
    }

    /// The power of ten that its last digit counts.
    fn last_place(&self) -> i64 {
        self.exponent
            .saturating_sub(i64::try_from(self.length()).unwrap_or(i64::MAX))
    }

    fn double(&self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        let text = format!("{sign}0.{}{}e{}", self.whole, self.fraction, self.exponent);
        text.parse().unwrap_or(f64::NAN)
    }
}

/// 10^exponent modulo a number below 10^18.
fn power_of_ten(mut exponent: u64, modulus: u128) -> u128 {
    let (mut power, mut base) = (1 % modulus, 10 % modulus);
    while exponent > 0 {
        if exponent % 2 == 1 {
            power = power * base % modulus;
        }
        base = base * base % modulus;
        exponent /= 2;
    }
    power
}

fn written_exponent(text: &str) -> i64 {
    let beyond = if text.starts_with('-') {
        i64::MIN / 4
    } else {
        i64::MAX / 4
    };
    let number = text.parse::<i64>().unwrap_or(beyond);
    number.clamp(i64::MIN / 4, i64::MAX / 4)
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sign().cmp(&other.sign()).then_with(|| match self.sign() {
            0 => Ordering::Equal,
            1 => self.size(other),
            _ => other.size(self),
        })
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number<'_> {}

impl Hash for Number<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.sign(), self.exponent).hash(state);
        self.digits().for_each(|digit| state.write_u8(digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering::{Equal, Less};
    use std::hash::DefaultHasher;

    #[test]
    fn numbers_are_compared_by_what_they_are_worth() {
        let compare = |one: &str, other: &str| Number::of(one).cmp(&Number::of(other));
        for (one, other) in [
            ("0", "-0"),
            ("0", "0.000e99"),
            ("1", "1.0"),
            ("1", "10e-1"),
            ("100", "1e2"),
            ("0.001", "1E-3"),
            ("-120", "-1.2e+2"),
            (
                "123456789012345678901234567890",
                "12345678901234567890123456789e1",
            ),
        ] {
            assert_eq!(compare(one, other), Equal, "{one} {other}");
        }
        for (less, more) in [
            ("-1", "0"),
            ("0", "1e-400"),
            ("-2", "-1.5"),
            ("0.1", "0.11"),
            ("9", "10"),
            ("0.09", "0.1"),
            ("9007199254740992", "9007199254740993"),
            ("1e400", "1e401"),
            ("-1e401", "-1e400"),
            ("1e-9999999999999999999999", "1e9999999999999999999999"),
        ] {
            assert_eq!(compare(less, more), Less, "{less} {more}");
        }
        for (number, is_integer) in [
            ("1.0", true),
            ("1e400", true),
            ("1.5", false),
            ("10e-1", true),
            ("1e-1", false),
            ("0.0", true),
        ] {
            assert_eq!(Number::of(number).is_integer(), is_integer, "{number}");
        }
    }

    #[test]
    fn multiples_are_exact() {
        for (number, of, expected) in [
            ("0.0075", "0.0001", true),
            ("0.00751", "0.0001", false),
            ("4.5", "1.5", true),
            ("35", "1.5", false),
            ("-6", "3", true),
            ("0", "7", true),
            ("1e308", "0.5", true),
            ("1e308", "0.123456789", false),
            ("12391239123", "1e-8", true),
            ("10", "20", false),
            ("20", "10", true),
            ("1e99999999999", "7", false),
        ] {
            assert_eq!(
                Number::of(number).is_multiple_of(&Number::of(of)),
                expected,
                "{number} {of}"
            );
        }
    }

    fn hash(number: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        Number::of(number).hash(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn numbers_compare_as_integers_of_a_common_scale(a in any::<i64>(), b in any::<i64>(), left in 0u32..4, right in 0u32..4) {
            let text = |n: i64, places: u32| format!("{n}e-{places}");
            let scaled = |n: i64, places: u32| i128::from(n) * 10_i128.pow(4 - places);
            let found = Number::of(&text(a, left)).cmp(&Number::of(&text(b, right)));
            prop_assert_eq!(found, scaled(a, left).cmp(&scaled(b, right)));
        }

        #[test]
        fn equal_numbers_have_one_hash(a in "-?[01]{1,3}(\\.[01]{1,3})?(e-?[0-2])?", b in "-?[01]{1,3}(\\.[01]{1,3})?(e-?[0-2])?") {
            prop_assert_eq!(Number::of(&a) == Number::of(&b), hash(&a) == hash(&b), "{} {}", a, b);
        }

        #[test]
        fn texts_that_are_no_numbers_are_compared_without_a_panic(a in "[-0-9.eE+]{0,12}", b in "[-0-9.eE+]{0,12}") {
            let (one, other) = (Number::of(&a), Number::of(&b));
            prop_assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
            prop_assert!(hash(&a) == hash(&a) && one.is_multiple_of(&Number::of("7")) == one.is_multiple_of(&Number::of("7.0")));
        }
    }
}
