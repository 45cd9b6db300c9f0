//! A receiver of notifications that knows when each was due.
//!
//! Every write has a number, which comes back in the notification as the value of `level`.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::http::{Connection, write_request};
use super::load::{Sample, Schedule};
use crate::error::Error;

/// How many writes one receiver can count.
const MOST: usize = 4_000_000;
/// How long a notification may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What receivers say.
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// What stands before the number.
const NUMBER: &[u8] = br#""level":{"type":"Property","value":"#;

/// Where notifications arrive.
pub struct Mail {
    /// Where it listens.
    pub at: SocketAddr,
    base: Instant,
    /// For each write when it was due, and when it arrived, in nanoseconds since `base`; 0: not yet.
    due: Vec<AtomicU64>,
    arrived: Vec<AtomicU64>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Thread>>,
    /// The first body that came, before and after its number.
    sample: OnceLock<(Vec<u8>, Vec<u8>)>,
}

impl Mail {
    /// Listens, in threads that end with the process.
    pub fn listen() -> Result<Arc<Self>, Error> {
        let place = Path::new("127.0.0.1:0");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::file(place))?;
        let zeros = || (0..MOST).map(|_| AtomicU64::new(0)).collect();
        let mail = Arc::new(Self {
            at: listener.local_addr().map_err(Error::file(place))?,
            base: Instant::now(),
            due: zeros(),
            arrived: zeros(),
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
            sample: OnceLock::new(),
        });
        let heard = Arc::clone(&mail);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mail = Arc::clone(&heard);
                thread::spawn(move || mail.take_all(stream));
            }
        });
        Ok(mail)
    }

    fn take_all(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut connection = Connection::over(stream)?;
        loop {
            match connection.read() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                // Nothing has come for a while.
                Err(problem) if problem.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(problem) => return Err(problem),
            }
            if let Some((number, before, after)) = number_in(connection.body()) {
                self.arrive(number);
                self.sample.get_or_init(|| (before.to_vec(), after.to_vec()));
            }
            connection.answer(TAKEN)?;
        }
    }

    fn arrive(&self, number: u64) {
        let Some(arrived) = slot(&self.arrived, number) else {
            return;
        };
        // One that comes again has come before.
        let _ = arrived.compare_exchange(0, self.now(), Ordering::SeqCst, Ordering::SeqCst);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = waiting.remove(&number) {
            writer.unpark();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wait(&self, number: u64) -> Result<(), Error> {
        let started = Instant::now();
        let has_come =
            || slot(&self.arrived, number).is_some_and(|arrived| arrived.load(Ordering::SeqCst) > 0);
        while !has_come() {
            if started.elapsed() > PATIENCE {
                return Err(Error::Unexpected(format!(
                    "no notification of a write came within {} s",
                    PATIENCE.as_secs()
                )));
            }
            thread::park_timeout(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Sends what a notification looks like, with this number.
    pub fn write_notification(&self, out: &mut Vec<u8>, number: u64) {
        let empty = (NUMBER.to_vec(), b"}".to_vec());
        let (before, after) = self.sample.get().unwrap_or(&empty);
        let body = [before, number.to_string().as_bytes(), after].concat();
        write_request(out, "POST", "/notify", "", &body);
    }

    /// Writers write, with a rate or each as soon as its last notification has come; latency is from when a write is due
    /// until its notification is here.
    pub fn drive<W: FnMut(u64) -> Result<(), Error>>(
        &self,
        writers: usize,
        seconds: f64,
        rate: Option<f64>,
        writer: impl Fn() -> Result<W, Error> + Sync,
    ) -> Result<Sample, Error> {
        let schedule = Schedule::new(rate, seconds);
        let first = self.next.load(Ordering::SeqCst);
        let started = Instant::now();
        let write_all = || {
            let mut write = writer()?;
            while let Some(due) = schedule.wait(started) {
                let number = self.next.fetch_add(1, Ordering::SeqCst);
                let due_at = slot(&self.due, number);
                let due_at =
                    due_at.ok_or_else(|| Error::Unexpected("too many writes for one receiver".to_owned()))?;
                let since = due.saturating_duration_since(self.base).as_nanos();
                due_at.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::SeqCst);
                if rate.is_none() {
                    let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    waiting.insert(number, thread::current());
                }
                write(number)?;
                if rate.is_none() {
                    self.wait(number)?;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let writers: Vec<_> = (0..writers).map(|_| scope.spawn(write_all)).collect();
            writers.into_iter().try_for_each(|writer| {
                let panicked = |_| Err(Error::Unexpected("a writer panicked".to_owned()));
                writer.join().unwrap_or_else(panicked)
            })
        })?;
        let seconds = started.elapsed().as_secs_f64();
        self.sample_of(first, seconds)
    }

    fn sample_of(&self, first: u64, seconds: f64) -> Result<Sample, Error> {
        let mut latencies = Vec::new();
        for number in first..self.next.load(Ordering::SeqCst) {
            self.wait(number)?;
            let at = |slots| slot(slots, number).map_or(0, |slot| slot.load(Ordering::SeqCst));
            let nanos = at(&self.arrived).saturating_sub(at(&self.due));
            latencies.push(Duration::from_nanos(nanos).as_secs_f64() * 1000.0);
        }
        Ok(Sample {
            requests: latencies.len(),
            refused: 0,
            seconds,
            latencies,
        })
    }
}

fn slot(slots: &[AtomicU64], number: u64) -> Option<&AtomicU64> {
    slots.get(usize::try_from(number).ok()?)
}

/// The number of a write, and what is before and after it.
fn number_in(body: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let at = body.windows(NUMBER.len()).position(|window| window == NUMBER)? + NUMBER.len();
    let (before, rest) = body.split_at_checked(at)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, after) = rest.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, before, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_known_by_the_number_in_its_notification() {
        let body = br#"{"data":[{"id":"x","level":{"type":"Property","value":42,"unitCode":"A"}}]}"#;
        let (number, before, after) = number_in(body).unwrap();
        assert_eq!(number, 42);
        assert_eq!(body.len(), before.len() + 2 + after.len());
        assert_eq!(number_in(b"{}"), None);
    }

    #[test]
    fn latency_is_from_when_a_write_is_due_until_its_notification_is_here() {
        let mail = Mail::listen().unwrap();
        let writer = || {
            let mut connection = Connection::open(mail.at).unwrap();
            let mail = Arc::clone(&mail);
            Ok(move |number| {
                let mut request = Vec::new();
                mail.write_notification(&mut request, number);
                thread::sleep(Duration::from_millis(2));
                assert_eq!(connection.call(&request).unwrap(), 204);
                Ok(())
            })
        };
        for rate in [None, Some(200.0)] {
            let sample = mail.drive(2, 0.2, rate, writer).unwrap();
            assert!(sample.requests > 5 && sample.latency(0.0) >= 2.0, "{sample:?}");
        }
    }
}
