//! An observer that interferes: with watches, and with requests.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::StatusCode;
use mim_operator::reconcile::request::{Chunk, Journal, Observer, Record, Verdict};

type OnChunk = Box<dyn FnMut(&Record, Bytes) -> Chunk + Send>;
type OnRequest = Box<dyn FnMut(&Record) -> Verdict + Send>;

/// Enters everything in a journal, and does what a test says.
pub struct Meddler {
    pub journal: Arc<Journal>,
    on_chunk: Mutex<Option<OnChunk>>,
    on_request: Mutex<Option<OnRequest>>,
}

impl Meddler {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            journal: Arc::new(Journal::new()),
            on_chunk: Mutex::new(None),
            on_request: Mutex::new(None),
        })
    }

    /// What becomes of each piece of a watch from now on.
    pub fn on_chunk(&self, meddle: impl FnMut(&Record, Bytes) -> Chunk + Send + 'static) {
        *self.on_chunk.lock().unwrap() = Some(Box::new(meddle));
    }

    /// What becomes of each request from now on.
    pub fn on_request(&self, meddle: impl FnMut(&Record) -> Verdict + Send + 'static) {
        *self.on_request.lock().unwrap() = Some(Box::new(meddle));
    }

    /// Interferes no more.
    pub fn rest(&self) {
        *self.on_chunk.lock().unwrap() = None;
        *self.on_request.lock().unwrap() = None;
    }
}

impl Observer for Meddler {
    fn before(&self, record: &Record) -> Verdict {
        let entered = self.journal.before(record);
        self.on_request
            .lock()
            .unwrap()
            .as_mut()
            .map_or(entered, |meddle| meddle(record))
    }

    fn after(&self, record: &Record, status: Option<StatusCode>) -> Verdict {
        self.journal.after(record, status)
    }

    fn chunk(&self, record: &Record, bytes: Bytes) -> Chunk {
        match self.on_chunk.lock().unwrap().as_mut() {
            None => Chunk::Pass(bytes),
            Some(meddle) => meddle(record, bytes),
        }
    }
}
