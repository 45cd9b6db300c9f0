//! `mimctl broker` as a process, against the real broker on a real PostgreSQL.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::zombie_processes,
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    missing_docs,
    reason = "a test that cannot go on should stop; what the tests share is not used by each of them"
)]

mod away;
mod elder;
mod exit_codes;
mod interrupted;
mod rejects;
mod round_trip;
mod support;
mod trust;
