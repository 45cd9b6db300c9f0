//! What the person who watches reads: one line per thing that happened, with the time since the start.

use std::io::Write as _;
use std::time::{Duration, Instant};

/// How often something that takes long is told.
const REPEAT: Duration = Duration::from_secs(3);

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

/// The state of something that is waited for.
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

    /// What was said last.
    #[must_use]
    pub fn last(&self) -> &str {
        &self.last
    }
}

/// A line without a time.
pub fn plain(text: &str) {
    let mut out = std::io::stdout().lock();
    // Who reads along may have gone away; the work goes on.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
