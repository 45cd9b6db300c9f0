//! Benchmarks and their peers.
//!
//! What every benchmark shares: rows with goals, printed as a table and written as JSON ([`report`]), a process that is measured
//! from outside ([`process`]), and a client that does nothing but send ([`bare`]). Each benchmark is a module and a program:
//! [`operator`] is `bench-operator`, [`city`] is `bench-city`, [`broker`] is `bench-broker`, [`gateway`] is `bench-gateway`,
//! [`validator`] is `bench-validator`.

pub mod bare;
pub mod broker;
pub mod city;
mod error;
pub mod gateway;
pub mod operator;
pub mod process;
mod random;
pub mod report;
mod rig_line;
pub mod validator;

pub use error::Error;
pub use rig_line::{lab, rig_line};
