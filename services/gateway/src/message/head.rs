//! Heads, read strictly.

use super::Malformed;
use super::body::Framing;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, StatusCode};

/// The longest head, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most fields of a head.
pub const MAX_FIELDS: usize = 100;

/// The head of a request. `Content-Length` and `Transfer-Encoding` are in `framing` and no more in `fields`.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// What stands between method and version.
    pub target: Bytes,
    /// The fields in their order; values are parts of the bytes that were read.
    pub fields: HeaderMap,
    /// How the body is found.
    pub framing: Framing,
    /// Whether another request may follow.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// The head of an answer. `Content-Length` and `Transfer-Encoding` are in `framing` and no more in `fields`, but for the length of an
/// answer to HEAD.
#[derive(Debug)]
pub struct AnswerHead {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub fields: HeaderMap,
    /// How the body is found.
    pub framing: Framing,
    /// Whether the connection may be used again.
    pub keep_alive: bool,
}

/// Where the head ends in what has arrived, if it has arrived whole. `seen` is how much was looked at before.
pub fn end(arrived: &[u8], seen: usize) -> Result<Option<usize>, Malformed> {
    let from = seen.saturating_sub(3);
    let found = arrived
        .get(from..)
        .and_then(|rest| rest.windows(4).position(|four| four == b"\r\n\r\n"));
    match found.map(|at| from + at + 4) {
        Some(end) if end <= MAX_HEAD => Ok(Some(end)),
        None if arrived.len() <= MAX_HEAD => {
            // One who ends lines with LF alone would wait for an answer for ever.
            only_whole_line_ends(arrived)?;
            Ok(None)
        }
        _ => Err(Malformed::HeadTooLong),
    }
}

/// Every LF follows a CR, and every CR but the last byte is followed by an LF.
fn only_whole_line_ends(text: &[u8]) -> Result<(), Malformed> {
    let mut before = 0;
    for byte in text {
        if (*byte == b'\n') != (before == b'\r') {
            return Err(Malformed::LineEnd);
        }
        before = *byte;
    }
    Ok(())
}

/// Reads a whole head as [`end`] has found it.
pub fn request(head: &Bytes) -> Result<RequestHead, Malformed> {
    only_whole_line_ends(head)?;
    let mut space = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut space);
    match parsed.parse(head).map_err(malformed)? {
        httparse::Status::Complete(length) if length == head.len() => {}
        _ => return Err(Malformed::FirstLine),
    }
    if parsed.version != Some(1) {
        return Err(Malformed::Version);
    }
    let method = parsed.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::FirstLine)?;
    let target = head.slice_ref(parsed.path.unwrap_or_default().as_bytes());
    let mut fields = fields(head, parsed.headers)?;
    let framing = match framing(&mut fields)? {
        // RFC 9112 §6.3: a request without either has no body.
        None => Framing::Empty,
        Some(framing) => framing,
    };
    let expects_continue = expects_continue(&mut fields);
    Ok(RequestHead {
        method,
        target,
        framing,
        keep_alive: !closes(&fields),
        expects_continue,
        fields,
    })
}

/// Reads a whole head as [`end`] has found it; `asked` is the method of the request, as HEAD is answered without a body.
pub fn answer(head: &Bytes, asked: &Method) -> Result<AnswerHead, Malformed> {
    only_whole_line_ends(head)?;
    let mut space = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut space);
    match parsed.parse(head).map_err(malformed)? {
        httparse::Status::Complete(length) if length == head.len() => {}
        _ => return Err(Malformed::FirstLine),
    }
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(|_| Malformed::FirstLine)?;
    let is_newest = match parsed.version {
        Some(1) => true,
        Some(0) => false,
        _ => return Err(Malformed::Version),
    };
    let mut fields = fields(head, parsed.headers)?;
    let told = framing(&mut fields)?;
    let without = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || asked == Method::HEAD;
    if let (true, Some(Framing::Length(of))) = (asked == Method::HEAD, told) {
        // It speaks of the answer to GET.
        fields.insert(CONTENT_LENGTH, of.into());
    }
    let framing = match told {
        _ if without => Framing::Empty,
        Some(framing) => framing,
        None => Framing::UntilClose,
    };
    Ok(AnswerHead {
        status,
        framing,
        keep_alive: is_newest && framing != Framing::UntilClose && !closes(&fields),
        fields,
    })
}

