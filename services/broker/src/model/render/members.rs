//! Objects of JSON as they are written.

use crate::model::json::write_string;
use std::borrow::Cow;

/// An object that is being written.
pub(super) struct Members<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Members<'o> {
    pub(super) fn open(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    /// Writes a name; the value is to follow.
    pub(super) fn name(&mut self, name: &str) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        write_string(self.out, name);
        self.out.push(':');
        self.out
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        let out = self.name(name);
        write_string(out, value);
    }

    /// How far the text goes by now, in bytes.
    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    pub(super) fn close(self) {
        self.out.push('}');
    }
}

/// Texts: one as a string, several as an array.
pub(super) fn write_texts<'t>(out: &mut String, texts: impl ExactSizeIterator<Item = Cow<'t, str>>) {
    let several = texts.len() != 1;
    if several {
        out.push('[');
    }
    for (n, text) in texts.enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_string(out, &text);
    }
    if several {
        out.push(']');
    }
}
