//! Formats of texts (JSON Schema 2020-12 validation, §7.3).

use fluent_uri::{Iri, IriRef, Uri, UriRef};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a text may be asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    DateTime,
    Date,
    Time,
    Duration,
    Email,
    IdnEmail,
    Hostname,
    IdnHostname,
    Ipv4,
    Ipv6,
    Uri,
    UriReference,
    Iri,
    IriReference,
    UriTemplate,
    Uuid,
    JsonPointer,
    RelativeJsonPointer,
    Regex,
}

impl Format {
    /// The format of this name; `None`: it has none that is checked. Draft-07 does not know `duration` and `uuid`.
    pub fn named(name: &str, is_draft_07: bool) -> Option<Self> {
        Some(match name {
            "date-time" => Self::DateTime,
            "date" => Self::Date,
            "time" => Self::Time,
            "duration" if !is_draft_07 => Self::Duration,
            "email" => Self::Email,
            "idn-email" => Self::IdnEmail,
            "hostname" => Self::Hostname,
            "idn-hostname" => Self::IdnHostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "uri" => Self::Uri,
            "uri-reference" => Self::UriReference,
            "iri" => Self::Iri,
            "iri-reference" => Self::IriReference,
            "uri-template" => Self::UriTemplate,
            "uuid" if !is_draft_07 => Self::Uuid,
            "json-pointer" => Self::JsonPointer,
            "relative-json-pointer" => Self::RelativeJsonPointer,
            "regex" => Self::Regex,
            _ => return None,
        })
    }

    /// Whether a text is of the format.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Self::DateTime => is_date_time(text),
            Self::Date => is_date(text.as_bytes()),
            Self::Time => is_time(text.as_bytes()),
            Self::Duration => is_duration(text),
            Self::Email => text.is_ascii() && is_email(text),
            Self::IdnEmail => is_email(text),
            Self::Hostname => text.is_ascii() && is_hostname(text),
            Self::IdnHostname => {
                are_in_context(text)
                    && idna::domain_to_ascii_strict(text).is_ok_and(|name| is_hostname(&name))
            }
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Uri => Uri::parse(text).is_ok(),
            Self::UriReference => UriRef::parse(text).is_ok(),
            Self::Iri => Iri::parse(text).is_ok(),
            Self::IriReference => IriRef::parse(text).is_ok(),
            Self::UriTemplate => is_uri_template(text),
            Self::Uuid => is_uuid(text.as_bytes()),
            Self::JsonPointer => is_json_pointer(text),
            Self::RelativeJsonPointer => is_relative_json_pointer(text),
            Self::Regex => jsonschema_regex::is_valid_ecma_regex(text),
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::DateTime => "a date-time like 2026-11-30T12:00:00Z (RFC 3339)",
            Self::Date => "a date like 2026-11-30 (RFC 3339)",
            Self::Time => "a time like 12:00:00Z (RFC 3339)",
            Self::Duration => "a duration like P1DT2H (RFC 3339, appendix A)",
            Self::Email | Self::IdnEmail => "an e-mail address",
            Self::Hostname | Self::IdnHostname => "a host name",
            Self::Ipv4 => "an IPv4 address",
            Self::Ipv6 => "an IPv6 address",
            Self::Uri => "a URI with its scheme (RFC 3986)",
            Self::UriReference => "a URI reference (RFC 3986)",
            Self::Iri => "an IRI with its scheme (RFC 3987)",
            Self::IriReference => "an IRI reference (RFC 3987)",
            Self::UriTemplate => "a URI template (RFC 6570)",
            Self::Uuid => "a UUID (RFC 4122)",
            Self::JsonPointer => "a JSON pointer (RFC 6901)",
            Self::RelativeJsonPointer => "a relative JSON pointer",
            Self::Regex => "a regular expression (ECMA 262)",
        }
    }
}

/// The number that two digits are.
fn two(text: &[u8], at: usize) -> Option<u8> {
    match text.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some((tens - b'0') * 10 + (ones - b'0')),
        _ => None,
    }
}

/// RFC 3339 §5.6 full-date, with the days that the month has.
fn is_date(text: &[u8]) -> bool {
    let parts = (two(text, 0), two(text, 2), two(text, 5), two(text, 8));
    let (Some(century), Some(year), Some(month), Some(day)) = parts else {
        return false;
    };
    let year = u16::from(century) * 100 + u16::from(year);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return false,
    };
    text.len() == 10 && text.get(4) == Some(&b'-') && text.get(7) == Some(&b'-') && (1..=days).contains(&day)
}

/// RFC 3339 §5.6 full-time. A leap second is one only at the end of a day in UTC.
fn is_time(text: &[u8]) -> bool {
    let parts = (two(text, 0), two(text, 3), two(text, 6));
    let (Some(hour), Some(minute), Some(second)) = parts else {
        return false;
    };
    if text.get(2) != Some(&b':') || text.get(5) != Some(&b':') || hour > 23 || minute > 59 || second > 60 {
        return false;
    }
    let mut rest = text.get(8..).unwrap_or_default();
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = fraction.get(digits..).unwrap_or_default();
    }
    let Some(offset) = offset(rest) else {
        return false;
    };
    let in_utc = i32::from(hour) * 60 + i32::from(minute) - offset;
    second < 60 || in_utc.rem_euclid(24 * 60) == 23 * 60 + 59
}

/// Minutes east of UTC.
fn offset(text: &[u8]) -> Option<i32> {
    match text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (two(text, 1)?, two(text, 4)?);
            let east = i32::from(hours) * 60 + i32::from(minutes);
            (hours < 24 && minutes < 60).then_some(if *sign == b'+' { east } else { -east })
        }
        _ => None,
    }
}

