//! What the lab is doing, for who watches: step n of m, elapsed, what it waits for.
//!
//! On a terminal one line that moves; elsewhere (CI, a file) plain lines, at least one every half minute while a step runs.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a step that is still running is told without a terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);
/// How often the moving line is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(500);

/// Tells on standard error what is going on. Standard output stays free for results.
pub struct Progress {
    shared: Arc<Mutex<Shared>>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Shared {
    total: usize,
    number: usize,
    step: Option<Step>,
    terminal: bool,
}

struct Step {
    name: String,
    started: Instant,
    waits_for: String,
    last_told: Instant,
}

impl Progress {
    /// Starts to tell; `total` is the number of steps that will follow.
    #[must_use]
    pub fn new(total: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let shared = Arc::new(Mutex::new(Shared {
            total,
            number: 0,
            step: None,
            terminal,
        }));
        let (stop, stopped) = mpsc::channel::<()>();
        let watched = Arc::clone(&shared);
        let ticker = std::thread::spawn(move || {
            while stopped.recv_timeout(DRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                watched.lock().unwrap_or_else(PoisonError::into_inner).tick();
            }
        });
        Self {
            shared,
            ticker: Some((stop, ticker)),
        }
    }

    /// Ends the running step as done and starts the next one.
    pub fn step(&self, name: impl Into<String>) {
        self.with(|shared| {
            shared.end();
            shared.number += 1;
            let now = Instant::now();
            shared.step = Some(Step {
                name: name.into(),
                started: now,
                waits_for: String::new(),
                last_told: now,
            });
            shared.begin();
        });
    }

    /// More steps turned out to be needed.
    pub fn add_steps(&self, more: usize) {
        self.with(|shared| shared.total += more);
    }

    /// Says what the running step waits for right now.
    pub fn waits_for(&self, what: impl Into<String>) {
        self.with(|shared| {
            if let Some(step) = &mut shared.step {
                step.waits_for = what.into();
            }
        });
    }

    /// Says one thing that stays on the screen.
    pub fn say(&self, line: &str) {
        self.with(|shared| {
            shared.clear();
            print(&format!("{line}\n"));
        });
    }

    /// Ends the running step as done.
    pub fn done(&self) {
        self.with(Shared::end);
    }

    fn with(&self, change: impl FnOnce(&mut Shared)) {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, ticker)) = self.ticker.take() {
            drop(stop);
            // The ticker cannot fail in a way that matters here: there is nothing left to tell.
            let _ = ticker.join();
        }
        // A step that is still open here was left by an error: it must not read as done.
        self.with(|shared| {
            if shared.step.take().is_some() {
                shared.clear();
            }
        });
    }
}

impl Shared {
    fn label(&self, step: &Step) -> String {
        format!("[{}/{}] {}", self.number, self.total, step.name)
    }

    fn begin(&mut self) {
        if let Some(step) = &self.step
            && !self.terminal
        {
            print(&format!("{}\n", self.label(step)));
        }
    }

    fn end(&mut self) {
        self.clear();
        if let Some(step) = self.step.take() {
            print(&format!(
                "{}: {}\n",
                self.label(&step),
                elapsed(step.started.elapsed())
            ));
        }
    }

    fn tick(&mut self) {
        let terminal = self.terminal;
        let Some(step) = &self.step else { return };
        if !terminal && step.last_told.elapsed() < PLAIN_INTERVAL {
            return;
        }
        let waits = if step.waits_for.is_empty() {
            String::new()
        } else {
            format!(", waiting for {}", step.waits_for)
        };
        let line = format!("{}: {}{waits}", self.label(step), elapsed(step.started.elapsed()));
        if terminal {
            // Cut so that the line never wraps: a wrapped line cannot be taken back.
            print(&format!(
                "\r\x1b[2K{}",
                line.chars().take(100).collect::<String>()
            ));
        } else {
            print(&format!("{line}\n"));
        }
        if let Some(step) = &mut self.step {
            step.last_told = Instant::now();
        }
    }

    fn clear(&self) {
        if self.terminal {
            print("\r\x1b[2K");
        }
    }
}

fn print(text: &str) {
    let mut stderr = std::io::stderr().lock();
    // Progress that cannot be shown (a closed pipe) is no reason to stop the work.
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

/// Seconds with a tenth while that tells something, then minutes.
fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(elapsed(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(elapsed(Duration::from_secs(402)), "6 min 42 s");
    }
}
