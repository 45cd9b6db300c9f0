//! The native broker and its PostgreSQL, as the broker's own tests start them.
#![allow(
    dead_code,
    clippy::zombie_processes,
    reason = "these tests use a part of what those of the broker share; servers end with the test process"
)]

#[path = "../../../services/broker/tests/support/broker.rs"]
mod broker;
#[path = "../../../services/broker/tests/support/client.rs"]
mod client;
#[path = "../../../services/broker/tests/support/postgres.rs"]
mod postgres;

use std::time::Duration;

use mim_tests::eventually::within;

pub use broker::Broker;

/// Waits until a condition holds, at most so many seconds.
async fn eventually<F: Future<Output = bool>>(seconds: u64, what: &str, mut holds: impl FnMut() -> F) {
    within(what, Duration::from_secs(seconds), || {
        let asked = holds();
        async move { if asked.await { Ok(()) } else { Err("not yet") } }
    })
    .await;
}
