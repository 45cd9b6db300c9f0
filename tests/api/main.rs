//! What holds at a real API server: rules, passes, invariants.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod chronicle;
mod churn;
mod city;
mod cluster_mode;
mod crash;
mod faults;
mod invariants;
mod lease;
mod logs;
mod meddler;
mod metrics;
mod native;
mod own;
mod pass;
mod prune;
mod restarts;
mod rights;
mod rules;
mod subscriptions;
mod suspended;
mod watches;