fn is_date_time(text: &str) -> bool {
    let text = text.as_bytes();
    let (date, time) = (text.get(..10), text.get(11..));
    matches!(text.get(10), Some(b'T' | b't')) && date.is_some_and(is_date) && time.is_some_and(is_time)
}

/// RFC 3339, appendix A: weeks alone, or years, months and days in this order without a gap, then hours, minutes and seconds.
fn is_duration(text: &str) -> bool {
    let Some(text) = text.strip_prefix('P') else {
        return false;
    };
    let (date, time) = match text.split_once('T') {
        Some((date, time)) if !time.is_empty() => (date, time),
        Some(_) => return false,
        None => (text, ""),
    };
    if let Some(weeks) = text.strip_suffix('W') {
        return !weeks.is_empty() && weeks.bytes().all(|byte| byte.is_ascii_digit());
    }
    !text.is_empty() && are_units(date, "YMD") && are_units(time, "HMS")
}

fn are_units(text: &str, units: &str) -> bool {
    let mut last: Option<usize> = None;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest.get(digits..digits + 1).and_then(|unit| units.find(unit));
        let Some(unit) = unit.filter(|unit| digits > 0 && last.is_none_or(|last| last + 1 == *unit)) else {
            return false;
        };
        last = Some(unit);
        rest = rest.get(digits + 1..).unwrap_or_default();
    }
    true
}

fn is_email(text: &str) -> bool {
    let options = email_address::Options::default()
        .without_display_text()
        .with_domain_literal()
        .with_no_minimum_sub_domains();
    let domain = text.rsplit_once('@').map_or("", |(_, domain)| domain);
    email_address::EmailAddress::parse_with_options(text, options).is_ok() && is_mail_domain(domain)
}

/// RFC 5321 §4.1.2 and §4.1.3: a host name, or an address in brackets.
fn is_mail_domain(domain: &str) -> bool {
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match literal.map(|literal| literal.strip_prefix("IPv6:").ok_or(literal)) {
        None => idna::domain_to_ascii(domain).is_ok_and(|domain| is_hostname(&domain)),
        Some(Ok(address)) => address.parse::<Ipv6Addr>().is_ok(),
        Some(Err(address)) => address.parse::<Ipv4Addr>().is_ok(),
    }
}

/// RFC 1123 §2.1.
fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
            && (bytes.get(2..4) != Some(b"--") || is_punycode(label))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_punycode(label: &str) -> bool {
    let is_marked = label
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
    is_marked && idna::domain_to_unicode(label).1.is_ok()
}

/// RFC 5892, appendix A.3 to A.9, and the exceptions of §2.6: what the crate leaves to the caller.
fn are_in_context(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let at = |place: Option<usize>| place.and_then(|place| characters.get(place)).copied();
    let any = |of: fn(char) -> bool| characters.iter().any(|c| of(*c));
    characters.iter().enumerate().all(|(place, c)| {
        let (before, after) = (at(place.checked_sub(1)), at(place.checked_add(1)));
        match c {
            '\u{b7}' => before == Some('l') && after == Some('l'),
            '\u{375}' => after.is_some_and(|c| matches!(c, '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}')),
            '\u{5f3}' | '\u{5f4}' => before.is_some_and(|c| matches!(c, '\u{590}'..='\u{5ff}')),
            '\u{30fb}' => any(|c| c != '\u{30fb}' && is_japanese(c)),
            '\u{660}'..='\u{669}' => !any(|c| matches!(c, '\u{6f0}'..='\u{6f9}')),
            '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => false,
            _ => true,
        }
    })
}

fn is_japanese(c: char) -> bool {
    matches!(c, '\u{3005}' | '\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

fn is_uuid(text: &[u8]) -> bool {
    let is_right = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.iter().enumerate().all(is_right)
}

fn is_json_pointer(text: &str) -> bool {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (text.is_empty() || text.starts_with('/')) && escaped
}

fn is_relative_json_pointer(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let is_number = number == "0" || (digits > 0 && !number.starts_with('0'));
    is_number && (rest == "#" || is_json_pointer(rest))
}

/// RFC 6570 §2, its syntax.
fn is_uri_template(text: &str) -> bool {
    let mut rest = text;
    loop {
        let Some((literal, expression)) = rest.split_once('{') else {
            return is_literal(rest);
        };
        let Some((expression, after)) = expression.split_once('}') else {
            return false;
        };
        if !is_literal(literal) || !is_expression(expression) {
            return false;
        }
        rest = after;
    }
}

fn is_literal(text: &str) -> bool {
    let forbidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                ' ' | '"' | '\'' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'
            )
    };
    !text.contains(forbidden) && are_percents(text)
}

fn are_percents(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.get(..2)
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

fn is_expression(text: &str) -> bool {
    let variables = text
        .strip_prefix(['+', '#', '.', '/', ';', '?', '&'])
        .unwrap_or(text);
    variables.split(',').all(|variable| {
        let (name, is_right) = match variable.split_once(':') {
            Some((name, length)) => {
                let few = (1..=4).contains(&length.len());
                (
                    name,
                    few && !length.starts_with('0') && length.bytes().all(|byte| byte.is_ascii_digit()),
                )
            }
            None => (variable.strip_suffix('*').unwrap_or(variable), true),
        };
        let is_part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'%')
                && are_percents(part)
        };
        is_right && name.split('.').all(is_part)
    })
}
