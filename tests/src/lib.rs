//! What tests against a real API server share: one control plane per test binary, a namespace and an operator per test, and a kubelet
//! made of a few lines that keeps the contract of `docs/operands.md`.
//!
//! These modules are parts of tests, where a failed expectation is the result; each says so. `demo` is a program that people run: it ends with
//! words, like every other.

pub mod cluster;
pub mod demo;
pub mod eventually;
pub mod fake_broker;
pub mod foreign;
pub mod kubelet;
pub mod operator;
pub mod pace;