fn malformed(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => Malformed::TooManyFields,
        httparse::Error::Version => Malformed::Version,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Malformed::Field,
        httparse::Error::NewLine => Malformed::LineEnd,
        httparse::Error::Status | httparse::Error::Token => Malformed::FirstLine,
    }
}

fn fields(head: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    let mut fields = HeaderMap::with_capacity(parsed.len() + 8);
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed::Field)?;
        let value = head.slice_ref(field.value.trim_ascii());
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed::Field)?;
        fields.append(name, value);
    }
    Ok(fields)
}

/// How the body is found, taken out of the fields; `None`: neither field is there.
fn framing(fields: &mut HeaderMap) -> Result<Option<Framing>, Malformed> {
    let length = only(fields, &CONTENT_LENGTH).map_err(|()| Malformed::Length)?;
    let coding = only(fields, &TRANSFER_ENCODING).map_err(|()| Malformed::Coding)?;
    match (length, coding) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Malformed::TwoFramings),
        (Some(length), None) => self::length(length.as_bytes()).map(|length| Some(Framing::Length(length))),
        (None, Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(Framing::Chunked))
        }
        (None, Some(_)) => Err(Malformed::Coding),
    }
}

/// Takes out the one value; two are an error, whatever they say.
fn only(fields: &mut HeaderMap, name: &HeaderName) -> Result<Option<HeaderValue>, ()> {
    match fields.entry(name) {
        http::header::Entry::Vacant(_) => Ok(None),
        http::header::Entry::Occupied(entry) => {
            let mut values = entry.remove_entry_mult().1;
            match (values.next(), values.next()) {
                (value, None) => Ok(value),
                _ => Err(()),
            }
        }
    }
}

/// Digits alone: no sign, no space, no list, and not so many that a reader's number overflows.
fn length(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Length);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Malformed::Length)?;
    text.parse().map_err(|_| Malformed::Length)
}

fn closes(fields: &HeaderMap) -> bool {
    fields
        .get_all(CONNECTION)
        .iter()
        .any(|value| items(value.as_bytes()).any(|item| item.eq_ignore_ascii_case(b"close")))
}

