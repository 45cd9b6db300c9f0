//! What tests against a real API server share: one control plane per test binary, a namespace and an operator per test, and a kubelet
//! made of a few lines that keeps the contract of `docs/operands.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this crate is tests: a failed expectation is the result"
)]

pub mod cluster;
pub mod demo;
pub mod eventually;
pub mod fake_broker;
pub mod kubelet;
pub mod operator;
pub mod pace;
