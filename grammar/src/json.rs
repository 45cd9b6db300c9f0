//! A JSON value that keeps what was sent, and a parser that refuses early what the broker cannot keep.
//!
//! Why not `serde_json::Value`: numbers must come back as they were sent (`5` and `5.0` differ for clients; only what
//! jsonb decides differs: it writes exponents out, so `1e3` comes back as `1000`, and `-0` as `0`), members
//! keep their order, and three things that are valid JSON have to be refused before they cost memory or reach the
//! database: nesting beyond a limit, numbers beyond what PostgreSQL's `numeric` stores in a sane size, and `\u0000`,
//! which PostgreSQL cannot store at all.

use std::collections::HashSet;
use std::fmt::Write as _;

/// How deep a client may nest arrays and objects. The stored form adds levels of its own, so it has its own limit.
pub const MAX_DEPTH: usize = 64;
/// The limit for text that comes from the database; each level of a client's document may become three there.
pub const MAX_STORED_DEPTH: usize = 4 * MAX_DEPTH;
/// How many values a document may have: so many, and one more for each so many bytes, up to a limit. A value takes some
/// fifty bytes of memory, whatever its text takes.
const FREE_VALUES: usize = 20_000;
const BYTES_PER_VALUE: usize = 6;
const MAX_VALUES: usize = 500_000;
/// The longest number that is taken, in digits once its exponent is written out, as the database writes it. A double
/// needs fewer than 350, from the least to the greatest.
const MAX_DIGITS: usize = 400;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as its text.
    Number(Box<str>),
    /// A string, unescaped.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object; the order of members is kept, names are unique.
    Object(Vec<(String, Json)>),
}

/// Why a text was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON.
    #[error("not JSON: {what} at byte {at}")]
    Syntax {
        /// Byte offset.
        at: usize,
        /// What was wrong there.
        what: &'static str,
    },
    /// JSON, but beyond what the broker keeps.
    #[error("{what} (at byte {at})")]
    Refused {
        /// Byte offset.
        at: usize,
        /// What was refused, and the limit.
        what: &'static str,
    },
}

