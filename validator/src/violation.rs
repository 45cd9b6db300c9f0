//! What is wrong with an entity, a line for each.

use std::borrow::Cow;
use std::fmt;

/// How many characters of a value are shown.
pub const SHOWN: usize = 64;

/// One rule that one value breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the document that was sent: a JSON pointer (RFC 6901), relative to the entity.
    pub pointer: String,
    /// The rule, in words.
    pub rule: String,
    /// The value as it was sent, cut to [`SHOWN`] characters.
    pub value: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, rule, value } = self;
        write!(f, "{pointer}: {rule}, not {value}")
    }
}

/// At most [`SHOWN`] characters of a text, and a sign where that is not all.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
    }
}
