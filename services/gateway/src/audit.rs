//! The audit trail: one line of JSON for each request, on stdout. It has no payload and no token.
//!
//! Requests append to one buffer, and a thread of its own writes it every few milliseconds: a request waits for no disk. When the reader of
//! stdout is so slow that the buffer is full, lines are lost, and counted.

use crate::identity::subject::Subject;
use crate::metrics::Metrics;
use crate::operation::Operation;
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is told of one request. It has what has become known until the request was refused.
#[derive(Debug, Default)]
pub struct Record {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The name of the request.
    pub request: Option<HeaderValue>,
    /// Who asked.
    pub subject: Option<Arc<Subject>>,
    /// In which tenant; absent: the default one.
    pub tenant: Option<String>,
    /// The method.
    pub method: Option<Method>,
    /// What was to be done.
    pub operation: Option<Operation>,
    /// Of which entities or other resources, as the path and the query name them.
    pub ids: Vec<String>,
    /// The rule that allowed it, where one did so whatever the entity is.
    pub rule: Option<String>,
    /// Why the gateway refused it; absent: it did not.
    pub refused: Option<&'static str>,
}

/// A line as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: Timestamp,
    request_id: Option<&'a str>,
    subject: Option<&'a str>,
    client: Option<&'a str>,
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    method: Option<&'a str>,
    operation: Option<Operation>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ids: &'a [String],
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    status: u16,
    latency_us: u64,
}

impl Record {
    /// The line, without its end.
    #[must_use]
    pub fn line(&self, time: Timestamp, status: StatusCode, took: Duration) -> Vec<u8> {
        let subject = self.subject.as_deref();
        let line = Line {
            time,
            request_id: self.request.as_ref().and_then(|id| id.to_str().ok()),
            subject: subject.map(|subject| {
                if subject.is_anonymous() {
                    "anonymous"
                } else {
                    &subject.id
                }
            }),
            client: subject.and_then(|subject| subject.client()),
            address: self.address,
            tenant: self.tenant.as_deref(),
            method: self.method.as_ref().map(Method::as_str),
            operation: self.operation,
            ids: &self.ids,
            decision: if self.refused.is_some() {
                "refused"
            } else {
                "allowed"
            },
            rule: self.rule.as_deref(),
            cause: self.refused,
            status: status.as_u16(),
            latency_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        // It has nothing that JSON cannot say.
        serde_json::to_vec(&line).unwrap_or_default()
    }
}

/// How much may wait to be written, in bytes: some 10,000 lines.
const MAX_WAITING: usize = 4 * 1024 * 1024;
/// How long a line waits at most for others, and how many bytes wait no longer.
const GATHER: Duration = Duration::from_millis(20);
const ENOUGH: usize = 64 * 1024;

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    has_ended: bool,
}

/// Where lines are put.
#[derive(Default)]
pub struct Audit {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

impl Audit {
    /// Appends a line, which has no line end; whether there was room for it.
    pub fn tell(&self, line: &[u8]) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.lines.len() + line.len() >= MAX_WAITING {
            return false;
        }
        let before = waiting.lines.len();
        waiting.lines.extend_from_slice(line);
        waiting.lines.push(b'\n');
        let is_news = before == 0 || (before < ENOUGH && waiting.lines.len() >= ENOUGH);
        drop(waiting);
        if is_news {
            self.news.notify_one();
        }
        true
    }

    /// Starts the thread that writes.
    pub fn write_to(
        self: &Arc<Self>,
        out: impl Write + Send + 'static,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<JoinHandle<()>> {
        let audit = Arc::clone(self);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || audit.write(out, &metrics))
    }

    /// What waits is written, and nothing more after it.
    pub fn end(&self) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .has_ended = true;
        self.news.notify_one();
    }

    fn write(&self, mut out: impl Write, metrics: &Metrics) {
        let mut lines = Vec::new();
        loop {
            lines.clear();
            let has_ended = self.take(&mut lines);
            if let Err(error) = out.write_all(&lines).and_then(|()| out.flush()) {
                let lost = lines.split(|byte| *byte == b'\n').count() - 1;
                metrics.audit_lost(lost as u64);
                tracing::error!(%error, lost, "lines of the audit trail could not be written");
            }
            if has_ended {
                return;
            }
        }
    }

    /// Waits for lines, and for others that come at the same time; whether they are the last.
    fn take(&self, lines: &mut Vec<u8>) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self
            .news
            .wait_while(waiting, |waiting| waiting.lines.is_empty() && !waiting.has_ended);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.news.wait_timeout_while(waiting, GATHER, |waiting| {
            waiting.lines.len() < ENOUGH && !waiting.has_ended
        });
        let mut waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut waiting.lines, lines);
        waiting.has_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place to write to that can be read afterwards.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_before_the_end_in_order() {
        let (audit, out) = (Arc::<Audit>::default(), Shared::default());
        let writing = audit.write_to(out.clone(), Arc::default()).unwrap();
        for number in 0..10_000 {
            assert!(audit.tell(format!("{number}").as_bytes()));
        }
        audit.end();
        writing.join().unwrap();
        let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert!(
            written
                .lines()
                .enumerate()
                .all(|(number, line)| line == number.to_string())
        );
        assert_eq!(written.lines().count(), 10_000);
    }

    #[test]
    fn a_full_buffer_says_so() {
        let audit = Audit::default();
        assert!(audit.tell(&vec![b'a'; MAX_WAITING - 2]));
        assert!(!audit.tell(b"more"));
    }
}
