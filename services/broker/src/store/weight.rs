//! How much memory an entity takes on its way between the database and a client, roughly, in bytes.

use crate::model::stored::MAX_VALUES;

/// How many bytes of memory each byte of text and each value takes: in the message, parsed, and as text again.
const OF_BYTE: usize = 6;
const OF_VALUE: usize = 80;

/// Of an entity of which only the size of its text is known. The densest text has a value in every three bytes.
#[must_use]
pub fn of_size(bytes: usize) -> usize {
    bytes * OF_BYTE + (bytes / 3).min(MAX_VALUES) * OF_VALUE
}

/// Of one whose text is there.
#[must_use]
pub fn of_text(text: &str) -> usize {
    let values = text.bytes().filter(|b| matches!(b, b',' | b'[' | b'{')).count();
    text.len() * OF_BYTE + values * OF_VALUE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_is_never_less_than_what_is_counted() {
        for text in [
            "{\"urn:a\": [{\"type\": \"Property\", \"value\": 1}]}",
            "[1, 2, 3, 4, 5, 6, 7, 8]",
            "\"long\"",
        ] {
            assert!(of_size(text.len()) + OF_VALUE >= of_text(text), "{text}");
        }
    }
}
