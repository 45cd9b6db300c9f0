//! Numbers as they are written, compared by what they are worth: exactly, however many digits they have.

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
            .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        let rest = self
            .digits()
            .fold(0, |rest, digit| (rest * 10 + u128::from(digit - b'0')) % modulus);
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
