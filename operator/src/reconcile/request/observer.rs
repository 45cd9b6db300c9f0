//! How a test looks at requests and interferes with them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;

use super::Record;

/// Sees every request before it leaves and after its answer has begun. Production has none.
///
/// The calls are made from the request's own task and must not block.
pub trait Observer: Send + Sync {
    /// The request is numbered and about to be sent.
    fn before(&self, record: &Record) -> Verdict {
        let _ = record;
        Verdict::Continue
    }

    /// The head of the answer is here (`Some`), or there was none (`None`). The API server has done what it was asked.
    fn after(&self, record: &Record, status: Option<StatusCode>) -> Verdict {
        let _ = (record, status);
        Verdict::Continue
    }

    /// A piece of the body of a watch has come. Usually one event with its line end; a large event may come in pieces.
    fn chunk(&self, record: &Record, bytes: Bytes) -> Chunk {
        let _ = record;
        Chunk::Pass(bytes)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing special.
    Continue,
    /// It is answered with this status: instead of being sent (before), or instead of the true answer (after).
    Fail(StatusCode),
    /// The process is as good as dead from here on: this request is not sent (before) or its answer is lost (after),
    /// and every other request of this client, open ones and watches included, fails.
    Cut,
}

/// What becomes of a piece of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// The reader gets these bytes.
    Pass(Bytes),
    /// The reader never learns of it.
    Drop,
    /// The connection breaks here.
    Break,
}

/// On which side of a request the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before it is sent.
    Before,
    /// After the API server has done it, before the answer is read.
    After,
}

/// One line of a [`Journal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The request.
    pub record: Record,
    /// The status of its answer, once there is one.
    pub status: Option<StatusCode>,
}

/// An observer that writes everything down, and may let the process die at a request that changes something.
#[derive(Default)]
pub struct Journal {
    entries: Mutex<Vec<Entry>>,
    cut: Option<Cut>,
}

/// Where the process dies.
struct Cut {
    /// Which requests are counted.
    of: Box<dyn Fn(&Record) -> bool + Send + Sync>,
    nth: usize,
    side: Side,
}

impl Journal {
    /// Writes down, interferes with nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Dies at the n-th (from 1) request that needs the lease: a change that is no event and no renewal.
    #[must_use]
    pub fn cutting(nth: usize, side: Side) -> Self {
        Self::cutting_at(Record::needs_lease, nth, side)
    }

    /// Dies at the n-th (from 1) of these requests.
    #[must_use]
    pub fn cutting_at(of: impl Fn(&Record) -> bool + Send + Sync + 'static, nth: usize, side: Side) -> Self {
        Self {
            entries: Mutex::default(),
            cut: Some(Cut {
                of: Box::new(of),
                nth,
                side,
            }),
        }
    }

    /// Everything so far, by number.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = self.locked().clone();
        entries.sort_unstable_by_key(|entry| entry.record.number);
        entries
    }

    /// The changes so far, without events and the lease, by number.
    #[must_use]
    pub fn changes(&self) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.record.needs_lease());
        entries
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        self.locked().clear();
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to die here. The rank of the request counts, not how many there are: others may have been entered while it
    /// was open.
    fn verdict(&self, entries: &[Entry], record: &Record, side: Side) -> Verdict {
        let dies = self.cut.as_ref().is_some_and(|cut| {
            let mut counted = entries.iter().filter(|entry| (cut.of)(&entry.record));
            let last = counted.nth(cut.nth.saturating_sub(1));
            cut.side == side && last.is_some_and(|entry| entry.record.number == record.number)
        });
        if dies { Verdict::Cut } else { Verdict::Continue }
    }
}

impl Observer for Journal {
    fn before(&self, record: &Record) -> Verdict {
        let mut entries = self.locked();
        entries.push(Entry {
            record: record.clone(),
            status: None,
        });
        self.verdict(&entries, record, Side::Before)
    }

    fn after(&self, record: &Record, status: Option<StatusCode>) -> Verdict {
        let mut entries = self.locked();
        if let Some(entry) = entries
            .iter_mut()
            .find(|entry| entry.record.number == record.number)
        {
            entry.status = status;
        }
        self.verdict(&entries, record, Side::After)
    }
}
