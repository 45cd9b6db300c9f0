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

/// Takes the moving line back.
const CLEAR: &str = "\r\x1b[2K";
/// Characters of the moving line at most.
const WIDTH: usize = 100;

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
    out: Box<dyn Write + Send>,
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
        let (stderr, terminal) = (std::io::stderr(), std::io::stderr().is_terminal());
        let shared = Arc::new(Mutex::new(Shared::new(total, terminal, Box::new(stderr))));
        let (stop, stopped) = mpsc::channel::<()>();
        let watched = Arc::clone(&shared);
        let ticker = std::thread::spawn(move || {
            while stopped.recv_timeout(DRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let mut shared = watched.lock().unwrap_or_else(PoisonError::into_inner);
                shared.tick(Instant::now());
            }
        });
        Self {
            shared,
            ticker: Some((stop, ticker)),
        }
    }

    /// Ends the running step as done and starts the next one.
    pub fn step(&self, name: impl Into<String>) {
        self.with(|shared| shared.begin(name.into(), Instant::now()));
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
            shared.print(&format!("{line}\n"));
        });
    }

    /// Ends the running step as done.
    pub fn done(&self) {
        self.with(|shared| shared.end(Instant::now()));
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

/// What is told when: the clock is the caller's.
impl Shared {
    fn new(total: usize, terminal: bool, out: Box<dyn Write + Send>) -> Self {
        Self {
            total,
            number: 0,
            step: None,
            terminal,
            out,
        }
    }

    fn label(&self, step: &Step) -> String {
        format!("[{}/{}] {}", self.number, self.total, step.name)
    }

    fn begin(&mut self, name: String, now: Instant) {
        self.end(now);
        self.number += 1;
        let step = Step {
            name,
            started: now,
            waits_for: String::new(),
            last_told: now,
        };
        if !self.terminal {
            let line = format!("{}\n", self.label(&step));
            self.print(&line);
        }
        self.step = Some(step);
    }

    fn end(&mut self, now: Instant) {
        self.clear();
        if let Some(step) = self.step.take() {
            let took = elapsed(now.duration_since(step.started));
            let line = format!("{}: {took}\n", self.label(&step));
            self.print(&line);
        }
    }

    fn tick(&mut self, now: Instant) {
        let Some(step) = &self.step else { return };
        if !self.terminal && now.duration_since(step.last_told) < PLAIN_INTERVAL {
            return;
        }
        let waits = if step.waits_for.is_empty() {
            String::new()
        } else {
            format!(", waiting for {}", step.waits_for)
        };
        let took = elapsed(now.duration_since(step.started));
        let line = format!("{}: {took}{waits}", self.label(step));
        if self.terminal {
            // Cut so that the line never wraps: a wrapped line cannot be taken back.
            let line: String = line.chars().take(WIDTH).collect();
            self.print(&format!("{CLEAR}{line}"));
        } else {
            self.print(&format!("{line}\n"));
        }
        if let Some(step) = &mut self.step {
            step.last_told = now;
        }
    }

    fn clear(&mut self) {
        if self.terminal {
            self.print(CLEAR);
        }
    }

    fn print(&mut self, text: &str) {
        // Progress that cannot be shown (a closed pipe) is no reason to stop the work.
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
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

    /// A screen that can be read.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn shared(total: usize, terminal: bool) -> (Shared, Screen) {
        let screen = Screen::default();
        (Shared::new(total, terminal, Box::new(screen.clone())), screen)
    }

    /// One second after the other, as the ticker does it twice as often.
    fn seconds(from: Instant, count: u64) -> impl Iterator<Item = (u64, Instant)> {
        (1..=count).map(move |second| (second, from + Duration::from_secs(second)))
    }

    #[test]
    fn each_step_is_told_as_n_of_m_when_it_begins_and_with_its_time_when_it_ends() {
        let (mut shared, screen) = shared(2, false);
        let start = Instant::now();
        shared.begin("build etcd".to_owned(), start);
        // It turned out that there is one more.
        shared.total += 1;
        shared.begin("start etcd".to_owned(), start + Duration::from_secs(402));
        shared.end(start + Duration::from_secs(404));
        shared.end(start + Duration::from_secs(405));
        assert_eq!(
            screen.text(),
            "[1/2] build etcd\n[1/3] build etcd: 6 min 42 s\n[2/3] start etcd\n[2/3] start etcd: 2.0 s\n"
        );
    }

    #[test]
    fn without_a_terminal_a_step_is_a_plain_line_at_least_once_a_minute_with_what_it_waits_for() {
        let (mut shared, screen) = shared(1, false);
        let start = Instant::now();
        shared.begin("build".to_owned(), start);
        let (mut told_at, mut seen) = (0, screen.text().len());
        for (second, now) in seconds(start, 600) {
            shared.step.as_mut().unwrap().waits_for = format!("package {second}");
            shared.tick(now);
            let text = screen.text();
            if text.len() > seen {
                (told_at, seen) = (second, text.len());
                let line = text.lines().last().unwrap();
                assert!(line.starts_with("[1/1] build: "), "{line}");
                assert!(
                    line.ends_with(&format!(", waiting for package {second}")),
                    "{line}"
                );
            }
            assert!(second - told_at <= 60, "nothing was told since second {told_at}");
        }
        let text = screen.text();
        assert!(text.ends_with('\n') && !text.contains(['\r', '\x1b']), "{text:?}");
        // And no more than a person reads.
        assert!(text.lines().count() <= 21, "{text}");
    }

    #[test]
    fn on_a_terminal_one_line_moves_and_never_wraps() {
        let (mut shared, screen) = shared(1, true);
        let start = Instant::now();
        shared.begin("build".to_owned(), start);
        shared.step.as_mut().unwrap().waits_for = "x".repeat(300);
        for (_, now) in seconds(start, 3) {
            shared.tick(now);
        }
        let text = screen.text();
        assert!(!text.contains('\n'), "{text:?}");
        let drawn: Vec<_> = text.split(CLEAR).filter(|line| !line.is_empty()).collect();
        assert_eq!(drawn.len(), 3, "{text:?}");
        for (second, line) in (1..).zip(drawn) {
            assert_eq!(line.chars().count(), WIDTH);
            assert!(
                line.starts_with(&format!("[1/1] build: {second}.0 s, waiting for x")),
                "{line}"
            );
        }
        shared.end(start + Duration::from_secs(4));
        assert!(screen.text().ends_with(&format!("{CLEAR}[1/1] build: 4.0 s\n")));
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(elapsed(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(elapsed(Duration::from_secs(402)), "6 min 42 s");
    }
}
