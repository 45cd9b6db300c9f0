//! One broker, asked one thing at a time over one connection: again and again while it is away or busy, until patience
//! ends.
//!
//! * [`target`]: where it is, and who asks;
//! * [`connection`]: one connection, and one answer of bounded size.

pub mod connection;
pub mod target;

use crate::broker::client::connection::{Connection, Trouble};
use crate::broker::client::target::Target;
use crate::broker::progress::Progress;
use crate::failure::Failure;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The first pause before a thing is asked again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often something that the broker itself fails at is asked again.
const FAILING: u32 = 3;
/// The most characters of the broker's words that are repeated.
const WORDS: usize = 300;

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// Path and query behind `/ngsi-ld/v1`.
    pub path: String,
    /// Headers beside those of every request.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty: none.
    pub body: Bytes,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; `None` where it is larger than what is taken.
    pub body: Option<Bytes>,
}

impl Answer {
    /// The body, empty where it was too large.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// The last part of the type of an NGSI-LD error.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(self.text()).ok()?;
        let of = body.get("type")?.as_str()?;
        of.rsplit('/').next().map(str::to_owned)
    }

    /// What the broker says, short and without what a terminal would obey.
    #[must_use]
    pub fn words(&self) -> String {
        let body: Option<Value> = serde_json::from_slice(self.text()).ok();
        let part = |name: &str| body.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let said = match (part("title"), part("detail")) {
            (Some(title), Some(detail)) => format!("{title}: {detail}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => String::from_utf8_lossy(self.text()).into_owned(),
        };
        let plain: String = said.chars().filter(|c| !c.is_control()).take(WORDS).collect();
        format!(
            "{}{}{plain}",
            self.status,
            if plain.is_empty() { "" } else { ", " }
        )
    }
}

/// The client.
pub struct Client {
    target: Target,
    connection: Option<Connection>,
    patience: Duration,
    timeout: Duration,
}

impl Client {
    /// For a broker.
    #[must_use]
    pub fn of(target: Target, patience: Duration, timeout: Duration) -> Self {
        Self {
            target,
            connection: None,
            patience,
            timeout,
        }
    }

    /// The broker.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How long it asks.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Asks until there is an answer that asking again would not change.
    pub async fn ask(&mut self, ask: &Ask, progress: &mut Progress) -> Result<Answer, Failure> {
        let began = Instant::now();
        let (mut pause, mut failed, mut told) = (FIRST_PAUSE, 0, String::new());
        loop {
            let (why, at_least) = match self.once(ask).await {
                Ok(answer) if answer.status == StatusCode::INTERNAL_SERVER_ERROR && failed < FAILING => {
                    failed += 1;
                    (answer.words(), None)
                }
                Ok(answer) if is_busy(&answer) => (answer.words(), retry_after(&answer.headers)),
                Ok(answer) => return Ok(answer),
                Err(Trouble::Passing(why)) => (why, None),
                Err(Trouble::Lasting(failure)) => return Err(failure),
            };
            if began.elapsed() >= self.patience {
                let seconds = began.elapsed().as_secs();
                return Err(Failure::Unreachable { why, seconds });
            }
            if why != told {
                progress.note(&format!(
                    "the broker cannot be used at the moment: {why}; trying again"
                ));
                told = why;
            }
            // Not all at the same moment, where several wait for the same broker.
            let spread = pause.mul_f64(rand::random_range(0.5..1.0));
            let left = self.patience.saturating_sub(began.elapsed());
            tokio::time::sleep(spread.max(at_least.unwrap_or_default()).min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        let connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => Connection::open(&self.target).await?,
        };
        let request = self.target.request(ask)?;
        let asked = tokio::time::timeout(self.timeout, connection.send(request));
        let (answer, connection) = asked
            .await
            .map_err(|_| Trouble::Passing(format!("no answer within {} s", self.timeout.as_secs())))??;
        self.connection = connection;
        Ok(answer)
    }
}

/// The error type of an @context that cannot be had (clause 5.5.3).
pub const CONTEXT_NOT_AVAILABLE: &str = "LdContextNotAvailable";

/// Whether what has this status may be answered otherwise later.
#[must_use]
pub fn passes(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// Whether it is worth to ask again. An @context that cannot be fetched has a 503 or 504 as well; who asks decides.
fn is_busy(answer: &Answer) -> bool {
    passes(answer.status.as_u16()) && answer.error().as_deref() != Some(CONTEXT_NOT_AVAILABLE)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Some(Bytes::copy_from_slice(body.as_bytes())),
        }
    }

    #[test]
    fn what_passes_is_asked_again_and_a_context_that_cannot_be_had_is_not() {
        for status in [429, 502, 503, 504] {
            assert!(is_busy(&answer(status, "")));
        }
        let context = r#"{"type":"https://uri.etsi.org/ngsi-ld/errors/LdContextNotAvailable"}"#;
        for (status, body) in [(503, context), (504, context), (400, ""), (500, ""), (207, "")] {
            assert!(!is_busy(&answer(status, body)), "{status} {body}");
        }
    }

    #[test]
    fn words_of_the_broker_are_short_and_move_no_cursor() {
        let long = "x".repeat(1000);
        assert!(answer(400, &long).words().len() < 400);
        let words = answer(400, "{\"title\":\"a\\u001b[2Jb\",\"detail\":\"c\\nd\"}").words();
        assert_eq!(words, "400 Bad Request, a[2Jb: cd");
    }

    #[test]
    fn retry_after_is_seconds_and_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        for (text, expected) in [("2", Some(2)), ("99999999", Some(30)), ("soon", None)] {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{text}");
        }
    }
}
