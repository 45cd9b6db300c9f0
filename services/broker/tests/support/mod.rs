//! What the tests share: a real PostgreSQL, the real broker, a real Mosquitto, a client.

pub mod broker;
pub mod client;
pub mod contract;
pub mod gateway;
pub mod mosquitto;
pub mod postgres;
pub mod receiver;
pub mod store;
pub mod wire;

pub use broker::Broker;
pub use client::Answer;
pub use mosquitto::Mosquitto;
pub use postgres::{Database, Postgres};
pub use receiver::Receiver;
pub use store::store_over;
pub use wire::Wire;

/// Waits until a condition holds, at most so many seconds.
pub async fn eventually<F: Future<Output = bool>>(seconds: u64, what: &str, mut holds: impl FnMut() -> F) {
    let started = std::time::Instant::now();
    while !holds().await {
        let waited = started.elapsed();
        assert!(waited.as_secs() < seconds, "within {seconds} s: {what}");
        // What takes long is seen an eighth later than it is there: two cores wait for many things at once.
        let pause = (waited / 8).clamp(
            std::time::Duration::from_millis(25),
            std::time::Duration::from_millis(250),
        );
        tokio::time::sleep(pause).await;
    }
}

/// How long to wait where `make proof` waits `of`: a 60th of it in other tests.
pub fn proof(of: std::time::Duration) -> std::time::Duration {
    if std::env::var("MIM_PROOF").is_ok_and(|proof| proof == "true") {
        of
    } else {
        of / 60
    }
}
