//! The one place that every request to the API server passes.
//!
//! The layer numbers a request, asks the observer of a test, checks the lease, sends, counts. It sits below
//! everything that could send again or wait (authentication, time limits of callers), so that what it numbers is what goes
//! over the wire, and the check of the lease is the last thing before the request leaves.
//!
//! ```text
//! Requests, kube::Api, watchers ─▶ base URI ─▶ authentication ─▶ user agent ─▶ this layer ─▶ connections
//! ```

mod body;
mod layer;
mod observer;
mod record;

pub use layer::{Interrupted, Limits, RequestLayer, RequestService};
pub use observer::{Chunk, Entry, Journal, Observer, Side, Verdict};
pub(super) use record::asks_to_watch;
pub use record::{Purpose, Record, Verb};
