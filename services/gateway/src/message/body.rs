//! Bodies: where one ends, and what of the bytes that arrived belongs to it.

use super::Malformed;
use bytes::{Buf as _, Bytes, BytesMut};

/// The longest line with a chunk's size, extensions included. Extensions mean nothing to us (RFC 9112 §7.1.1) and go no further.
const MAX_SIZE_LINE: usize = 256;
/// The longest trailer section, in bytes. Its fields go no further: nothing that was decided may be said again afterwards.
const MAX_TRAILER: usize = 8 * 1024;

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks, the last of them empty.
    Chunked,
    /// Whatever comes until the other side hangs up; answers alone.
    UntilClose,
}

/// Finds the parts of one body in what arrives.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    /// So many bytes are still to come.
    Fixed(u64),
    /// The line with a chunk's size is next.
    Size,
    /// So many bytes of this chunk are still to come, and its line end.
    Chunk(u64),
    /// The line end of a chunk is next.
    ChunkEnd,
    /// A line of the trailer section is next; so many bytes of it were read.
    Trailer(usize),
    UntilClose,
    End,
    /// It is no body. Whatever follows belongs to nothing that can be known.
    Broken(Malformed),
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes of the body, never empty.
    Data(Bytes),
    /// Nothing before more arrives.
    More,
    /// The body has ended; what is left belongs to the next message.
    End,
}

impl Decoder {
    /// At the start of a body.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Empty | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Fixed(length),
            Framing::Chunked => State::Size,
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// Whether all of the body was found.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.0, State::End)
    }

    /// Takes the next part from the front of what arrived. After an error there is no next part, however often it is asked for.
    pub fn next(&mut self, arrived: &mut BytesMut) -> Result<Part, Malformed> {
        let found = self.find(arrived);
        if let Err(malformed) = found {
            self.0 = State::Broken(malformed);
        }
        found
    }

    fn find(&mut self, arrived: &mut BytesMut) -> Result<Part, Malformed> {
        loop {
            match self.0 {
                State::Broken(malformed) => return Err(malformed),
                State::End => return Ok(Part::End),
                _ if arrived.is_empty() => return Ok(Part::More),
                State::UntilClose => return Ok(Part::Data(arrived.split().freeze())),
                State::Fixed(left) => {
                    let (data, left) = cut(arrived, left);
                    self.0 = if left == 0 { State::End } else { State::Fixed(left) };
                    return Ok(Part::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = cut(arrived, left);
                    self.0 = if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::Chunk(left)
                    };
                    return Ok(Part::Data(data));
                }
                State::Size => {
                    let Some(line) = line(arrived, MAX_SIZE_LINE, Malformed::Chunk)? else {
                        return Ok(Part::More);
                    };
                    self.0 = match size(&line)? {
                        0 => State::Trailer(0),
                        size => State::Chunk(size),
                    };
                }
                State::ChunkEnd => match line(arrived, 0, Malformed::Chunk)? {
                    Some(_) => self.0 = State::Size,
                    None => return Ok(Part::More),
                },
                State::Trailer(read) => {
                    let Some(line) = line(arrived, MAX_TRAILER - read, Malformed::Trailer)? else {
                        return Ok(Part::More);
                    };
                    self.0 = if line.is_empty() {
                        State::End
                    } else {
                        trailer_field(&line)?;
                        State::Trailer(MAX_TRAILER.min(read + line.len() + 2))
                    };
                }
            }
        }
    }

    /// The other side hung up: the end where nothing else says it.
    pub fn hung_up(&mut self) -> Result<(), Malformed> {
        match self.0 {
            State::UntilClose | State::End => {
                self.0 = State::End;
                Ok(())
            }
            _ => Err(Malformed::Cut),
        }
    }
}

/// At most so many bytes from the front, and how many are still missing then.
fn cut(arrived: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let take = usize::try_from(left).map_or(arrived.len(), |left| left.min(arrived.len()));
    (arrived.split_to(take).freeze(), left - take as u64)
}

/// The next line without its end, which is CR LF. One that is longer than it may be is the error.
fn line(arrived: &mut BytesMut, most: usize, error: Malformed) -> Result<Option<Bytes>, Malformed> {
    let Some(at) = arrived.iter().take(most + 2).position(|byte| *byte == b'\n') else {
        // One byte of the end may have come already.
        let is_hopeless = arrived.len() >= most + 2 || (most == 0 && arrived.first() != Some(&b'\r'));
        return if is_hopeless { Err(error) } else { Ok(None) };
    };
    let mut line = arrived.split_to(at).freeze();
    arrived.advance(1);
    if line.last() != Some(&b'\r') {
        return Err(error);
    }
    line.truncate(line.len() - 1);
    if line.contains(&b'\r') || line.contains(&0) {
        return Err(error);
    }
    Ok(Some(line))
}

