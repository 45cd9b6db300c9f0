//! Waiting for conditions, never for time.
#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a part of tests: a failed expectation is the result"
)]

use std::fmt::Debug;
use std::time::{Duration, Instant};

use mim_operator::reconcile::remote;

use crate::pace;

/// How long a condition may take on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Of the waits that are counted in minutes none is longer than three looks at what an object has in a broker; one more for what a busy machine takes.
const LOOKS: u32 = 4;

/// Asks until the answer is `Ok`, and gives it; after 80 s (`make proof`: 21 minutes) the last `Err` is the failure.
pub async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> T {
    within(what, PATIENCE + pace::wait(LOOKS * remote::PERIOD), ask).await
}

/// As [`eventually`], for what may take `patience`.
pub async fn within<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(not_yet) if started.elapsed() > patience => {
                panic!("{what}: still {not_yet:?} after {patience:?}")
            }
            Err(_) => tokio::time::sleep(pause(started.elapsed())).await,
        }
    }
}

/// How long after a wait of `waited` one asks again: what takes long is seen an eighth later than it is there, and what many tests ask of one server while
/// they wait is not what the server is busy with (asked every 50 ms, that was a tenth of what the tests of crashes cost).
fn pause(waited: Duration) -> Duration {
    (waited / 8).clamp(Duration::from_millis(25), Duration::from_millis(500))
}

/// Holds for as long as `for_at_least`: asked again and again, the answer must stay `Ok`.
pub async fn throughout<E: Debug, F: Future<Output = Result<(), E>>>(
    what: &str,
    for_at_least: Duration,
    mut ask: impl FnMut() -> F,
) {
    let started = Instant::now();
    while started.elapsed() < for_at_least {
        if let Err(broken) = ask().await {
            panic!("{what}: {broken:?} after {:?}", started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
