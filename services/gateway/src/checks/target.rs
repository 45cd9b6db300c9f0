//! The target of a request in its one form (RFC 3986 §6.2.2).
//!
//! Percent-encoding is in capitals and only where it is needed, dot segments and empty segments are refused rather than removed. An
//! encoded slash is data of its segment: ids and names of NGSI-LD are IRIs (`/attrs/https:%2F%2F…`). It is let in where the segment
//! is one with a scheme, since a broker that takes it for a separator would read another path than we judged.

use super::Refused;
use std::borrow::Cow;

/// The longest target, in bytes.
pub const MAX_TARGET: usize = 16 * 1024;

/// A target in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    path: usize,
}

impl Target {
    /// Reads what stands in a request line: a path that begins with a slash, perhaps a query.
    pub fn read(text: &[u8]) -> Result<Self, Refused> {
        if text.len() > MAX_TARGET {
            return Err(Refused("the target is too long"));
        }
        if text.first() != Some(&b'/') {
            return Err(Refused("the target is to be a path"));
        }
        let end = text.iter().position(|byte| *byte == b'?').unwrap_or(text.len());
        let (path, query) = text.split_at(end);
        let mut normal = String::with_capacity(text.len());
        normalise(path, &mut normal, false)?;
        let path = normal.len();
        let segments = normal.get(1..).unwrap_or_default().split('/');
        let last = segments.clone().count() - 1;
        for (number, segment) in segments.enumerate() {
            check_segment(segment, number == last)?;
        }
        if let Some(query) = query.get(1..) {
            normal.push('?');
            normalise(query, &mut normal, true)?;
        }
        Ok(Self { text: normal, path })
    }

    /// All of it, as it is forwarded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(..self.path).unwrap_or_default()
    }

    /// The query without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path + 1..)
    }

    /// The segments of the path, each decoded once.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let path = self.path().get(1..).unwrap_or_default();
        path.split('/').map(decoded)
    }
}

fn decoded(segment: &str) -> Cow<'_, str> {
    // Normalisation has seen to it that it is UTF-8.
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy()
}

/// Appends the text with its percent-encoding in one form.
fn normalise(text: &[u8], out: &mut String, is_query: bool) -> Result<(), Refused> {
    let allowed = if is_query { is_of_query } else { is_of_path };
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let code = match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                    (Some(high), Some(low)) => high * 16 + low,
                    _ => {
                        return Err(Refused(
                            "a percent sign is to be followed by two hexadecimal digits",
                        ));
                    }
                };
                push_encoded(out, code)?;
            }
            byte if allowed(byte) => out.push(char::from(byte)),
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' | b'\\' if is_query => {
                push_encoded(out, byte)?;
            }
            _ => {
                return Err(Refused(
                    "the target has a character that is to be percent-encoded",
                ));
            }
        }
    }
    Ok(())
}

fn push_encoded(out: &mut String, code: u8) -> Result<(), Refused> {
    match code {
        0..0x20 | 0x7f => Err(Refused("the target has a control character")),
        // RFC 3986 §2.3: these mean the same, encoded or not.
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(code));
            Ok(())
        }
        _ => {
            out.push('%');
            for digit in [code >> 4, code & 15] {
                out.push(
                    char::from_digit(digit.into(), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase(),
                );
            }
            Ok(())
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// RFC 3986 §3.3, without the semicolon: some servers end a segment there.
const fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
                | b'/'
        )
}

/// RFC 3986 §3.4. What else clients write of the query language without encoding it is encoded here.
const fn is_of_query(byte: u8) -> bool {
    is_of_path(byte) || matches!(byte, b'?' | b';')
}

fn check_segment(segment: &str, is_last: bool) -> Result<(), Refused> {
    if segment.is_empty() {
        return if is_last {
            Ok(())
        } else {
            Err(Refused("the path has an empty segment"))
        };
    }
    if !segment.contains('%') {
        return no_dots(segment);
    }
    let text = percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Refused("the path is not UTF-8"))?;
    if text.contains('\\') {
        return Err(Refused("the path has a backslash"));
    }
    if text.contains('/') && !has_scheme(&text) {
        return Err(Refused("the path has an encoded slash that belongs to no IRI"));
    }
    // As a server reads it that ends a segment at a semicolon.
    text.split('/')
        .map(|part| part.split(';').next().unwrap_or_default())
        .try_for_each(no_dots)
}

