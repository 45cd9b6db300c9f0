//! The broker against its peer, in turn: first as many as each can, then both at half of what the slower one can.

use std::net::SocketAddr;

use super::load::{self, Load, Sample, Work};
use super::pgbench::{self, Plans, Script};
use super::postgres::{Database, Postgres};
use super::replica::Replica;
use crate::error::Error;
use crate::process::{cpu_of_ended_children, own_cpu};
use crate::report::{Report, count, median};

/// One run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure {
    /// Requests per second.
    pub per_second: f64,
    /// Latencies in milliseconds; 0 for pgbench without a rate, which logs none.
    pub p50: f64,
    /// See `p50`.
    pub p99: f64,
    /// CPU milliseconds of each request, by who takes them: the client, the broker, the database.
    pub client: f64,
    /// See `client`.
    pub broker: f64,
    /// See `client`.
    pub database: f64,
    /// Requests that were refused.
    pub refused: f64,
    /// CPU seconds per second of all of them together.
    pub cores: f64,
}

/// CPU seconds so far.
#[derive(Clone, Copy)]
struct Clocks {
    client: f64,
    broker: f64,
    database: f64,
}

impl Clocks {
    fn read(server: &Postgres, replicas: &[Replica]) -> Result<Self, Error> {
        Ok(Self {
            client: own_cpu()? + cpu_of_ended_children()?,
            broker: replicas.iter().map(Replica::cpu).sum::<Result<f64, Error>>()?,
            database: server.cpu()?,
        })
    }
}

/// Runs something and counts what it takes. Nothing else may run meanwhile.
pub fn measured(
    server: &Postgres,
    replicas: &[Replica],
    run: impl FnOnce() -> Result<Sample, Error>,
) -> Result<Measure, Error> {
    let before = Clocks::read(server, replicas)?;
    let sample = run()?;
    let after = Clocks::read(server, replicas)?;
    let each =
        |clock: fn(&Clocks) -> f64| (clock(&after) - clock(&before)) * 1000.0 / count(sample.requests.max(1));
    let (client, broker, database) = (each(|c| c.client), each(|c| c.broker), each(|c| c.database));
    Ok(Measure {
        per_second: sample.per_second(),
        p50: sample.latency(0.5),
        p99: sample.latency(0.99),
        client,
        broker,
        database,
        refused: count(sample.refused),
        cores: (client + broker + database) * sample.per_second() / 1000.0,
    })
}

/// What one side did, and how often.
#[derive(Clone, Debug, Default)]
pub struct Runs(pub Vec<Measure>);

impl Runs {
    /// The median of something of all runs.
    pub fn median(&self, of: impl Fn(&Measure) -> f64) -> f64 {
        median(&self.0.iter().map(of).collect::<Vec<_>>())
    }
}

/// Who fights whom.
pub struct Duel<'a> {
    /// The server.
    pub server: &'a Postgres,
    /// The database.
    pub database: &'a Database,
    /// The broker's replicas.
    pub replicas: &'a [Replica],
    /// Clients of the broker.
    pub clients: usize,
    /// What they ask.
    pub work: &'a Work<'a>,
    /// What pgbench does.
    pub peer: &'a [Script],
    /// How its statements are planned.
    pub plans: Plans,
    /// Its connections: as many as the broker has.
    pub connections: usize,
    /// For how long each run is.
    pub seconds: f64,
    /// How often each side runs.
    pub rounds: usize,
    /// How often each side runs without a rate.
    pub rounds_of_most: usize,
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Duelled {
    /// As many as can be.
    pub most: [Runs; 2],
    /// At half of that, of the slower side.
    pub half: [Runs; 2],
}

impl Duel<'_> {
    /// Where the replicas listen.
    #[must_use]
    pub fn at(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(Replica::api).collect()
    }

    /// One run of the broker.
    pub fn broker(&self, rate: Option<f64>) -> Result<Measure, Error> {
        let at = self.at();
        let load = Load {
            at: &at,
            clients: self.clients,
            seconds: self.seconds,
            rate,
            may_refuse: false,
        };
        measured(self.server, self.replicas, || load::run(&load, self.work))
    }

    /// One run of pgbench.
    pub fn peer(&self, rate: Option<f64>) -> Result<Measure, Error> {
        measured(self.server, self.replicas, || {
            pgbench::bench(
                self.database,
                self.peer,
                self.plans,
                self.connections,
                self.seconds,
                rate,
            )
        })
    }

    /// All of it.
    pub fn fight(&self) -> Result<Duelled, Error> {
        let mut duelled = Duelled::default();
        let Duelled {
            most: [broker, peer],
            half: [broker_at_half, peer_at_half],
        } = &mut duelled;
        // What is not in memory yet is nobody's.
        self.broker(None)?;
        self.peer(None)?;
        for _ in 0..self.rounds_of_most {
            broker.0.push(self.broker(None)?);
            peer.0.push(self.peer(None)?);
        }
        let rate = broker
            .median(|run| run.per_second)
            .min(peer.median(|run| run.per_second))
            / 2.0;
        for _ in 0..self.rounds {
            broker_at_half.0.push(self.broker(Some(rate))?);
            peer_at_half.0.push(self.peer(Some(rate))?);
        }
        Ok(duelled)
    }
}

impl Duelled {
    /// How much the broker can do, as a part of what its peer can.
    #[must_use]
    pub fn share(&self) -> f64 {
        let [broker, peer] = &self.most;
        broker.median(|run| run.per_second) / peer.median(|run| run.per_second)
    }

    /// How many times as long something of the latency is.
    pub fn times(&self, of: impl Fn(&Measure) -> f64 + Copy) -> f64 {
        let [broker, peer] = &self.half;
        broker.median(of) / peer.median(of)
    }

    /// Rows of all that has no goal. `things` is what one request is of, and how many of them.
    pub fn facts(&self, report: &mut Report, name: &str, peer_name: &str, things: (f64, &str)) {
        let (each, of) = things;
        let sides = [
            ("broker", &self.most[0], &self.half[0]),
            (peer_name, &self.most[1], &self.half[1]),
        ];
        for (side, most, half) in sides {
            for (round, run) in most.0.iter().enumerate() {
                let name = format!("{name}: {side}, round {}", round + 1);
                report.fact(name, run.per_second * each, of);
            }
            let row = |what: &str| format!("{name}: {side}, {what}");
            report.fact(row("median"), most.median(|run| run.per_second) * each, of);
            report.fact(
                row("CPU of the client"),
                most.median(|run| run.client),
                "ms/request",
            );
            if side == "broker" {
                report.fact(
                    row("CPU of the broker"),
                    most.median(|run| run.broker),
                    "ms/request",
                );
            }
            report.fact(
                row("CPU of the database"),
                most.median(|run| run.database),
                "ms/request",
            );
            report.fact(
                row("requests/s of the run for latencies"),
                half.median(|run| run.per_second),
                "/s",
            );
            report.fact(row("p50 at that rate"), half.median(|run| run.p50), "ms");
            report.fact(row("p99 at that rate"), half.median(|run| run.p99), "ms");
        }
    }
}
