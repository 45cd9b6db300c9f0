//! The real gateway as a process, brokers and clients in the test's own.

pub mod client;
pub mod gateway;
pub mod issuer;
pub mod tls;
pub mod upstream;

use std::time::Duration;
use tokio::time::Instant;

/// Waits until it is so.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(what, Duration::from_secs(30), check).await
}

/// The same, for what takes longer.
pub async fn eventually_within<T>(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came so far: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
