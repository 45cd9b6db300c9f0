//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// Waits until a condition holds, at most so many seconds.
pub async fn eventually<F: Future<Output = bool>>(seconds: u64, what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        let waited = started.elapsed();
        assert!(waited.as_secs() < seconds, "within {seconds} s: {what}");
        // What takes long is seen an eighth later than it is there: two cores wait for many things at once.
        let pause = (waited / 8).clamp(Duration::from_millis(25), Duration::from_millis(250));
        tokio::time::sleep(pause).await;
    }
}
