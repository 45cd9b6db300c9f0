//! What the person who watches reads: one line per thing that happened, with the time since the start.

use std::io::Write as _;
use std::time::{Duration, Instant};

/// How often something that takes long is told.
const REPEAT: Duration = Duration::from_secs(3);
/// How often it is told that work goes on of which nothing else is known.
const PULSE: Duration = Duration::from_secs(5);

/// Tells on standard output.
#[derive(Clone, Copy, Debug)]
pub struct Say {
    started: Instant,
}

impl Default for Say {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Say {
    /// A heading.
    pub fn step(self, text: &str) {
        self.line(&format!("── {text}"));
    }

    /// One thing that happened.
    pub fn line(self, text: &str) {
        plain(&format!("{:>4} s  {text}", self.started.elapsed().as_secs()));
    }

    /// Does work that says nothing itself, and tells every five seconds that it goes on.
    pub async fn during<T>(self, what: &str, work: impl Future<Output = T>) -> T {
        pulse(PULSE, || self.line(&format!("   {what}")), work).await
    }

    /// Tells what changes while something is waited for, and that it still goes on where nothing does.
    #[must_use]
    pub fn waiting(self) -> Waiting {
        Waiting {
            say: self,
            last: String::new(),
            told: Instant::now(),
        }
    }
}

async fn pulse<T>(every: Duration, mut tell: impl FnMut(), work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(every, &mut work).await {
            Ok(done) => return done,
            Err(_) => tell(),
        }
    }
}

/// The state of something that is waited for, as it was told last.
#[derive(Debug)]
pub struct Waiting {
    say: Say,
    last: String,
    told: Instant,
}

impl Waiting {
    /// Says it if it is new, or every three seconds.
    pub fn saw(&mut self, state: &str) {
        if state == self.last && self.told.elapsed() < REPEAT {
            return;
        }
        self.say.line(&format!("   {state}"));
        state.clone_into(&mut self.last);
        self.told = Instant::now();
    }
}

/// A line without a time.
pub fn plain(text: &str) {
    let mut out = std::io::stdout().lock();
    // Who reads along may have gone away; the work goes on.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_takes_long_is_told_of_again_and_again_and_quick_work_is_not() {
        let told = std::cell::Cell::new(0);
        let tell = || told.set(told.get() + 1);
        let done = pulse(Duration::from_mins(1), tell, async { 7 }).await;
        assert_eq!((done, told.get()), (7, 0));
        // It ends when it has been told of three times.
        let work = async {
            while told.get() < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            8
        };
        assert_eq!(pulse(Duration::from_millis(2), tell, work).await, 8);
    }
}