impl Json {
    /// Parses a client's document.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(text).map_err(|e| Malformed::Syntax {
            at: e.valid_up_to(),
            what: "bytes that are not UTF-8",
        })?;
        Self::parse_within(
            text,
            Limits {
                depth: MAX_DEPTH,
                values: (FREE_VALUES + text.len() / BYTES_PER_VALUE).min(MAX_VALUES),
                digits: MAX_DIGITS,
            },
        )
    }

    /// Parses what the database keeps. It was bounded when it was written, and is longer than what the client sent;
    /// only the depth, which is the parser's own stack, is bounded again.
    pub fn parse_stored(text: &str) -> Result<Self, Malformed> {
        Self::parse_within(
            text,
            Limits {
                depth: MAX_STORED_DEPTH,
                values: usize::MAX,
                digits: usize::MAX,
            },
        )
    }

    fn parse_within(text: &str, limits: Limits) -> Result<Self, Malformed> {
        let mut parser = Parser { text, at: 0, limits };
        parser.blanks();
        let value = parser.value()?;
        parser.blanks();
        if parser.at < text.len() {
            return Err(parser.syntax("something after the end of the document"));
        }
        Ok(value)
    }

    /// The member of an object; `None` for anything else.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The nearest 64-bit float of a number.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The text of a number for a float: the shortest that reads back the same.
    #[must_use]
    pub fn number(value: f64) -> Self {
        Self::Number(value.to_string().into_boxed_str())
    }

    /// A string.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// What a message calls this value.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// Appends the value as compact JSON.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(text) => out.push_str(text),
            Self::String(text) => write_string(out, text),
            Self::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (n, (name, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_string(out, name);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The value as compact JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// Appends a JSON string with its quotes.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        // Only single-byte characters are cut out, so these are character boundaries.
        out.push_str(text.get(plain..at).unwrap_or_default());
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        plain = at + 1;
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// What a document may still have.
struct Limits {
    /// Levels that may be opened.
    depth: usize,
    /// Values that may come.
    values: usize,
    /// Digits of a number.
    digits: usize,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    limits: Limits,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn syntax(&self, what: &'static str) -> Malformed {
        Malformed::Syntax { at: self.at, what }
    }

    fn refused(&self, what: &'static str) -> Malformed {
        Malformed::Refused { at: self.at, what }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Json, Malformed> {
        self.limits.values = self
            .limits
            .values
            .checked_sub(1)
            .ok_or_else(|| self.refused("too many values for one document"))?;
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.syntax("a character that starts no value")),
            None => Err(self.syntax("the document ends where a value should be")),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Json, Malformed>) -> Result<Json, Malformed> {
        self.limits.depth = self
            .limits
            .depth
            .checked_sub(1)
            .ok_or_else(|| self.refused("nested too deep: at most 64 levels"))?;
        self.at += 1;
        self.blanks();
        let value = inner(self)?;
        self.limits.depth += 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Json, Malformed> {
        let mut members: Vec<(String, Json)> = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a member without a name in quotes"));
            }
            let name = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.syntax("a member's name without a colon after it"));
            }
            self.at += 1;
            self.blanks();
            let value = self.value()?;
            members.push((name, value));
            if self.next_item(b'}')? {
                break;
            }
        }
        if has_twins(&members) {
            return Err(self.refused("an object that has the same member twice"));
        }
        Ok(Json::Object(members))
    }

    fn array(&mut self) -> Result<Json, Malformed> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.next_item(b']')? {
                return Ok(Json::Array(items));
            }
        }
    }

    /// After an item: true at the closing bracket, false after a comma.
    fn next_item(&mut self, close: u8) -> Result<bool, Malformed> {
        self.blanks();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.blanks();
                Ok(false)
            }
            Some(found) if found == close => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(self.syntax("neither a comma nor the closing bracket")),
            None => Err(self.syntax("the document ends inside an array or object")),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Malformed> {
        if self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.syntax("a word that is not true, false or null"))
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Json, Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.syntax("a number that JSON does not allow"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.syntax("a number without digits after its point"));
            }
        }
        let mantissa_end = self.at;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.syntax("a number without digits in its exponent"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let is_zero = self
            .text
            .get(start..mantissa_end)
            .is_some_and(|m| !m.bytes().any(|b| b.is_ascii_digit() && b != b'0'));
        // 0e99999 is zero, but its text would still be written out digit by digit.
        let text = if is_zero && mantissa_end < self.at {
            "0"
        } else {
            text
        };
        if digits_written_out(text) > self.limits.digits {
            return Err(Malformed::Refused {
                at: start,
                what: "a number of more than 400 digits",
            });
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && (value != 0.0 || is_zero) => Ok(Json::Number(text.into())),
            _ => Err(Malformed::Refused {
                at: start,
                what: "a number outside the range of a 64-bit float",
            }),
        }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.at += 1;
        let mut out = String::new();
        let mut plain = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    out.push_str(self.text.get(plain..self.at).unwrap_or_default());
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(self.text.get(plain..self.at).unwrap_or_default());
                    self.at += 1;
                    out.push(self.escape()?);
                    plain = self.at;
                }
                Some(0..0x20) => return Err(self.syntax("a control character inside a string")),
                Some(_) => self.at += 1,
                None => return Err(self.syntax("the document ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let simple = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.syntax("an escape that JSON does not know")),
        };
        self.at += 1;
        Ok(simple)
    }

    fn unicode(&mut self) -> Result<char, Malformed> {
        let first = self.four_hex()?;
        let code = match first {
            0 => return Err(self.refused("the character \\u0000, which the database cannot store")),
            0xd800..0xdc00 => {
                let follows = self
                    .text
                    .get(self.at..)
                    .is_some_and(|rest| rest.starts_with("\\u"));
                if !follows {
                    return Err(self.refused("half of a surrogate pair"));
                }
                self.at += 1;
                let second = self.four_hex()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(self.refused("half of a surrogate pair"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| self.refused("half of a surrogate pair"))
    }

    /// Reads `uXXXX`.
    fn four_hex(&mut self) -> Result<u32, Malformed> {
        let digits = self
            .text
            .get(self.at + 1..self.at + 5)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let code = code.ok_or_else(|| self.syntax("a \\u without four hexadecimal digits"))?;
        self.at += 5;
        Ok(code)
    }
}

/// How many digits a number of JSON has without an exponent, as PostgreSQL's `numeric` is written: every digit that was
/// sent counts, zeros too. Not fewer, at most a few more.
#[must_use]
pub fn digits_written_out(number: &str) -> usize {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // An exponent beyond this type is far beyond every limit.
    let exponent: isize = exponent.parse().unwrap_or(isize::MAX);
    let shift = exponent.unsigned_abs();
    let (grows, shrinks) = if exponent < 0 {
        (fraction.len(), whole.len())
    } else {
        (whole.len(), fraction.len())
    };
    grows
        .saturating_add(shift)
        .saturating_add(shrinks.saturating_sub(shift))
}

fn has_twins(members: &[(String, Json)]) -> bool {
    if members.len() <= 8 {
        return members
            .iter()
            .enumerate()
            .any(|(n, (name, _))| members.iter().take(n).any(|(other, _)| other == name));
    }
    let mut seen = HashSet::with_capacity(members.len());
    !members.iter().all(|(name, _)| seen.insert(name.as_str()))
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