fn expects_continue(fields: &mut HeaderMap) -> bool {
    let expected = fields.remove(EXPECT);
    expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The items of a list with commas, without white space around them.
pub fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RequestHead, Malformed> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        assert_eq!(end(&bytes, 0)?, Some(bytes.len()), "{text:?}");
        request(&bytes)
    }

    fn refused(fields: &str) -> Malformed {
        read(&format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap_err()
    }

    #[test]
    fn a_head_is_read_and_its_framing_is_no_field_any_more() {
        let head = read("POST /a?b=c HTTP/1.1\r\nhost: x\r\nA:  b \r\nContent-Length: 12\r\n\r\n").unwrap();
        assert_eq!((head.method, &*head.target), (Method::POST, &b"/a?b=c"[..]));
        assert_eq!(head.framing, Framing::Length(12));
        assert_eq!(
            (head.fields.len(), &head.fields["a"]),
            (2, &HeaderValue::from_static("b"))
        );
        assert!(head.keep_alive && !head.expects_continue);
    }

    #[test]
    fn a_length_and_a_coding_together_are_refused_in_either_order() {
        let both = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
        assert_eq!(refused(both), Malformed::TwoFramings);
        assert_eq!(
            refused("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            Malformed::TwoFramings
        );
    }

    #[test]
    fn two_lengths_are_refused_also_where_they_are_the_same() {
        assert_eq!(
            refused("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Malformed::Length
        );
        assert_eq!(refused("Content-Length: 5, 5\r\n"), Malformed::Length);
    }

    #[test]
    fn a_length_is_digits_alone() {
        for bad in [
            "",
            "+5",
            "-1",
            "0x5",
            "5 5",
            "5.0",
            "1_0",
            "9999999999999999999999",
            "\u{b9}",
        ] {
            assert_eq!(
                refused(&format!("Content-Length: {bad}\r\n")),
                Malformed::Length,
                "{bad}"
            );
        }
    }

    #[test]
    fn of_transfer_codings_only_chunked_once_is_known() {
        for bad in [
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: \u{b}chunked",
        ] {
            let why = refused(&format!("{bad}\r\n"));
            assert!(
                matches!(why, Malformed::Coding | Malformed::Field),
                "{bad}: {why}"
            );
        }
    }

    #[test]
    fn folded_lines_and_space_before_a_colon_are_refused() {
        for bad in [
            "A: b\r\n c\r\n",
            "A: b\r\n\tc\r\n",
            "A : b\r\n",
            " A: b\r\n",
            ": b\r\n",
            "A\r\n",
            "A: \0\r\n",
        ] {
            assert_eq!(refused(bad), Malformed::Field, "{bad:?}");
        }
    }

    #[test]
    fn a_line_ends_with_both_bytes() {
        for bad in ["A: b\nC: d\r\n", "A: b\rC: d\r\n", "A: b\r\r\n"] {
            assert_eq!(refused(bad), Malformed::LineEnd, "{bad:?}");
        }
        assert_eq!(end(b"GET / HTTP/1.1\nHost: a\n\n", 0), Err(Malformed::LineEnd));
    }

    #[test]
    fn no_other_version_and_no_other_first_line_is_read() {
        for (bad, why) in [
            ("GET / HTTP/1.0", Malformed::Version),
            ("GET / HTTP/2.0", Malformed::Version),
            ("GET / HTTP/1.2", Malformed::Version),
            ("GET /", Malformed::FirstLine),
            ("GET / a HTTP/1.1", Malformed::Version),
            ("G{T / HTTP/1.1", Malformed::FirstLine),
            ("GET  / HTTP/1.1", Malformed::FirstLine),
        ] {
            let found = read(&format!("{bad}\r\nHost: a\r\n\r\n")).unwrap_err();
            assert_eq!(found.status().is_success(), why.status().is_success(), "{bad}");
            assert!(
                matches!(found, Malformed::Version | Malformed::FirstLine),
                "{bad}: {found}"
            );
        }
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_in_fields() {
        assert_eq!(end(&vec![b'a'; MAX_HEAD + 1], 0), Err(Malformed::HeadTooLong));
        let many = "A: b\r\n".repeat(MAX_FIELDS);
        assert_eq!(refused(&many), Malformed::TooManyFields);
    }

    #[test]
    fn an_end_that_arrives_in_pieces_is_found() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 1..27 {
            assert_eq!(end(&text[..cut], cut - 1), Ok(None), "{cut}");
        }
        assert_eq!(end(text, 26), Ok(Some(27)));
    }

    #[test]
    fn answers_without_a_body_have_none_whatever_they_say() {
        let read =
            |text: &str, asked: &Method| answer(&Bytes::copy_from_slice(text.as_bytes()), asked).unwrap();
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(text, &Method::GET).framing, Framing::Length(5));
        assert_eq!(read(text, &Method::HEAD).framing, Framing::Empty);
        let none = read("HTTP/1.1 204 No Content\r\n\r\n", &Method::GET);
        assert!(none.framing == Framing::Empty && none.keep_alive);
        let until_close = read("HTTP/1.1 200 OK\r\n\r\n", &Method::GET);
        assert!(until_close.framing == Framing::UntilClose && !until_close.keep_alive);
    }

    proptest::proptest! {
        /// What is let in is written again as it was read: nothing hides between two readers.
        #[test]
        fn a_head_that_is_read_has_whole_lines_and_one_framing(lines in "([A-Ca-c:]{1,3}[: ]{0,2}[ -~\t\r\n]{0,6}(\r\n|\n|\r)){0,4}") {
            let text = format!("GET /a HTTP/1.1\r\n{lines}\r\n");
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let Ok(Some(length)) = end(&bytes, 0) else {
                return Ok(());
            };
            let Ok(head) = request(&bytes.slice(..length)) else {
                return Ok(());
            };
            for (name, value) in &head.fields {
                let line = [name.as_str().as_bytes(), b":"].concat();
                let text = text.to_ascii_lowercase();
                proptest::prop_assert!(text.as_bytes().windows(line.len()).any(|part| part == line.as_slice()));
                proptest::prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
            let count = text.get(..length).unwrap_or_default().matches('\n').count();
            proptest::prop_assert_eq!(head.fields.len() + 2, count, "each line is one field");
        }
    }
}
