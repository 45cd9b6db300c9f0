//! What comes in at the door, what goes on, and what does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "a test that cannot go on should stop"
)]

#[path = "../support/mod.rs"]
mod support;

mod ending;
mod identity;
mod limits;
mod passing;
mod policy;
mod retries;
mod settings;
mod slow;
mod smuggling;