/// Hexadecimal digits, and perhaps extensions after a semicolon; no white space between, which readers take differently.
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed::Chunk);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Malformed::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed::Chunk)
}

fn trailer_field(line: &[u8]) -> Result<(), Malformed> {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_field = name.len() < line.len() && http::HeaderName::from_bytes(name).is_ok();
    if is_field { Ok(()) } else { Err(Malformed::Trailer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, and what is left behind it; all at once, or byte by byte.
    fn decode(framing: Framing, text: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let (mut decoder, mut arrived, mut body) = (Decoder::new(framing), BytesMut::new(), Vec::new());
        for piece in text.chunks(step) {
            arrived.extend_from_slice(piece);
            while let Part::Data(data) = decoder.next(&mut arrived)? {
                body.extend_from_slice(&data);
            }
        }
        if !decoder.is_done() {
            decoder.hung_up()?;
        }
        Ok((body, arrived.to_vec()))
    }

    fn both(framing: Framing, text: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Malformed> {
        let whole = decode(framing, text, text.len().max(1));
        assert_eq!(
            whole,
            decode(framing, text, 1),
            "{:?}",
            String::from_utf8_lossy(text)
        );
        whole
    }

    #[test]
    fn a_body_ends_where_its_framing_says_and_what_follows_is_left() {
        assert_eq!(both(Framing::Empty, b"GET"), Ok((vec![], b"GET".to_vec())));
        assert_eq!(
            both(Framing::Length(3), b"abcGET"),
            Ok((b"abc".to_vec(), b"GET".to_vec()))
        );
        assert_eq!(both(Framing::UntilClose, b"abc"), Ok((b"abc".to_vec(), vec![])));
        let chunks = b"3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET";
        assert_eq!(
            both(Framing::Chunked, chunks),
            Ok((b"abc0123456789".to_vec(), b"GET".to_vec()))
        );
    }

    #[test]
    fn bad_chunks_are_refused() {
        for bad in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"-1\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc\r\n0\r\n\r\n",
            b";x\r\nabc\r\n0\r\n\r\n",
            b"3;a\rb\r\nabc\r\n0\r\n\r\n",
            b"1000000000000003\r\nabc\r\n0\r\n\r\n",
            b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
        ] {
            assert_eq!(
                both(Framing::Chunked, bad),
                Err(Malformed::Chunk),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn what_follows_a_bad_chunk_is_never_read_as_a_good_one() {
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut arrived = BytesMut::from(&b"x\r\n3\r\nabc\r\n0\r\n\r\n"[..]);
        for _ in 0..10 {
            assert_eq!(decoder.next(&mut arrived), Err(Malformed::Chunk));
        }
        assert!(!decoder.is_done() && decoder.hung_up().is_err());
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(MAX_SIZE_LINE));
        assert_eq!(both(Framing::Chunked, long.as_bytes()), Err(Malformed::Chunk));
        let long = format!("0\r\n{}\r\n", "A: b\r\n".repeat(MAX_TRAILER));
        assert_eq!(both(Framing::Chunked, long.as_bytes()), Err(Malformed::Trailer));
        assert_eq!(
            both(Framing::Chunked, b"0\r\nA b\r\n\r\n"),
            Err(Malformed::Trailer)
        );
    }

    #[test]
    fn a_body_that_is_cut_is_no_body() {
        assert_eq!(both(Framing::Length(4), b"abc"), Err(Malformed::Cut));
        assert_eq!(both(Framing::Chunked, b"3\r\nabc\r\n"), Err(Malformed::Cut));
        assert_eq!(both(Framing::Chunked, b"3\r\nabc\r\n0\r\n"), Err(Malformed::Cut));
    }

    proptest::proptest! {
        /// Texts of the characters that chunks are made of: however they arrive, they are read in one way.
        #[test]
        fn chunks_are_read_in_one_way_however_they_arrive(text in "[0-3aA;x:\r\n ]{0,40}", step in 1_usize..8) {
            let whole = decode(Framing::Chunked, text.as_bytes(), text.len().max(1));
            proptest::prop_assert_eq!(whole, decode(Framing::Chunked, text.as_bytes(), step));
        }
    }
}
