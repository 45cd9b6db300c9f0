//! Lines that are sent together: so many at most, all with an @context of their own or none, no id twice.

use crate::broker::import::lines::{Line, Lines};
use crate::broker::import::rejects::Rejected;
use crate::failure::Failure;
use bytes::Bytes;
use std::collections::HashSet;

/// The most bytes of a batch with more than one line.
const BYTES: usize = 2 * 1024 * 1024;

/// The lines.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    lines: Vec<Line>,
}

impl Batch {
    /// The next lines of a file, and those among them that cannot be sent.
    pub fn next(lines: &mut Lines, most: usize) -> Result<(Self, Vec<Rejected>), Failure> {
        let mut batch = Self::default();
        let mut unreadable = Vec::new();
        let mut ids = HashSet::new();
        let mut bytes = 0;
        while batch.len() + unreadable.len() < most {
            let first = batch.lines.first().map(|line| line.has_context);
            let line = lines.next_if(|line| {
                line.wrong.is_some()
                    || first.is_none()
                    || (first == Some(line.has_context)
                        && bytes + line.text.len() <= BYTES
                        && line.id.as_ref().is_some_and(|id| !ids.contains(id)))
            })?;
            match line {
                None => break,
                Some(line) if line.wrong.is_some() => unreadable.push(Rejected::unread(line)),
                Some(line) => {
                    bytes += line.text.len();
                    ids.extend(line.id.clone());
                    batch.lines.push(line);
                }
            }
        }
        Ok((batch, unreadable))
    }

    /// How many lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines.
    #[must_use]
    pub fn into_lines(self) -> Vec<Line> {
        self.lines
    }

    /// The media type of the body.
    #[must_use]
    pub fn media(&self) -> &'static str {
        if self.lines.first().is_some_and(|line| line.has_context) {
            "application/ld+json"
        } else {
            "application/json"
        }
    }

    /// The body of a request.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let texts: Vec<&str> = self.lines.iter().map(|line| line.text.as_str()).collect();
        Bytes::from(format!("[{}]", texts.join(",")))
    }

    /// Two batches, half of it each.
    #[must_use]
    pub fn halves(mut self) -> (Self, Self) {
        let second = self.lines.split_off(self.lines.len() / 2);
        (self, Self { lines: second })
    }

    /// Takes the lines with these ids out of it; `None` where one of them is not there.
    #[must_use]
    pub fn part(&self, ids: &HashSet<String>) -> Option<Self> {
        let of = self
            .lines
            .iter()
            .filter(|line| line.id.as_ref().is_some_and(|id| ids.contains(id)));
        let lines: Vec<Line> = of.cloned().collect();
        (lines.len() == ids.len()).then_some(Self { lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn batches(text: &str, most: usize) -> Vec<(Vec<u64>, usize, &'static str)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut lines = Lines::open(file.path(), 0, 1).unwrap();
        let mut all = Vec::new();
        loop {
            let (batch, unreadable) = Batch::next(&mut lines, most).unwrap();
            if batch.is_empty() && unreadable.is_empty() {
                return all;
            }
            let media = batch.media();
            let numbers = batch.into_lines().iter().map(|line| line.number).collect();
            all.push((numbers, unreadable.len(), media));
        }
    }

    #[test]
    fn a_batch_ends_where_contexts_begin_or_an_id_comes_again() {
        let text = "{\"id\":\"urn:x:1\"}\n{\"id\":\"urn:x:2\"}\n{\"id\":\"urn:x:1\"}\nno\n{\"id\":\"urn:x:3\",\"@context\":[]}\n{\"id\":\"urn:x:4\"}\n";
        assert_eq!(
            batches(text, 10),
            [
                (vec![1, 2], 0, "application/json"),
                (vec![3], 1, "application/json"),
                (vec![5], 0, "application/ld+json"),
                (vec![6], 0, "application/json"),
            ]
        );
        assert_eq!(batches(text, 1).len(), 6);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_a_large_entity_goes_alone() {
        let of = |n: u32| format!("{{\"id\":\"urn:x:{n}\",\"t\":\"{}\"}}\n", "x".repeat(BYTES / 2));
        let text: String = (0..3).map(of).collect();
        let large = format!("{{\"id\":\"urn:x:9\",\"t\":\"{}\"}}\n", "x".repeat(2 * BYTES));
        let numbers: Vec<_> = batches(&(text + &large), 10)
            .into_iter()
            .map(|(n, ..)| n)
            .collect();
        assert_eq!(numbers, [vec![1], vec![2], vec![3], vec![4]]);
    }
}
