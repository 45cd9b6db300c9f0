//! Heads and chunks, written. Names of fields are in title case: some clients of NGSI-LD compare `Location` to the letter.

use super::body::Framing;
use bytes::{BufMut as _, BytesMut};
use http::header::HeaderMap;
use http::{Method, StatusCode};

/// Writes the head of a request with the framing of its body; the fields have none.
pub fn request(out: &mut BytesMut, method: &Method, target: &str, fields: &HeaderMap, framing: Framing) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    self::fields(out, fields);
    match framing {
        // RFC 9110 §8.6: whoever may have a body says that there is none.
        Framing::Empty if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => length(out, 0),
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(of) => length(out, of),
        Framing::Chunked => chunked(out),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer with the framing of its body; the fields have none. `last`: no answer follows on this connection.
pub fn answer(out: &mut BytesMut, status: StatusCode, fields: &HeaderMap, framing: Framing, last: bool) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    self::fields(out, fields);
    match framing {
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(of) => length(out, of),
        Framing::Chunked => chunked(out),
    }
    if last {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// What is sent to who waits before sending a body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Writes a part of a body as its framing has it.
pub fn data(out: &mut BytesMut, framing: Framing, data: &[u8]) {
    if framing == Framing::Chunked {
        hexadecimal(out, data.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(data);
    }
}

/// Writes the end of a body as its framing has it.
pub fn end(out: &mut BytesMut, framing: Framing) {
    if framing == Framing::Chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

fn fields(out: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        let mut starts = true;
        out.reserve(name.as_str().len() + value.len() + 4);
        for byte in name.as_str().bytes() {
            out.put_u8(if starts { byte.to_ascii_uppercase() } else { byte });
            starts = byte == b'-';
        }
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn length(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    digits(out, length, 10);
    out.extend_from_slice(b"\r\n");
}

fn chunked(out: &mut BytesMut) {
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
}

fn hexadecimal(out: &mut BytesMut, number: usize) {
    digits(out, number as u64, 16);
}

fn digits(out: &mut BytesMut, mut number: u64, base: u64) {
    let from = out.len();
    loop {
        let digit = u8::try_from(number % base).unwrap_or_default();
        out.put_u8(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
        number /= base;
        if number == 0 {
            break;
        }
    }
    if let Some(written) = out.get_mut(from..) {
        written.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut fields = HeaderMap::new();
        fields.insert("ngsild-results-count", HeaderValue::from_static("7"));
        let mut out = BytesMut::new();
        answer(&mut out, StatusCode::OK, &fields, Framing::Chunked, true);
        data(&mut out, Framing::Chunked, &[b'a'; 26]);
        end(&mut out, Framing::Chunked);
        let expected = format!(
            "HTTP/1.1 200 OK\r\nNgsild-Results-Count: 7\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1a\r\n{}\r\n0\r\n\r\n",
            "a".repeat(26)
        );
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_write_without_a_body_says_so_and_a_read_says_nothing() {
        let mut out = BytesMut::new();
        request(&mut out, &Method::POST, "/a", &HeaderMap::new(), Framing::Empty);
        request(&mut out, &Method::GET, "/a", &HeaderMap::new(), Framing::Empty);
        request(
            &mut out,
            &Method::PUT,
            "/a",
            &HeaderMap::new(),
            Framing::Length(1020),
        );
        assert_eq!(
            String::from_utf8_lossy(&out),
            "POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /a HTTP/1.1\r\n\r\nPUT /a HTTP/1.1\r\nContent-Length: 1020\r\n\r\n"
        );
    }
}
