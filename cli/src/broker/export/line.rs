//! Entities as lines: the bytes that the broker sent, without what would break a line. Numbers and texts stay as they are.

use crate::failure::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A page of entities.
#[derive(Debug)]
pub struct Page {
    ids: Vec<String>,
    lines: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(alias = "@id")]
    id: String,
}

impl Page {
    /// Reads the body of an answer.
    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        let wrong = |error: serde_json::Error| {
            Failure::Refused(format!(
                "the broker's answer is not an array of entities: {error}"
            ))
        };
        let all: Vec<&RawValue> = serde_json::from_slice(body).map_err(wrong)?;
        let ids = all
            .iter()
            .map(|raw| Ok(serde_json::from_str::<Head>(raw.get())?.id));
        let ids = ids.collect::<Result<_, _>>().map_err(wrong)?;
        let lines = all.iter().map(|raw| line(raw.get())).collect();
        Ok(Self { ids, lines })
    }

    /// The ids, in the order of the broker.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// An entity as a line, with its end.
    #[must_use]
    pub fn line(&self, index: usize) -> &[u8] {
        self.lines.get(index).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The document without blanks outside of texts. Inside of texts JSON has no line breaks.
fn line(json: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(json.len() + 1);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            in_text = byte == b'"';
        }
        line.push(byte);
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_bytes_of_the_broker_without_blanks_between_them() {
        let body = "[ {\"id\": \"urn:x:1\",\n \"n\" : 5.0, \"t\": \"a \\\" b\\\\\", \"u\":1e100000 },{\"@id\":\"urn:x:2\"}]";
        let page = Page::read(body.as_bytes()).unwrap();
        assert_eq!(page.ids(), ["urn:x:1", "urn:x:2"]);
        assert_eq!(
            page.line(0),
            b"{\"id\":\"urn:x:1\",\"n\":5.0,\"t\":\"a \\\" b\\\\\",\"u\":1e100000}\n"
        );
        for bad in ["{}", "[1]", "[{\"id\":1}]", "[{}]", ""] {
            assert_eq!(Page::read(bad.as_bytes()).unwrap_err().code(), 4, "{bad}");
        }
    }
}
