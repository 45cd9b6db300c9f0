//! JSON as a *tape*: one entry of 16 bytes for each value and each name, in the order of the text, which is not copied.
//! Nothing is built for a value, so what a schema does not look at costs its entry and no more; and what it looks at
//! twice (`anyOf`, `oneOf`) is still there.
//!
//! A text is either a tape or refused: RFC 8259, in UTF-8, without lone surrogates, without two members of one name in an
//! object (RFC 8259 §4 leaves open which one counts, and two readers may differ), no deeper than [`MAX_DEPTH`].

mod parse;
mod value;

pub use mim_grammar::number::Number;
pub(crate) use parse::mixed;
pub use value::{Items, Members, Value};

use std::fmt;

/// How many arrays and objects may lie inside each other.
pub const MAX_DEPTH: usize = 128;
/// The longest text, in bytes: entries have 32 bits for a place in it.
pub const MAX_TEXT: usize = 1 << 30;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `null`
    Null,
    /// `false`
    False,
    /// `true`
    True,
    /// A number; what it is worth is read when somebody asks.
    Number,
    /// A text without escapes, or a name.
    String,
    /// A text with escapes, or a name.
    Escaped,
    /// An array.
    Array,
    /// An object: names and values take turns.
    Object,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where it begins; of texts and names behind the quotation mark.
    start: u32,
    /// Where it ends; of texts and names before the quotation mark.
    end: u32,
    /// The entry behind it and all that is in it.
    next: u32,
    kind: Kind,
}

/// Memory for tapes, to be used again.
#[derive(Debug, Default)]
pub struct Scratch {
    entries: Vec<Entry>,
    open: Vec<u32>,
}

/// A parsed text.
#[derive(Clone, Copy, Debug)]
pub struct Tape<'t> {
    text: &'t str,
    entries: &'t [Entry],
}

impl<'t> Tape<'t> {
    /// Reads a text.
    pub fn parse(text: &'t [u8], scratch: &'t mut Scratch) -> Result<Self, Malformed> {
        let text = parse::parse(text, scratch)?;
        Ok(Self {
            text,
            entries: &scratch.entries,
        })
    }

    /// The value that the text is.
    #[must_use]
    pub fn root(&self) -> Value<'t> {
        Value::new(*self, 0)
    }

    fn entry(&self, at: u32) -> Entry {
        const NONE: Entry = Entry {
            start: 0,
            end: 0,
            next: u32::MAX,
            kind: Kind::Null,
        };
        self.entries.get(at as usize).copied().unwrap_or(NONE)
    }

    fn slice(&self, entry: Entry) -> &'t str {
        self.text
            .get(entry.start as usize..entry.end as usize)
            .unwrap_or_default()
    }
}

/// A tape that owns its text.
#[derive(Debug)]
pub struct Owned {
    text: Box<str>,
    entries: Box<[Entry]>,
}

impl Owned {
    /// The tape of a JSON value.
    pub fn of(value: &serde_json::Value) -> Result<Self, Malformed> {
        let text = value.to_string().into_boxed_str();
        let mut scratch = Scratch::default();
        parse::parse(text.as_bytes(), &mut scratch)?;
        let entries = scratch.entries.into_boxed_slice();
        Ok(Self { text, entries })
    }

    /// The value.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        let tape = Tape {
            text: &self.text,
            entries: &self.entries,
        };
        tape.root()
    }

    /// Its text, without spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where, in bytes from the beginning.
    pub at: usize,
    /// What is wrong there.
    pub why: Why,
}

/// What may be wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// More than [`MAX_TEXT`] bytes.
    TooLong,
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
    /// Not UTF-8.
    NotUtf8,
    /// It ends too early.
    Ends,
    /// A character that cannot stand there.
    Unexpected,
    /// No escape that JSON knows, or half of a surrogate pair.
    Escape,
    /// No number: a leading zero, no digit after the point.
    Number,
    /// The object has a member of this name already.
    Twice,
    /// Something follows the value.
    Trailing,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::TooLong => return write!(f, "the text has more than {MAX_TEXT} bytes"),
            Why::TooDeep => return write!(f, "byte {}: more than {MAX_DEPTH} levels", self.at),
            Why::NotUtf8 => "not UTF-8",
            Why::Ends => "the text ends too early",
            Why::Unexpected => "an unexpected character",
            Why::Escape => "an escape that JSON does not have, or half of a surrogate pair",
            Why::Number => "not a number",
            Why::Twice => "a second member of this name in one object",
            Why::Trailing => "something follows the value",
        };
        write!(f, "byte {}: {why}", self.at)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests;
