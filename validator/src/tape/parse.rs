//! From bytes to entries, without recursion.

use super::{Entry, Kind, MAX_DEPTH, MAX_TEXT, Malformed, Scratch, Why};
use std::borrow::Cow;
use std::collections::HashSet;

/// Fills the scratch with the entries of a text, and gives it back as text.
pub(super) fn parse<'t>(bytes: &'t [u8], scratch: &mut Scratch) -> Result<&'t str, Malformed> {
    if bytes.len() > MAX_TEXT {
        return Err(Malformed {
            at: 0,
            why: Why::TooLong,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed {
        at: error.valid_up_to(),
        why: Why::NotUtf8,
    })?;
    scratch.entries.clear();
    scratch.open.clear();
    let mut parser = Parser {
        text,
        bytes,
        at: 0,
        entries: &mut scratch.entries,
        open: &mut scratch.open,
    };
    parser.document()?;
    Ok(text)
}

struct Parser<'t, 's> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    entries: &'s mut Vec<Entry>,
    open: &'s mut Vec<u32>,
}

/// Places are below 2^30.
#[expect(clippy::cast_possible_truncation, reason = "MAX_TEXT bounds all places")]
fn place(at: usize) -> u32 {
    at as u32
}

impl Parser<'_, '_> {
    fn document(&mut self) -> Result<(), Malformed> {
        self.value()?;
        while let Some(open) = self.open.last().copied() {
            let is_object = self.entry_kind(open) == Kind::Object;
            match self.next()? {
                b',' if is_object => {
                    self.at += 1;
                    self.name()?;
                    self.value()?;
                }
                b',' => {
                    self.at += 1;
                    self.value()?;
                }
                b'}' if is_object => self.close()?,
                b']' if !is_object => self.close()?,
                _ => return self.wrong(Why::Unexpected),
            }
        }
        self.spaces();
        if self.at < self.bytes.len() {
            return self.wrong(Why::Trailing);
        }
        Ok(())
    }

    fn entry_kind(&self, at: u32) -> Kind {
        self.entries
            .get(at as usize)
            .map_or(Kind::Null, |entry| entry.kind)
    }