fn no_dots(segment: &str) -> Result<(), Refused> {
    if matches!(segment, "." | "..") {
        return Err(Refused("the path has a dot segment"));
    }
    Ok(())
}

/// RFC 3986 §3.1.
fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Result<String, Refused> {
        Target::read(text.as_bytes()).map(|target| target.as_str().to_owned())
    }

    #[test]
    fn what_may_be_written_in_several_ways_has_one_form() {
        for (written, expected) in [
            ("/", "/"),
            ("/ngsi-ld/v1/entities/", "/ngsi-ld/v1/entities/"),
            ("/ngsi%2dld/v1/%65ntities", "/ngsi-ld/v1/entities"),
            ("/a/urn%3angsi-ld%3AA%3a1", "/a/urn%3Angsi-ld%3AA%3A1"),
            ("/a?q=b%3e%3D1;c>\"d\"|e", "/a?q=b%3E%3D1;c%3E%22d%22%7Ce"),
            ("/a?x=../..//%2f", "/a?x=../..//%2F"),
            (
                "/attrs/https%3a%2f%2fa.example%2fb",
                "/attrs/https%3A%2F%2Fa.example%2Fb",
            ),
            ("/a/%C3%A4", "/a/%C3%A4"),
            ("/a/...", "/a/..."),
        ] {
            assert_eq!(form(written).as_deref(), Ok(expected), "{written}");
            assert_eq!(
                form(expected).as_deref(),
                Ok(expected),
                "the form of a form is itself"
            );
        }
    }

    #[test]
    fn a_path_that_another_server_would_read_otherwise_is_refused() {
        for trick in [
            "",
            "a",
            "*",
            "http://a/b",
            "//a",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/.",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a;x/b",
            "/a/%2e%2e%3b/b",
            "/a\\b",
            "/a/..\\b",
            "/a%5cb",
            "/a%2fb",
            "/a/..%2fb",
            "/a/%2F..%2F",
            "/a/urn:x%2F..%2Fb",
            "/a%00b",
            "/a%0d%0ab",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%u0041",
            "/a#b",
            "/a%FFb",
            "/a%c0%ae",
            "/a\u{e4}",
            "/a b",
            "/a?b%0a",
            "/a?b%0",
            "/a?b#c",
            "/a|b",
            "/a?\u{e4}",
        ] {
            assert!(form(trick).is_err(), "{trick:?} became {:?}", form(trick));
        }
        assert!(form(&format!("/{}", "a".repeat(MAX_TARGET))).is_err());
    }

    #[test]
    fn segments_are_decoded_once() {
        let target = Target::read(b"/a/https%3A%2F%2Fb%2Fc%252F/d?e").unwrap();
        assert_eq!(
            target.segments().collect::<Vec<_>>(),
            ["a", "https://b/c%2F", "d"]
        );
        assert_eq!(
            (target.path(), target.query()),
            ("/a/https%3A%2F%2Fb%2Fc%252F/d", Some("e"))
        );
    }

    proptest::proptest! {
        /// Texts of the characters that tricks are made of.
        #[test]
        fn the_form_of_a_target_is_its_own_form_and_has_no_trick_left(text in "/[a/.%2eEfF5cC:;?&=+0\\\\ ]{0,24}") {
            let Ok(target) = Target::read(text.as_bytes()) else {
                return Ok(());
            };
            proptest::prop_assert_eq!(Target::read(target.as_str().as_bytes()), Ok(target.clone()));
            let path = target.path();
            for trick in ["//", "\\", ";", "%2e", "%2E", "%00", "%5C", "/../", "/./"] {
                proptest::prop_assert!(!path.contains(trick), "{} in {}", trick, path);
            }
            for segment in target.segments() {
                proptest::prop_assert!(segment != ".." && segment != ".", "{}", path);
            }
        }

        #[test]
        fn no_bytes_are_more_than_a_target_can_bear(text in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = Target::read(&text);
            let _ = Target::read(&[b"/", text.as_slice()].concat());
        }
    }
}
