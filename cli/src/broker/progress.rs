//! What the person who waits is told, on standard error: a line that is kept fresh on a terminal, else one now and then.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

/// How often, on a terminal and elsewhere.
const FRESH: Duration = Duration::from_millis(500);
const NOW_AND_THEN: Duration = Duration::from_secs(10);

/// The teller.
pub struct Progress {
    what: &'static str,
    started: Instant,
    told: Instant,
    /// How many there were when this run started.
    before: u64,
    is_terminal: bool,
    is_line_open: bool,
}

impl Progress {
    /// Of a command that had done so many before.
    #[must_use]
    pub fn of(what: &'static str, before: u64) -> Self {
        Self {
            what,
            started: Instant::now(),
            told: Instant::now(),
            before,
            is_terminal: stderr().is_terminal(),
            is_line_open: false,
        }
    }

    /// Tells how many entities are done, if it is time to.
    pub fn tell(&mut self, entities: u64, more: &str) {
        let every = if self.is_terminal { FRESH } else { NOW_AND_THEN };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        let line = self.line(entities, more);
        if self.is_terminal {
            eprint!("\r\x1b[K{line}");
            let _ = stderr().flush();
            self.is_line_open = true;
        } else {
            eprintln!("{line}");
        }
    }

    /// Tells how it ended.
    pub fn end(&mut self, entities: u64, more: &str) {
        let line = self.line(entities, more);
        self.note(&line);
    }

    /// Tells something that happened.
    pub fn note(&mut self, text: &str) {
        if self.is_line_open {
            eprint!("\r\x1b[K");
            self.is_line_open = false;
        }
        eprintln!("{text}");
    }

    fn line(&self, entities: u64, more: &str) -> String {
        let millis = u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let rate = entities.saturating_sub(self.before).saturating_mul(1000) / millis;
        format!("{}: {entities} entities{more}, {rate} a second", self.what)
    }
}
