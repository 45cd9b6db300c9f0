//! What the requests of one thread share. A worker is a thread with a runtime of its own: nothing on a request's way is locked or handed over.

use crate::audit::Audit;
use crate::identity::Memory;
use crate::limits::Rates;
use crate::metrics::Metrics;
use crate::policy::Kept;
use crate::settings::Settings;
use crate::upstream::Upstream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Where the process is on its way out.
#[derive(Clone)]
pub struct Ending {
    /// Answers ask clients to close their connections, so that their next request goes elsewhere.
    pub leaving: Arc<AtomicBool>,
    /// No new connection is taken, and open requests end.
    pub stop: watch::Receiver<bool>,
}

impl Ending {
    /// Whether clients are asked to go elsewhere.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}

/// The parts.
pub struct Worker {
    /// What holds now.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Connections to the broker.
    pub upstream: Rc<Upstream>,
    /// What is remembered of who asked.
    pub known: Memory,
    /// What rules let them do.
    pub permissions: Kept,
    /// How much subjects ask, in all workers together.
    pub rates: Arc<Rates>,
    /// Who did what.
    pub audit: Arc<Audit>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The way out.
    pub ending: Ending,
}
