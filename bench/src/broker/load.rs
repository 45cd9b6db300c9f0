//! What clients do: as many requests as they can, or so many a second whether answers come or not.
//!
//! Each client is a thread with a connection of its own. With a rate, requests have times that were set before: a Poisson
//! process that all clients take from. Latency counts from that time, so a slow answer also counts for all who have to
//! wait behind it (no coordinated omission). pgbench does the same with `--rate`.

use std::net::SocketAddr;
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::http::Connection;
use crate::error::Error;
use crate::random::Random;
use crate::report::{count, quantile};

/// Writes the next request.
pub type Work<'a> = dyn Fn(&mut Random, &mut Vec<u8>) + Sync + 'a;

/// How much is done.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// The replicas; clients are spread over them.
    pub at: &'a [SocketAddr],
    /// How many connections.
    pub clients: usize,
    /// For how long.
    pub seconds: f64,
    /// Requests per second; `None`: as many as come.
    pub rate: Option<f64>,
    /// Whether answers that are no success are counted apart; else one ends the run.
    pub may_refuse: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Requests that were answered as they should be.
    pub requests: usize,
    /// Requests that were refused.
    pub refused: usize,
    /// In how many seconds.
    pub seconds: f64,
    /// Latency of each, in milliseconds.
    pub latencies: Vec<f64>,
}

impl Sample {
    /// Requests per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        count(self.requests) / self.seconds
    }

    /// The latency that this share of requests does not exceed.
    #[must_use]
    pub fn latency(&self, share: f64) -> f64 {
        quantile(&self.latencies, share)
    }
}

/// Times at which requests are due, for all clients together.
pub struct Schedule {
    rate: Option<f64>,
    until: Duration,
    next: Mutex<(Duration, Random)>,
}

impl Schedule {
    /// Times of so many requests a second, or of none in particular, until then.
    #[must_use]
    pub fn new(rate: Option<f64>, seconds: f64) -> Self {
        Self {
            rate,
            until: Duration::from_secs_f64(seconds),
            next: Mutex::new((Duration::ZERO, Random::new(42))),
        }
    }

    /// Waits until the next request is due, and gives the time from which its latency counts; `None`: the end.
    pub fn wait(&self, started: Instant) -> Option<Instant> {
        let Some(rate) = self.rate else {
            return (started.elapsed() < self.until).then(Instant::now);
        };
        let due = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = next.1.wait(rate);
            next.0 += Duration::from_secs_f64(wait);
            next.0
        };
        if due >= self.until {
            return None;
        }
        let due = started + due;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        Some(due)
    }
}

/// Runs it.
pub fn run(load: &Load<'_>, work: &Work<'_>) -> Result<Sample, Error> {
    let schedule = Schedule::new(load.rate, load.seconds);
    let ready = Barrier::new(load.clients + 1);
    let (schedule, ready) = (&schedule, &ready);
    thread::scope(|scope| {
        let clients: Vec<_> = load
            .at
            .iter()
            .cycle()
            .zip(0..load.clients)
            .map(|(at, number)| scope.spawn(move || client(load, *at, number, schedule, ready, work)))
            .collect();
        ready.wait();
        let started = Instant::now();
        let mut sample = Sample::default();
        let mut failed = None;
        for client in clients {
            match client.join() {
                Ok(Ok((latencies, refused))) => {
                    sample.latencies.extend(latencies);
                    sample.refused += refused;
                }
                Ok(Err(problem)) => failed = Some(problem),
                Err(_) => failed = Some(Error::Unexpected("a client of the load panicked".to_owned())),
            }
        }
        sample.requests = sample.latencies.len();
        sample.seconds = started.elapsed().as_secs_f64();
        failed.map_or(Ok(sample), Err)
    })
}

fn client(
    load: &Load<'_>,
    at: SocketAddr,
    number: usize,
    schedule: &Schedule,
    ready: &Barrier,
    work: &Work<'_>,
) -> Result<(Vec<f64>, usize), Error> {
    let connection = Connection::open(at);
    ready.wait();
    let started = Instant::now();
    let failed = |source| Error::Connection {
        what: format!("a client of {at}"),
        source,
    };
    let mut connection = connection.map_err(failed)?;
    let mut random = Random::new(seed(number));
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let mut request = Vec::new();
    while let Some(due) = schedule.wait(started) {
        request.clear();
        work(&mut random, &mut request);
        let status = connection.call(&request).map_err(failed)?;
        if (200..300).contains(&status) {
            latencies.push(due.elapsed().as_secs_f64() * 1000.0);
        } else if load.may_refuse {
            refused += 1;
        } else {
            let said = String::from_utf8_lossy(connection.body())
                .chars()
                .take(300)
                .collect();
            let head = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(Error::Answer {
                method: String::from_utf8_lossy(head).into_owned(),
                target: at.to_string(),
                status,
                body: said,
            });
        }
    }
    Ok((latencies, refused))
}

/// Another one for each client and each run: ids that are made by chance are new.
fn seed(number: usize) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| {
        u64::from(now.subsec_nanos()) + now.as_secs() * 1_000_000_000
    });
    crate::random::mixed(nanos ^ (number as u64) << 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_rate_requests_are_due_before_they_are_sent() {
        let schedule = Schedule::new(Some(1000.0), 0.2);
        let started = Instant::now();
        let mut due = Vec::new();
        while let Some(at) = schedule.wait(started) {
            due.push(at);
        }
        assert!(due.is_sorted() && due.iter().all(|at| *at <= Instant::now()));
        assert!((100..400).contains(&due.len()), "{}", due.len());
        assert!(started.elapsed() >= Duration::from_millis(150));
    }
}
