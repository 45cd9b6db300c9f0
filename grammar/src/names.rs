//! What may be a URI, a name, a scope, a tenant. ETSI GS CIM 009, clauses 4.6.2, 4.6.3, 4.14 and 4.18.

/// The longest id, type or attribute IRI, in bytes: keys of indexes, which PostgreSQL limits to 2,704 bytes together.
pub const MAX_IRI: usize = 1024;

/// Whether the text is an absolute URI or IRI, short enough to be a key.
///
/// A scheme, a colon and something after it, without blanks, control characters and what RFC 3987 forbids everywhere.
#[must_use]
pub fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let mut letters = scheme.chars();
    text.len() <= MAX_IRI
        && letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !rest.is_empty()
        && !rest.chars().any(|c| {
            c.is_control()
                || c.is_whitespace()
                || matches!(c, '<' | '>' | '"' | '{' | '}' | '|' | '\\' | '^' | '`')
        })
}

/// Whether the text may name a type or an attribute: a letter, then letters, digits and `_`; or an IRI, or
/// `prefix:name`.
pub fn is_name(text: &str) -> bool {
    if text.contains(':') {
        return is_uri(text);
    }
    let mut letters = text.chars();
    text.len() <= MAX_IRI / 2
        && letters.next().is_some_and(char::is_alphabetic)
        && letters.all(|c| c.is_alphanumeric() || c == '_')
}

/// Whether the text is a scope: `/A/B`, names as in [`is_name`] with `-` also allowed.
#[must_use]
pub fn is_scope(text: &str) -> bool {
    text.len() <= MAX_IRI
        && text
            .strip_prefix('/')
            .is_some_and(|levels| levels.split('/').all(is_scope_level))
}

/// Whether the text may be one level of a scope.
#[must_use]
pub fn is_scope_level(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Whether the text may name a tenant.
#[must_use]
pub fn is_tenant_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_absolute_and_clean() {
        for good in ["urn:ngsi-ld:A:1", "https://example.org/a?b#c", "a:b", "urn:x:é"] {
            assert!(is_uri(good), "{good}");
        }
        for bad in [
            "",
            "a",
            ":a",
            "a:",
            "1a:b",
            "urn:a b",
            "urn:a\"b",
            "urn:a\u{1}",
            &format!("urn:{}", "x".repeat(MAX_IRI)),
        ] {
            assert!(!is_uri(bad), "{bad}");
        }
    }

    #[test]
    fn names_start_with_a_letter() {
        for good in [
            "a",
            "noise_Level1",
            "schema:name",
            "https://schema.org/name",
            "température",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "1a", "a-b", "a.b", "a b", "a<b", "@x", "_a", "a(b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn tenants_have_plain_names() {
        assert!(is_tenant_name("city-one_2"));
        for bad in ["", "a b", "a'; drop", "ü", "a/b", &"a".repeat(64)] {
            assert!(!is_tenant_name(bad), "{bad}");
        }
    }
}
