//! What the broker does when something breaks: the real broker on a PostgreSQL that is killed, wrong or late.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::zombie_processes,
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "a test that cannot go on should stop; what the tests share is not used by each of them"
)]

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod database;
mod fencing;
mod full;
mod hostile;
mod intervals;
mod late;
mod memory;
mod migrations;
mod notifications;
mod outbox;
mod pages;
mod process;
mod read_only;
mod rolling;
mod words;
