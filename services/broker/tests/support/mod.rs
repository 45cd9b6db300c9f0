//! What the tests share: a real PostgreSQL, the real broker, a real Mosquitto, a client.

use std::io::Write as _;

pub mod broker;
pub mod client;
pub mod contract;
pub mod eventually;
pub mod gateway;
pub mod interval;
pub mod mosquitto;
pub mod postgres;
pub mod receiver;
pub mod store;
pub mod wire;

pub use broker::Broker;
pub use client::Answer;
pub use eventually::eventually;
pub use mosquitto::Mosquitto;
pub use postgres::{Database, Postgres};
pub use receiver::Receiver;
pub use store::store_over;
pub use wire::Wire;

/// How long to wait where `make proof` waits `of`: a 60th of it in other tests.
pub fn proof(of: std::time::Duration) -> std::time::Duration {
    if is_proof() { of } else { of / 60 }
}

/// Whether this is `make proof`, which has all the time that it takes.
pub fn is_proof() -> bool {
    std::env::var("MIM_PROOF").is_ok_and(|proof| proof == "true")
}

/// Tells that a test cannot be run here, and why: `make test` says so at its end. What a test prints is kept from sight where it passes; this is not.
pub fn left_out(why: &str) {
    let _ = writeln!(std::io::stderr(), "left out: {why}");
}
