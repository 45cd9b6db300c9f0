//! Clients of the city while things happen: some ask, some write, some keep their connection, some make one per request, none tries again. What was
//! accepted is remembered and read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;

use super::entities::{AIR_QUALITY, observation};
use super::error::{Error, Result};
use super::http::{Broker, Client};

/// Whether it writes, and whether it keeps its connection.
const CLIENTS: [(bool, bool); 4] = [(true, false), (true, true), (false, false), (false, true)];
/// Between two requests of one client: a steady load, not a flood.
const PAUSE: Duration = Duration::from_millis(20);
/// No load goes on longer, whatever happens.
const LIMIT: Duration = Duration::from_mins(4);
/// Reads at the same time, when what was accepted is checked.
const CHECKERS: usize = 8;

/// Clients at work. Dropped, they stop.
pub struct Traffic {
    clients: JoinSet<Seen>,
    stop: Arc<AtomicBool>,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests that were sent.
    pub requests: usize,
    /// Requests that had no answer or another one than they should, in the words of the client.
    pub failures: Vec<String>,
    /// Writes that were answered 201: id and value.
    pub accepted: Vec<(String, Value)>,
    /// The longest time to an answer.
    pub slowest: Duration,
}

impl Traffic {
    /// Starts the clients. `name` goes into the ids that they write, so that runs are told apart.
    #[must_use]
    pub fn start(broker: &Arc<Broker>, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicUsize::new(1));
        let mut clients = JoinSet::new();
        for (writes, keeps) in CLIENTS {
            let (stop, number) = (Arc::clone(&stop), Arc::clone(&number));
            let mut client = Client::new(broker, keeps);
            let name = name.to_owned();
            clients.spawn(async move {
                let started = Instant::now();
                let mut seen = Seen::default();
                while !stop.load(Ordering::Relaxed) && started.elapsed() < LIMIT {
                    if writes {
                        let number = number.fetch_add(1, Ordering::Relaxed);
                        seen.write(&mut client, &name, number).await;
                    } else {
                        seen.read(&mut client).await;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                seen
            });
        }
        Self { clients, stop }
    }

    /// Lets each client end its request, and returns what all saw.
    pub async fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(ended) = self.clients.join_next().await {
            match ended {
                Ok(seen) => all.add(seen),
                Err(problem) => all.failures.push(format!("a client ended: {problem}")),
            }
        }
        all
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures.extend(other.failures);
        self.accepted.extend(other.accepted);
        self.slowest = self.slowest.max(other.slowest);
    }

    async fn write(&mut self, client: &mut Client, name: &str, number: usize) {
        let entity = observation(name, number, Timestamp::now());
        let path = "/ngsi-ld/v1/entities";
        let answer = client.expect(StatusCode::CREATED, Method::POST, path, Some(&entity.body));
        if self.count(answer).await {
            let value = entity.value("no2").cloned().unwrap_or_default();
            self.accepted.push((entity.id().to_owned(), value));
        }
    }

    async fn read(&mut self, client: &mut Client) {
        let path = format!("/ngsi-ld/v1/entities?type={AIR_QUALITY}&q=no2%3E40&limit=20");
        let answer = client.expect(StatusCode::OK, Method::GET, &path, None);
        self.count(answer).await;
    }

    /// Whether it went well.
    async fn count<T>(&mut self, request: impl Future<Output = Result<T>>) -> bool {
        let started = Instant::now();
        let ended = request.await;
        self.requests += 1;
        self.slowest = self.slowest.max(started.elapsed());
        match ended {
            Ok(_) => true,
            Err(problem) => {
                self.failures
                    .push(format!("{} {problem}", Timestamp::now().strftime("%H:%M:%S%.3f")));
                false
            }
        }
    }

    /// Reads back everything that was accepted; an error names what is missing or different.
    pub async fn read_back(&self, broker: &Broker) -> Result<()> {
        let checks = self.accepted.iter().map(|(id, value)| async move {
            let path = format!("/ngsi-ld/v1/entities/{id}?attrs=no2");
            match broker.expect(StatusCode::OK, Method::GET, &path, None).await {
                Ok(answer) if answer.body.pointer("/no2/value") == Some(value) => None,
                Ok(answer) => Some(format!("{id}: wrote {value}, read {}", answer.body)),
                Err(problem) => Some(problem.to_string()),
            }
        });
        let wrong: Vec<String> = futures::stream::iter(checks)
            .buffer_unordered(CHECKERS)
            .filter_map(std::future::ready)
            .collect()
            .await;
        match wrong.first() {
            None => Ok(()),
            Some(first) => Err(Error::Broken(format!(
                "{} of {} accepted writes are lost; {first}",
                wrong.len(),
                self.accepted.len()
            ))),
        }
    }
}
