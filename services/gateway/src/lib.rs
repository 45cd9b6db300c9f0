//! The gateway: every call to the broker of a city comes through here.
//!
//! A call takes one way, step by step ([`pipeline`]): the [`door`] takes connections and speaks TLS, [`message`] reads heads and bodies strictly,
//! [`checks`] refuses what could be read in two ways, [`identity`] finds out who asks, [`limits`] how much that may be, [`policy`] what the city lets it do, the [`upstream`] side sends it on, and the [`audit`] trail tells of it. What holds is one
//! snapshot of all files ([`settings`]); [`run`] puts the parts together, a [`worker`] for each processor.
//! [`message`] and [`checks`] are pure.

pub mod answer;
pub mod audit;
pub mod body;
pub mod checks;
pub mod config;
pub mod cors;
pub mod door;
pub mod health;
pub mod identity;
pub mod limits;
pub mod message;
pub mod metrics;
pub mod operation;
pub mod pipeline;
pub mod policy;
pub mod problem;
pub mod run;
pub mod settings;
pub mod upstream;
pub mod wire;
pub mod worker;
