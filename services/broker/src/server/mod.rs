//! The process: listening, draining, health, configuration.

mod assemble;
pub mod config;
pub mod gateway;
pub mod health;
pub mod listen;
pub mod metrics;
pub mod run;
pub mod stall;
