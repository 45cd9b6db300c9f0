//! Bounds of what the operator echoes into a status: the schema and whoever writes take them from here, for one value that is too long would be
//! refused with the whole status.

/// Longest `status.lastHandledRequestedAt`, in characters.
pub const HANDLED_REQUEST: usize = 256;
/// Longest message about an external broker, in characters.
pub const MESSAGE: usize = 1024;

/// The text, cut to so many characters: `maxLength` counts those, not bytes. Where something is cut the last character is `…`.
#[must_use]
pub fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let kept = text.chars().take(characters.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_characters_and_says_so() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
        assert_eq!(
            cut(&"x".repeat(5000), HANDLED_REQUEST).chars().count(),
            HANDLED_REQUEST
        );
    }
}
