//! Values as they are looked at.

use super::{Kind, Number, Tape};
use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher};

/// A value of a tape, or an object of which only one member is seen.
#[derive(Clone, Copy, Debug)]
pub struct Value<'t> {
    tape: Tape<'t>,
    at: u32,
    /// The name of the only member that is seen; 0, which is never a name: all are.
    only: u32,
    /// Whether items that are an object with a member `object` are seen as that one.
    targets: bool,
}

impl<'t> Value<'t> {
    pub(super) fn new(tape: Tape<'t>, at: u32) -> Self {
        Self {
            tape,
            at,
            only: 0,
            targets: false,
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.tape.entry(self.at).kind
    }

    /// As it stands in the text; of a text what is between the quotation marks.
    #[must_use]
    pub fn raw(&self) -> &'t str {
        self.tape.slice(self.tape.entry(self.at))
    }

    /// The text; `None`: it is no text.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'t, str>> {
        let kind = self.kind();
        matches!(kind, Kind::String | Kind::Escaped).then(|| unescaped(kind, self.raw()))
    }

    /// Whether it is this text.
    #[must_use]
    pub fn is_text(&self, text: &str) -> bool {
        match self.kind() {
            Kind::String => self.raw() == text,
            Kind::Escaped => unescaped(Kind::Escaped, self.raw()) == text,
            _ => false,
        }
    }

    /// The number; `None`: it is none.
    #[must_use]
    pub fn number(&self) -> Option<Number<'t>> {
        (self.kind() == Kind::Number).then(|| Number::of(self.raw()))
    }

    /// The members, in their order; none where it is no object.
    #[must_use]
    pub fn members(&self) -> Members<'t> {
        let entry = self.tape.entry(self.at);
        let (at, end) = match (entry.kind, self.only) {
            (Kind::Object, 0) => (self.at + 1, entry.next),
            (Kind::Object, only) => (only, self.tape.entry(only + 1).next),
            _ => (0, 0),
        };
        Members {
            tape: self.tape,
            at,
            end,
        }
    }

    /// The items, in their order; none where it is no array.
    #[must_use]
    pub fn items(&self) -> Items<'t> {
        let entry = self.tape.entry(self.at);
        let (at, end) = match entry.kind {
            Kind::Array => (self.at + 1, entry.next),
            _ => (0, 0),
        };
        Items {
            tape: self.tape,
            at,
            end,
            targets: self.targets,
        }
    }

    /// The member of this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Value<'t>> {
        self.members()
            .find(|(key, _)| key.is_text(name))
            .map(|(_, value)| value)
    }

    /// The same object, of which only the member of this name is seen.
    #[must_use]
    pub fn with_only(&self, name: &str) -> Option<Value<'t>> {
        let (name, _) = self.members().find(|(key, _)| key.is_text(name))?;
        Some(Self {
            only: name.at,
            ..*self
        })
    }

    /// The same array, in which `{"object": …}` stands for what it names.
    #[must_use]
    pub fn with_targets(self) -> Self {
        Self {
            targets: true,
            ..self
        }
    }

    /// Whether two values are the same JSON: numbers by what they are worth, members in any order.
    #[must_use]
    pub fn equals(&self, other: &Value<'_>) -> bool {
        match (self.kind(), other.kind()) {
            (Kind::String, Kind::String) => self.raw() == other.raw(),
            (Kind::String | Kind::Escaped, Kind::String | Kind::Escaped) => self.text() == other.text(),
            (Kind::Number, Kind::Number) => Number::of(self.raw()) == Number::of(other.raw()),
            (Kind::Array, Kind::Array) => {
                let (mut ours, mut theirs) = (self.items(), other.items());
                loop {
                    match (ours.next(), theirs.next()) {
                        (None, None) => return true,
                        (Some(one), Some(other)) if one.equals(&other) => {}
                        _ => return false,
                    }
                }
            }
            (Kind::Object, Kind::Object) => {
                self.members().count() == other.members().count() && self.members_are_in(other)
            }
            (one, other) => one == other,
        }
    }

    fn members_are_in(&self, other: &Value<'_>) -> bool {
        let ordered = self.members().zip(other.members());
        let same = |((a, one), (b, other)): ((Value<'_>, Value<'_>), (Value<'_>, Value<'_>))| {
            a.equals(&b) && one.equals(&other)
        };
        if ordered.into_iter().all(same) {
            return true;
        }
        let mut theirs: std::collections::HashMap<Cow<'_, str>, Value<'_>> = other
            .members()
            .filter_map(|(name, value)| Some((name.text()?, value)))
            .collect();
        self.members().all(|(name, value)| {
            let found = name.text().and_then(|name| theirs.remove(&name));
            found.is_some_and(|other| value.equals(&other))
        })
    }

    /// A number that is the same for values that are equal.
    pub fn hash_with(&self, hashes: &impl BuildHasher) -> u64 {
        let mut state = hashes.build_hasher();
        match self.kind() {
            kind @ (Kind::Null | Kind::False | Kind::True) => (kind as u8).hash(&mut state),
            Kind::Number => Number::of(self.raw()).hash(&mut state),
            Kind::String | Kind::Escaped => self.text().hash(&mut state),
            Kind::Array => self
                .items()
                .for_each(|item| state.write_u64(item.hash_with(hashes))),
            Kind::Object => {
                let pair = |(name, value): (Value<'_>, Value<'_>)| {
                    hashes.hash_one((name.hash_with(hashes), value.hash_with(hashes)))
                };
                let sum = self.members().map(pair).fold(0, u64::wrapping_add);
                state.write_u64(sum);
            }
        }
        state.finish()
    }
}

/// See [`Value::members`].
#[derive(Clone, Debug)]
pub struct Members<'t> {
    tape: Tape<'t>,
    at: u32,
    end: u32,
}

impl<'t> Iterator for Members<'t> {
    type Item = (Value<'t>, Value<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let name = Value::new(self.tape, self.at);
        let value = Value::new(self.tape, self.at + 1);
        self.at = self.tape.entry(self.at + 1).next;
        Some((name, value))
    }
}

/// See [`Value::items`].
#[derive(Clone, Debug)]
pub struct Items<'t> {
    tape: Tape<'t>,
    at: u32,
    end: u32,
    targets: bool,
}

impl<'t> Iterator for Items<'t> {
    type Item = Value<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let item = Value::new(self.tape, self.at);
        self.at = self.tape.entry(self.at).next;
        let target = self.targets.then(|| item.member("object")).flatten();
        Some(target.unwrap_or(item))
    }
}

/// The text that is meant by what is between quotation marks. It was checked when it was read.
pub(super) fn unescaped(kind: Kind, raw: &str) -> Cow<'_, str> {
    if kind != Kind::Escaped {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        text.push_str(plain);
        let (meant, length) = escape(escaped);
        text.push(meant);
        rest = escaped.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// What an escape means, and how many bytes it has behind the backslash.
fn escape(escaped: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = escaped.get(at..at + 4).unwrap_or_default();
        u32::from_str_radix(digits, 16).unwrap_or_default()
    };
    match escaped.as_bytes().first() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => match unit(1) {
            high @ 0xd800..=0xdbff => {
                let pair = 0x10000 + ((high - 0xd800) << 10) + (unit(7).wrapping_sub(0xdc00) & 0x3ff);
                (char::from_u32(pair).unwrap_or_default(), 11)
            }
            one => (char::from_u32(one).unwrap_or_default(), 5),
        },
        Some(other) => (char::from(*other), 1),
        None => ('\\', 0),
    }
}
