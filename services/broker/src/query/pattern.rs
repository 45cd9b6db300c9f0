//! Regular expressions of clients, limited to what PostgreSQL and Rust's `regex` understand alike, so that a query and
//! a subscription can mean the same; and bounded, so that none costs more than its length suggests.

use crate::model::{Refusal, refuse};
use regex::RegexBuilder;

const MAX_LENGTH: usize = 512;
/// What the compiled automaton may take, in bytes.
const MAX_SIZE: usize = 1 << 17;

/// Checks a pattern. The error says what is wrong with it.
pub fn check(pattern: &str) -> Result<(), Refusal> {
    if pattern.len() > MAX_LENGTH {
        return refuse(format!("a pattern has at most {MAX_LENGTH} bytes"));
    }
    if let Some(feature) = only_one_engine_knows(pattern) {
        return refuse(format!("the pattern uses {feature}, which is not supported"));
    }
    match RegexBuilder::new(pattern)
        .size_limit(MAX_SIZE)
        .nest_limit(20)
        .build()
    {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => refuse("the pattern is too expensive"),
        Err(_) => refuse("the pattern is not a regular expression"),
    }
}

/// What one engine has and the other has not, or reads otherwise.
fn only_one_engine_knows(pattern: &str) -> Option<&'static str> {
    let mut letters = pattern.chars().peekable();
    let mut before = ' ';
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        match letter {
            '\\' => {
                let known =
                    next.is_some_and(|n| n.is_ascii_punctuation() || (!in_class && "dswDSW".contains(n)));
                if !known {
                    return Some("an escape other than \\d, \\s, \\w and escaped punctuation");
                }
                letters.next();
            }
            '(' if !in_class && next == Some('?') => return Some("(?…)"),
            '[' if in_class => return Some("a [ inside […]"),
            '[' => in_class = true,
            ']' if in_class && !matches!(before, '[' | '^') => in_class = false,
            ']' if in_class => return Some("a ] first inside […]"),
            '&' | '~' | '-' if in_class && next == Some(letter) => return Some("a set operation inside […]"),
            '*' if !in_class && before == '*' => return Some("a repeated repetition"),
            '+' if !in_class && matches!(before, '*' | '+' | '?' | '}') => {
                return Some("a possessive repetition");
            }
            _ => {}
        }
        before = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_patterns_are_taken() {
        for good in [
            "^urn:ngsi-ld:Vehicle:[0-9]+$",
            "a|b",
            "(ab)*c{1,3}",
            "\\d+\\.\\d",
            ".*",
            "[^a-z_]x?",
            "urn:.*:1",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_costly_or_means_two_things_is_refused() {
        let long = "a".repeat(513);
        let wide = "(((a{100}){100}){100}){100}".to_owned();
        for bad in [
            "[",
            "(",
            "a**",
            "\\1",
            "(?i)a",
            "***=a",
            "[[:alpha:]]",
            "[a&&b]",
            "\\bword",
            "a++",
            "\\",
            &long,
            &wide,
            "(?=a)",
            "[]a]",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn checking_never_panics(pattern in "\\PC{0,60}") {
            let _ = check(&pattern);
        }
    }
}
