//! What the tests share: a real PostgreSQL, the real broker, a real Mosquitto, a client.

pub mod broker;
pub mod client;
pub mod contract;
pub mod gateway;
pub mod mosquitto;
pub mod postgres;
pub mod receiver;
pub mod store;

pub use broker::Broker;
pub use client::Answer;
pub use mosquitto::Mosquitto;
pub use postgres::{Database, Postgres};
pub use receiver::Receiver;
pub use store::store_over;

/// Waits until a condition holds, at most so many seconds.
pub async fn eventually<F: Future<Output = bool>>(seconds: u64, what: &str, mut holds: impl FnMut() -> F) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "within {seconds} s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
