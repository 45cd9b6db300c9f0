//! Waiting for something to hold, told on the screen while it goes on.

use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::say::Say;

const INTERVAL: Duration = Duration::from_millis(200);

/// Asks again until it holds, for as long as `limit`; tells the state that is seen meanwhile. `what` goes on with "to be …".
pub async fn until<F>(say: Say, what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<(bool, String)>>,
{
    let (started, mut waiting) = (Instant::now(), say.waiting());
    loop {
        let (holds, state) = ask().await?;
        if holds {
            return Ok(());
        }
        waiting.saw(&state);
        if started.elapsed() > limit {
            return Err(Error::Timeout {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                last: state,
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