    fn wrong<T>(&self, why: Why) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, why })
    }

    fn byte(&self) -> Result<u8, Malformed> {
        self.bytes.get(self.at).copied().ok_or(Malformed {
            at: self.at,
            why: Why::Ends,
        })
    }

    fn spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Result<u8, Malformed> {
        self.spaces();
        self.byte()
    }

    /// Reads a value; of an array or object that is not empty its beginning and its first value.
    fn value(&mut self) -> Result<(), Malformed> {
        loop {
            match self.next()? {
                b'"' => return self.string(),
                b'{' => {
                    self.open(Kind::Object)?;
                    if self.next()? == b'}' {
                        return self.close();
                    }
                    self.name()?;
                }
                b'[' => {
                    self.open(Kind::Array)?;
                    if self.next()? == b']' {
                        return self.close();
                    }
                }
                b'-' | b'0'..=b'9' => return self.number(),
                b't' => return self.word(Kind::True, b"true"),
                b'f' => return self.word(Kind::False, b"false"),
                b'n' => return self.word(Kind::Null, b"null"),
                _ => return self.wrong(Why::Unexpected),
            }
        }
    }

    fn push(&mut self, kind: Kind, start: usize, end: usize) {
        self.entries.push(Entry {
            start: place(start),
            end: place(end),
            next: place(self.entries.len() + 1),
            kind,
        });
    }

    fn open(&mut self, kind: Kind) -> Result<(), Malformed> {
        if self.open.len() == MAX_DEPTH {
            return self.wrong(Why::TooDeep);
        }
        self.open.push(place(self.entries.len()));
        self.push(kind, self.at, self.at);
        self.at += 1;
        Ok(())
    }

    /// Ends the array or object that was opened last, at the bracket that is next.
    fn close(&mut self) -> Result<(), Malformed> {
        let Some(open) = self.open.pop() else {
            return self.wrong(Why::Unexpected);
        };
        self.at += 1;
        let next = place(self.entries.len());
        if let Some(entry) = self.entries.get_mut(open as usize) {
            entry.next = next;
            entry.end = place(self.at);
            if entry.kind == Kind::Object {
                self.names_differ(open)?;
            }
        }
        Ok(())
    }

    fn name(&mut self) -> Result<(), Malformed> {
        if self.next()? != b'"' {
            return self.wrong(Why::Unexpected);
        }
        self.string()?;
        if self.next()? != b':' {
            return self.wrong(Why::Unexpected);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, kind: Kind, word: &[u8]) -> Result<(), Malformed> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return self.wrong(Why::Unexpected);
        }
        self.push(kind, self.at, end);
        self.at = end;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Malformed> {
        let start = self.at + 1;
        self.at = start;
        let mut kind = Kind::String;
        loop {
            self.plain_characters();
            match self.byte()? {
                b'"' => break,
                b'\\' => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                _ => return self.wrong(Why::Unexpected),
            }
        }
        self.push(kind, start, self.at);
        self.at += 1;
        Ok(())
    }

    /// Goes on to the next quotation mark, backslash or control character, eight bytes at a time.
    fn plain_characters(&mut self) {
        while let Some(chunk) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let special = special_bytes(u64::from_le_bytes(*chunk));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while let Some(byte) = self.bytes.get(self.at)
            && *byte >= b' '
            && *byte != b'"'
            && *byte != b'\\'
        {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                let unit = self.unit()?;
                match unit {
                    0xd800..=0xdbff => {
                        let is_pair = self.bytes.get(self.at..self.at + 2) == Some(b"\\u");
                        self.at += 1;
                        if !is_pair || !(0xdc00..=0xdfff).contains(&self.unit()?) {
                            return self.wrong(Why::Escape);
                        }
                    }
                    0xdc00..=0xdfff => return self.wrong(Why::Escape),
                    _ => {}
                }
            }
            _ => return self.wrong(Why::Escape),
        }
        Ok(())
    }

    /// Reads `uXXXX`.
    fn unit(&mut self) -> Result<u32, Malformed> {
        let digits = self.text.get(self.at + 1..self.at + 5);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(unit) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return self.wrong(Why::Escape);
        };
        self.at += 5;
        Ok(unit)
    }

    /// RFC 8259 §6.
    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        if let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            return self.wrong(Why::Number);
        }
        self.push(Kind::Number, start, self.at);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start {
            return self.wrong(Why::Number);
        }
        Ok(())
    }

    /// Refuses an object, the last that was read, with two members of one name.
    fn names_differ(&self, open: u32) -> Result<(), Malformed> {
        const FEW: usize = 64;
        let mut seen = [0_u64; 8];
        let mut count = 0;
        for name in self.names(open) {
            count += 1;
            if name.kind == Kind::Escaped || count > FEW {
                return self.many_names_differ(open);
            }
            let name = self
                .bytes
                .get(name.start as usize..name.end as usize)
                .unwrap_or_default();
            let hash = mixed(name);
            let (word, bit) = ((hash >> 6) as usize % seen.len(), 1 << (hash & 63));
            if let Some(word) = seen.get_mut(word) {
                if *word & bit != 0 {
                    return self.many_names_differ(open);
                }
                *word |= bit;
            }
        }
        Ok(())
    }

    fn names(&self, open: u32) -> impl Iterator<Item = Entry> {
        let mut at = open as usize + 1;
        std::iter::from_fn(move || {
            let name = *self.entries.get(at)?;
            at = self.entries.get(at + 1)?.next as usize;
            Some(name)
        })
    }

    fn many_names_differ(&self, open: u32) -> Result<(), Malformed> {
        let mut seen: HashSet<Cow<'_, str>> = HashSet::new();
        for name in self.names(open) {
            let range = name.start as usize..name.end as usize;
            let text = self.text.get(range).unwrap_or_default();
            if !seen.insert(super::value::unescaped(name.kind, text)) {
                return Err(Malformed {
                    at: name.start as usize - 1,
                    why: Why::Twice,
                });
            }
        }
        Ok(())
    }
}

/// The high bits of the bytes that end a run of plain characters. Exact for the first of them, and for no other.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let quote = zero(word ^ (ONES * u64::from(b'"')));
    let backslash = zero(word ^ (ONES * u64::from(b'\\')));
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    quote | backslash | control
}

/// A number for a name; names that differ have the same one rarely.
pub(crate) fn mixed(name: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let edge = |chunk: Option<&[u8; 8]>| chunk.map(|chunk| u64::from_le_bytes(*chunk));
    let long = edge(name.first_chunk()).zip(edge(name.last_chunk()));
    let (first, last) = long.unwrap_or_else(|| {
        let mut short = [0; 8];
        for (to, from) in short.iter_mut().zip(name) {
            *to = *from;
        }
        (u64::from_le_bytes(short), 0)
    });
    let mixed = (first ^ last.rotate_left(29) ^ (name.len() as u64) << 57).wrapping_mul(ODD);
    mixed ^ (mixed >> 32)
}
