//! Waits that are counted in minutes: true for `make proof`, shorter for `make test`.

use std::time::Duration;

/// By how much `make test` shortens them. An external broker that is looked at once a minute is then looked at once a second.
const SHORTER: u32 = 60;

/// How long to wait where a person would wait `of`: that long in `make proof`, else a 60th of it.
#[must_use]
pub fn wait(of: Duration) -> Duration {
    if is_proof() { of } else { of / SHORTER }
}

/// Whether this is `make proof`, which has all the time that it takes.
#[must_use]
pub fn is_proof() -> bool {
    std::env::var("MIM_PROOF").is_ok_and(|proof| proof == "true")
}
