//! The operator as a city's cluster runs it: the release binary, a process of its own, asked over `/metrics` and `/readyz`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::Command;

use super::rig::{NAMESPACE, REGISTRY, Rig};
use crate::error::Error;
use crate::process::{Measured, Memory, free_address, get, wait_until};

/// How long it may take until it is ready and leads.
const START: Duration = Duration::from_mins(1);

/// What the operator has counted, by verb, resource and purpose.
#[derive(Clone, Debug, Default)]
pub struct Counts(Vec<Count>);

#[derive(Clone, Debug, PartialEq)]
struct Count {
    verb: String,
    resource: String,
    purpose: String,
    requests: u32,
}

impl Counts {
    /// From the text of `/metrics`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let of_line = |line: &str| {
            let (labels, requests) = line.strip_prefix("mim_requests_total{")?.split_once("} ")?;
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                Some(rest.split_once('"')?.0.to_owned())
            };
            Some(Count {
                verb: label("verb")?,
                resource: label("resource")?,
                purpose: label("purpose")?,
                requests: requests.trim().parse().ok()?,
            })
        };
        Self(text.lines().filter_map(of_line).collect())
    }

    fn sum(&self, wanted: impl Fn(&Count) -> bool) -> u32 {
        self.0
            .iter()
            .filter(|count| wanted(count))
            .map(|count| count.requests)
            .sum()
    }

    /// Changes, without events and the lease.
    #[must_use]
    pub fn changes(&self) -> u32 {
        self.sum(|count| is_change(&count.verb) && !matches!(&*count.purpose, "Event" | "Lease"))
    }

    /// Events.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.sum(|count| count.purpose == "Event")
    }

    /// Single objects that were read, but for the lease.
    #[must_use]
    pub fn reads(&self) -> u32 {
        self.sum(|count| count.verb == "get" && !matches!(&*count.purpose, "Lease" | "Discovery"))
    }

    /// All but the lease; a watch counts when it is opened.
    #[must_use]
    pub fn without_lease(&self) -> u32 {
        self.sum(|count| count.purpose != "Lease")
    }

    /// All but the lease and watches with their lists.
    #[must_use]
    pub fn besides_watches_and_lease(&self) -> u32 {
        self.sum(|count| !matches!(&*count.purpose, "Lease" | "Watch"))
    }
}

/// Whether a verb of the operator's metrics changes anything.
fn is_change(verb: &str) -> bool {
    !matches!(verb, "get" | "list" | "watch")
}

/// A running operator.
pub struct Subject {
    process: Measured,
    metrics: SocketAddr,
    health: SocketAddr,
    started: Instant,
}

impl Subject {
    /// Starts it on that control plane, with an election, as an administrator.
    pub async fn start(program: &Path, rig: &Rig, run: &str) -> Result<Self, Error> {
        let (metrics, health) = (free_address().await?, free_address().await?);
        let log: PathBuf =
            std::env::temp_dir().join(format!("mim-bench-operator-{}-{run}.log", std::process::id()));
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", rig.plane.kubeconfig())
            .args([
                "--mode",
                "namespaced",
                "--watch-namespaces",
                NAMESPACE,
                "--namespace",
                NAMESPACE,
            ])
            .args([
                "--leader-election",
                "true",
                "--image-registry",
                REGISTRY,
                "--releases",
            ])
            .arg(rig.releases())
            .args([
                "--metrics-listen",
                &metrics.to_string(),
                "--health-listen",
                &health.to_string(),
            ]);
        let started = Instant::now();
        let process = Measured::start(&mut command, &log)?;
        Ok(Self {
            process,
            metrics,
            health,
            started,
        })
    }

    /// Waits until all watches have their first list, and says how long that took since the start of the process.
    pub async fn watching(&mut self) -> Result<Duration, Error> {
        let health = self.health;
        let process = &mut self.process;
        wait_until("readiness of the operator", START, async || {
            process.check()?;
            Ok(match get(health, "/readyz").await {
                Ok((200, text)) if text == "ready\n" => Ok(()),
                Ok((_, text)) => Err(text),
                Err(problem) => Err(problem.to_string()),
            })
        })
        .await?;
        Ok(self.started.elapsed())
    }

    /// Waits until it leads, and says how long that took since the start of the process.
    pub async fn leading(&mut self) -> Result<Duration, Error> {
        self.watching().await?;
        wait_until("the lease", START, async || {
            let text = self.metrics_text().await?;
            Ok(text
                .lines()
                .any(|line| line == "mim_leader 1")
                .then_some(())
                .ok_or_else(|| "it does not lead".to_owned()))
        })
        .await?;
        Ok(self.started.elapsed())
    }

    async fn metrics_text(&self) -> Result<String, Error> {
        match get(self.metrics, "/metrics").await {
            Ok((200, text)) => Ok(text),
            Ok((status, _)) => Err(self.process.trouble(&format!("/metrics answers {status}"))),
            Err(problem) => Err(self.process.trouble(&format!("/metrics: {problem}"))),
        }
    }

    /// What it has counted so far.
    pub async fn counts(&self) -> Result<Counts, Error> {
        Ok(Counts::parse(&self.metrics_text().await?))
    }

    /// Passes over ContextBrokers that have ended so far.
    pub async fn passes(&self) -> Result<u32, Error> {
        let text = self.metrics_text().await?;
        let of_line = |line: &str| -> Option<u32> {
            let rest = line.strip_prefix("mim_passes_total{kind=\"ContextBroker\"")?;
            rest.rsplit_once(' ')?.1.trim().parse().ok()
        };
        Ok(text.lines().filter_map(of_line).sum())
    }

    /// Memory now.
    pub fn memory(&self) -> Result<Memory, Error> {
        self.process.memory()
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> Result<f64, Error> {
        self.process.cpu()
    }

    /// Asks it to look at every object again.
    pub fn resync(&self) -> Result<(), Error> {
        self.process.signal(Signal::HUP)
    }

    /// Ends it.
    pub async fn stop(self) -> Result<(), Error> {
        self.process.stop().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_are_for() {
        let counts = Counts::parse(
            "# TYPE mim_requests counter\n\
             mim_requests_total{verb=\"apply\",resource=\"apps/deployments\",purpose=\"Apply\",code=\"200\"} 3\n\
             mim_requests_total{verb=\"apply\",resource=\"x/status\",purpose=\"Status\",code=\"409\"} 2\n\
             mim_requests_total{verb=\"create\",resource=\"events.k8s.io/events\",purpose=\"Event\",code=\"201\"} 5\n\
             mim_requests_total{verb=\"get\",resource=\"secrets\",purpose=\"Secret\",code=\"404\"} 7\n\
             mim_requests_total{verb=\"get\",resource=\"/version\",purpose=\"Discovery\",code=\"200\"} 1\n\
             mim_requests_total{verb=\"update\",resource=\"coordination.k8s.io/leases\",purpose=\"Lease\",code=\"200\"} 11\n\
             mim_requests_total{verb=\"watch\",resource=\"pods\",purpose=\"Watch\",code=\"200\"} 13\n\
             mim_passes_total{kind=\"ContextBroker\",outcome=\"ok\"} 4\n",
        );
        assert_eq!((counts.changes(), counts.events(), counts.reads()), (5, 5, 7));
        assert_eq!(
            (counts.without_lease(), counts.besides_watches_and_lease()),
            (31, 18)
        );
    }
}
