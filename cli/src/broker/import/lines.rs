//! A file of entities, line by line, from any place in it.

use crate::failure::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The longest line that is sent. What is longer no broker takes.
const LONGEST: usize = 32 * 1024 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// The entity's id; `None` where the line is no entity.
    pub id: Option<String>,
    /// Whether it has an @context of its own.
    pub has_context: bool,
    /// The line without its end; the beginning of one that is too long.
    pub text: String,
    /// What is wrong with it.
    pub wrong: Option<String>,
}

#[derive(Deserialize)]
struct Head<'t> {
    #[serde(alias = "@id")]
    id: String,
    #[serde(rename = "@context", borrow)]
    context: Option<&'t RawValue>,
}

/// The file.
pub struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    number: u64,
    /// A line that was read and belongs to the next batch, with its length.
    held: Option<(Line, u64)>,
}

impl Lines {
    /// Opens it at the beginning of a line.
    pub fn open(path: &Path, offset: u64, number: u64) -> Result<Self, Failure> {
        let mut file = File::open(path).map_err(Failure::of(path))?;
        file.seek(SeekFrom::Start(offset)).map_err(Failure::of(path))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            offset,
            number,
            held: None,
        })
    }

    /// Where the next line begins, and its number.
    #[must_use]
    pub fn place(&self) -> (u64, u64) {
        (self.offset, self.number)
    }

    /// The next line that is not empty, if `takes` wants it; else it stays the next one.
    pub fn next_if(&mut self, takes: impl FnOnce(&Line) -> bool) -> Result<Option<Line>, Failure> {
        let (line, length) = match self.held.take() {
            Some(held) => held,
            None => match self.read()? {
                Some(read) => read,
                None => return Ok(None),
            },
        };
        if takes(&line) {
            self.offset += length;
            self.number = line.number + 1;
            Ok(Some(line))
        } else {
            self.held = Some((line, length));
            Ok(None)
        }
    }

    /// A line, and how far the file is read with it.
    fn read(&mut self) -> Result<Option<(Line, u64)>, Failure> {
        let (mut length, mut number) = (0, self.number);
        loop {
            let mut bytes = Vec::new();
            let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
            let read = (&mut self.file).take(most).read_until(b'\n', &mut bytes);
            let mut read = number_of(read.map_err(Failure::of(&self.path))?);
            let is_long = bytes.len() > LONGEST && bytes.last() != Some(&b'\n');
            if is_long {
                read += self.skip()?;
            }
            if read == 0 {
                // Empty lines at the end are done with.
                self.offset += length;
                self.number = number;
                return Ok(None);
            }
            length += read;
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some((line(number, &bytes, is_long), length)));
            }
            number += 1;
        }
    }

    /// Reads on to the end of a line that is too long, and keeps nothing of it.
    fn skip(&mut self) -> Result<u64, Failure> {
        let mut skipped = 0;
        loop {
            let there = self.file.fill_buf().map_err(Failure::of(&self.path))?;
            let (used, ended) = match there.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (there.len(), there.is_empty()),
            };
            self.file.consume(used);
            skipped += number_of(used);
            if ended {
                return Ok(skipped);
            }
        }
    }
}

fn number_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn line(number: u64, bytes: &[u8], is_long: bool) -> Line {
    let wrong = |text: &[u8], why: String| Line {
        number,
        id: None,
        has_context: false,
        text: String::from_utf8_lossy(text).into_owned(),
        wrong: Some(why),
    };
    if is_long {
        let start = bytes.get(..200).unwrap_or_default();
        return wrong(start, format!("the line is longer than {LONGEST} bytes"));
    }
    let bytes = bytes.trim_ascii();
    let Ok(text) = std::str::from_utf8(bytes) else {
        return wrong(bytes, "the line is not UTF-8".to_owned());
    };
    match serde_json::from_str::<Head<'_>>(text) {
        Ok(head) => Line {
            number,
            id: Some(head.id),
            has_context: head.context.is_some(),
            text: text.to_owned(),
            wrong: None,
        },
        Err(error) => wrong(bytes, format!("the line is no entity with an id: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        file
    }

    #[test]
    fn lines_are_read_from_any_place_and_wrong_ones_say_what_is_wrong() {
        let text = b"{\"id\":\"urn:x:1\"}\n\n  {\"@id\":\"urn:x:2\",\"@context\":[]}\r\n[]\n\xff\n{\"id\":\"urn:x:3\"}";
        let file = file(text);
        let mut lines = Lines::open(file.path(), 0, 1).unwrap();
        let mut places = Vec::new();
        let mut all = Vec::new();
        while let Some(line) = lines.next_if(|_| true).unwrap() {
            all.push(line);
            places.push(lines.place());
        }
        let ids: Vec<_> = all.iter().map(|line| line.id.as_deref()).collect();
        assert_eq!(
            ids,
            [Some("urn:x:1"), Some("urn:x:2"), None, None, Some("urn:x:3")]
        );
        assert_eq!(
            all.iter().map(|line| line.number).collect::<Vec<_>>(),
            [1, 3, 4, 5, 6]
        );
        assert_eq!((all[0].has_context, all[1].has_context), (false, true));
        assert!(all[2].wrong.is_some() && all[3].wrong.is_some());
        for (index, (offset, number)) in places.into_iter().enumerate() {
            let mut again = Lines::open(file.path(), offset, number).unwrap();
            assert_eq!(again.next_if(|_| true).unwrap().as_ref(), all.get(index + 1));
        }
    }

    #[test]
    fn a_line_that_is_not_wanted_stays_the_next_one() {
        let file = file(b"{\"id\":\"urn:x:1\"}\n{\"id\":\"urn:x:2\"}\n");
        let mut lines = Lines::open(file.path(), 0, 1).unwrap();
        assert_eq!(lines.next_if(|_| false).unwrap(), None);
        assert_eq!(lines.place(), (0, 1));
        assert_eq!(lines.next_if(|_| true).unwrap().unwrap().number, 1);
        assert_eq!(lines.place(), (17, 2));
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept_and_the_one_after_it_is_read() {
        let mut text = vec![b'x'; LONGEST + 100_000];
        text.extend(b"\n{\"id\":\"urn:x:2\"}\n");
        let file = file(&text);
        let mut lines = Lines::open(file.path(), 0, 1).unwrap();
        let long = lines.next_if(|_| true).unwrap().unwrap();
        assert!(long.wrong.is_some() && long.text.len() == 200);
        let next = lines.next_if(|_| true).unwrap().unwrap();
        assert_eq!((next.number, next.id.as_deref()), (2, Some("urn:x:2")));
        assert_eq!(lines.place().0, u64::try_from(text.len()).unwrap());
    }
}
