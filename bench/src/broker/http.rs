//! One connection of HTTP/1.1 that is kept, without anything between it and the socket: what the load costs is little.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How much is read at once.
const BLOCK: usize = 64 * 1024;

/// A connection. One request at a time.
pub struct Connection {
    stream: TcpStream,
    /// What has arrived.
    buffer: Vec<u8>,
    /// Where in it the body is.
    body: std::ops::Range<usize>,
    block: Box<[u8]>,
}

/// How the end of a message is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So many bytes follow the head.
    Length(usize),
    /// Chunks follow it.
    Chunked,
}

/// A head that has arrived: how long it is, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    status: u16,
    framing: Framing,
}

impl Connection {
    /// Connects.
    pub fn open(at: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(at)?)
    }

    /// Over a connection that somebody else made.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            body: 0..0,
            block: vec![0; BLOCK].into_boxed_slice(),
        })
    }

    /// Sends a request and reads the answer to its end; its status.
    pub fn call(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request)?;
        let read = self.read()?;
        read.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads a message to its end; its status, 0 for a request. `None`: the other side has hung up.
    pub fn read(&mut self) -> io::Result<Option<u16>> {
        self.buffer.drain(..self.body.end);
        self.body = 0..0;
        let head = loop {
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
            if !self.more()? {
                return Ok(None);
            }
        };
        let end = loop {
            if let Some(end) = end(&self.buffer, head)? {
                break end;
            }
            if !self.more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        self.body = head.length..end;
        Ok(Some(head.status))
    }

    /// Answers a request without a body.
    pub fn answer(&mut self, head: &[u8]) -> io::Result<()> {
        self.stream.write_all(head)
    }

    /// The body of the last message, as it was on the wire.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.buffer.get(self.body.clone()).unwrap_or_default()
    }

    fn more(&mut self) -> io::Result<bool> {
        let read = self.stream.read(&mut self.block)?;
        self.buffer
            .extend_from_slice(self.block.get(..read).unwrap_or_default());
        Ok(read > 0)
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn find(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len()).position(|window| window == sought)
}

/// The head, when it has arrived whole.
fn head(buffer: &[u8]) -> io::Result<Option<Head>> {
    let Some(length) = find(buffer, b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let text = buffer
        .get(..length)
        .and_then(|head| std::str::from_utf8(head).ok());
    let mut lines = text.ok_or_else(|| bad("a head is no text"))?.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = match first.strip_prefix("HTTP/1.1 ") {
        Some(rest) => rest
            .get(..3)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| bad("a status is no number"))?,
        None => 0,
    };
    let mut framing = Framing::Length(0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse().map_err(|_| bad("a length is no number"))?;
            framing = Framing::Length(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        }
    }
    if status == 204 || status == 304 {
        framing = Framing::Length(0);
    }
    Ok(Some(Head {
        length,
        status,
        framing,
    }))
}

/// Where the message ends, when it has arrived whole.
fn end(buffer: &[u8], head: Head) -> io::Result<Option<usize>> {
    match head.framing {
        Framing::Length(length) => {
            let end = head.length + length;
            Ok((buffer.len() >= end).then_some(end))
        }
        Framing::Chunked => {
            let mut at = head.length;
            loop {
                let Some(rest) = buffer.get(at..) else {
                    return Ok(None);
                };
                let Some(line) = find(rest, b"\r\n") else {
                    return Ok(None);
                };
                let size = rest
                    .get(..line)
                    .and_then(|size| std::str::from_utf8(size).ok())
                    .and_then(|size| usize::from_str_radix(size.trim(), 16).ok())
                    .ok_or_else(|| bad("a chunk has no size"))?;
                at += line + 2 + size + 2;
                if size == 0 {
                    return Ok((buffer.len() >= at).then_some(at));
                }
            }
        }
    }
}

/// Writes a request with a body, or without one where it is empty.
pub fn write_request(out: &mut Vec<u8>, method: &str, path: &str, tenant: &str, body: &[u8]) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{method} {path} HTTP/1.1\r\nHost: broker\r\n");
    if !tenant.is_empty() {
        let _ = write!(out, "NGSILD-Tenant: {tenant}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(
            out,
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(message: &[u8]) -> Option<(u16, usize)> {
        let head = head(message).unwrap()?;
        Some((head.status, end(message, head).unwrap()?))
    }

    #[test]
    fn a_message_ends_where_its_head_says() {
        let message = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(whole(message), Some((200, message.len())));
        assert_eq!(whole(&message[..message.len() - 1]), None);
        assert_eq!(whole(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((204, 27)));
        assert_eq!(whole(b"POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n"), None);
    }

    #[test]
    fn chunks_end_with_an_empty_one() {
        let message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(whole(message), Some((200, message.len())));
        assert_eq!(whole(&message[..message.len() - 2]), None);
        assert!(head(b"HTTP/1.1 abc\r\n\r\n").is_err());
    }
}
