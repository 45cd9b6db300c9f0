//! The election: reads and writes the lease, moves the clock.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{ApiResource, ObjectMeta};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::LeaseClock;
use super::decide::{Decision, Seen, Timing, next, released};
use crate::metrics::Metrics;
use crate::reconcile::client::Requests;
use crate::reconcile::request::Purpose;

/// Name of the lease in the operator's own namespace, unless told otherwise.
pub const LEASE_NAME: &str = "mim-operator";

/// How long giving the lease back may take. Longer, and the next one takes it by expiry.
pub const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// How long a try that is under way when the process is told to stop may still take. Given up, it could leave a lease that
/// is held by nobody alive.
const GRACE: Duration = Duration::from_secs(1);

/// What an election needs to know.
#[derive(Clone)]
pub struct Election {
    /// The way to the API server.
    pub requests: Requests,
    /// The operator's own namespace.
    pub namespace: String,
    /// Name of the lease in it: the same for all that may take each other's place, and for nobody else.
    pub lease: String,
    /// Who this process is: unique for every start of a process, or two could believe that they hold the same lease.
    pub identity: String,
    /// The times.
    pub timing: Timing,
    /// What the request layer reads.
    pub clock: LeaseClock,
    /// Where `mim_leader` is.
    pub metrics: Metrics,
    /// The time that people read in the lease.
    pub wall: fn() -> Timestamp,
    /// Jitter in `0.0..1.0`.
    pub jitter: fn() -> f64,
}

/// Why the lease is no longer held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was given back, because the process was told to stop.
    Released,
    /// It could not be renewed in time.
    NotRenewed,
    /// Somebody else holds it, although its time was not over: it was edited or deleted.
    TakenBy(String),
}

/// A process that would lead. It waits; its watches and stores are warm meanwhile.
pub struct Candidate {
    election: Election,
    seen: Option<(Lease, Seen)>,
}

/// The process that leads.
#[must_use = "a lease that is not kept is lost"]
pub struct Leader {
    candidate: Candidate,
}

/// How one try ended.
enum Standing {
    Leads,
    Waits { holder: String },
}

impl Election {
    /// Becomes a candidate.
    #[must_use]
    pub const fn stand(self) -> Candidate {
        Candidate {
            election: self,
            seen: None,
        }
    }
}

impl Candidate {
    /// Waits until this process leads; `None` when `stop` came first. An API server that is away is waited for, too.
    pub async fn elect(mut self, stop: impl Future<Output = ()>) -> Option<Leader> {
        let mut stop = std::pin::pin!(stop);
        let mut known_holder = None;
        loop {
            let tried = tokio::select! {
                tried = self.attempt() => Some(tried),
                () = &mut stop => None,
            };
            match tried {
                None => {
                    // Whether the try that was dropped has reached the server is not known: give back what it may have taken.
                    let _ = tokio::time::timeout(GRACE, self.release()).await;
                    return None;
                }
                Some(Ok(Standing::Leads)) => {
                    info!(identity = self.election.identity, "this operator leads");
                    self.election.metrics.set_leader(true);
                    return Some(Leader { candidate: self });
                }
                Some(Ok(Standing::Waits { holder })) => {
                    if known_holder.as_ref() != Some(&holder) {
                        info!(holder, "another operator leads; this one is a warm standby");
                        known_holder = Some(holder);
                    }
                }
                Some(Err(error)) => report(&self.election, &error),
            }
            let wait = self.election.timing.wait((self.election.jitter)());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = &mut stop => return None,
            }
        }
    }

    /// One try, bounded in time.
    async fn attempt(&mut self) -> Result<Standing, AttemptError> {
        let limit = self.election.timing.attempt();
        if let Ok(tried) = tokio::time::timeout(limit, self.try_twice()).await {
            return Ok(tried?);
        }
        // It may have been done without an answer, and the version known here be an old one.
        self.forget_mine();
        Err(AttemptError::Slow(limit))
    }

    /// A renewal over an old version (an answer was lost, somebody added a label) is tried again at once with the new one: the
    /// deadline leaves no time for another wait.
    async fn try_twice(&mut self) -> Result<Standing, kube::Error> {
        let renews = self.is_mine();
        match self.take_or_renew().await {
            Err(kube::Error::Api(status)) if renews && matches!(status.code, 404 | 409) => {
                self.take_or_renew().await
            }
            tried => tried,
        }
    }

    fn is_mine(&self) -> bool {
        let holder = self
            .seen
            .as_ref()
            .and_then(|(_, seen)| seen.spec.holder_identity.as_deref());
        holder == Some(self.election.identity.as_str())
    }

    /// Makes the next try read first. What others wrote is kept, since the time it has not changed counts.
    fn forget_mine(&mut self) {
        if self.is_mine() {
            self.seen = None;
        }
    }

    async fn take_or_renew(&mut self) -> Result<Standing, kube::Error> {
        // While it is ours, nobody else may write it: the read is saved, and the resource version says if that was wrong.
        if !self.is_mine() {
            self.read().await?;
        }
        // Before the request is sent: others count from when they see it, which is later.
        let sent = Instant::now();
        let election = &self.election;
        let seen = self.seen.as_ref().map(|(_, seen)| seen);
        let spec = match next(
            &election.identity,
            &election.timing,
            seen,
            sent,
            (election.wall)(),
        ) {
            Decision::Take(spec) | Decision::Renew(spec) => spec,
            Decision::Wait { holder } => return Ok(Standing::Waits { holder }),
        };
        self.write(spec).await?;
        self.election.clock.extend(sent + self.election.timing.renew());
        Ok(Standing::Leads)
    }

    /// Reads the lease. The clock of an unchanged spec runs on.
    async fn read(&mut self) -> Result<(), kube::Error> {
        let Election {
            requests,
            namespace,
            lease: name,
            ..
        } = &self.election;
        let found: Option<Lease> = requests.get(&leases(), namespace, name, Purpose::Lease).await?;
        self.seen = found.map(|lease| {
            let spec = lease.spec.clone().unwrap_or_default();
            let since = self
                .seen
                .as_ref()
                .filter(|(_, seen)| seen.spec == spec)
                .map(|(_, seen)| seen.since);
            let seen = Seen {
                spec,
                since: since.unwrap_or_else(Instant::now),
            };
            (lease, seen)
        });
        Ok(())
    }

    /// Writes the lease as a new object, or over exactly the version that was read, so that of two who try one fails.
    async fn write(&mut self, spec: LeaseSpec) -> Result<(), kube::Error> {
        let Election {
            requests,
            namespace,
            lease: name,
            ..
        } = &self.election;
        let written: Result<Lease, kube::Error> = if let Some((lease, _)) = &self.seen {
            let lease = Lease {
                spec: Some(spec),
                ..lease.clone()
            };
            requests
                .update(&leases(), namespace, name, &lease, Purpose::Lease)
                .await
        } else {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease {
                metadata,
                spec: Some(spec),
            };
            requests
                .create(&leases(), namespace, &lease, Purpose::Lease)
                .await
        };
        match written {
            Ok(lease) => {
                let spec = lease.spec.clone().unwrap_or_default();
                self.seen = Some((
                    lease,
                    Seen {
                        spec,
                        since: Instant::now(),
                    },
                ));
                Ok(())
            }
            Err(error) => {
                // Changed or deleted by somebody, or done without an answer.
                self.forget_mine();
                Err(error)
            }
        }
    }

    /// Gives the lease back if it is ours.
    async fn release(&mut self) -> Result<(), kube::Error> {
        self.election.clock.expire();
        self.election.metrics.set_leader(false);
        self.read().await?;
        let Some((_, seen)) = &self.seen else {
            return Ok(());
        };
        if !self.is_mine() {
            return Ok(());
        }
        self.write(released(&seen.spec, (self.election.wall)())).await
    }
}

impl Leader {
    /// Keeps the lease until it is lost, or until `stop`: then it is given back. `stop` must resolve only when nothing
    /// acts any more, since the next operator starts at once.
    ///
    /// On loss the clock has expired before this returns, so no change is sent any more; the process should end.
    pub async fn keep(mut self, stop: impl Future<Output = ()>) -> Ended {
        let ended = self.renew_until(stop).await;
        let election = &self.candidate.election;
        match &ended {
            Ended::Released => match tokio::time::timeout(RELEASE_LIMIT, self.candidate.release()).await {
                Ok(Ok(())) => info!("the lease is given back"),
                Ok(Err(error)) => warn!(%error, "the lease could not be given back; it expires by itself"),
                Err(_) => warn!("the lease could not be given back in time; it expires by itself"),
            },
            Ended::NotRenewed => error!(
                deadline = ?election.timing.renew(),
                "the lease could not be renewed in time: this operator stops, another one may lead"
            ),
            Ended::TakenBy(holder) => {
                error!(holder, "another operator holds the lease: this one stops");
            }
        }
        self.candidate.election.clock.expire();
        self.candidate.election.metrics.set_leader(false);
        ended
    }

    async fn renew_until(&mut self, stop: impl Future<Output = ()>) -> Ended {
        let clock = self.candidate.election.clock.clone();
        let retry = self.candidate.election.timing.retry();
        let mut stop = std::pin::pin!(stop);
        let mut expired = std::pin::pin!(clock.expired());
        loop {
            tokio::select! {
                () = &mut expired => return Ended::NotRenewed,
                () = &mut stop => return Ended::Released,
                () = tokio::time::sleep(retry) => {}
            }
            let tried = tokio::select! {
                () = &mut expired => return Ended::NotRenewed,
                () = &mut stop => return Ended::Released,
                tried = self.candidate.attempt() => tried,
            };
            match tried {
                Ok(Standing::Leads) => {}
                Ok(Standing::Waits { holder }) => return Ended::TakenBy(holder),
                Err(error) => report(&self.candidate.election, &error),
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("no answer within {0:?}")]
    Slow(Duration),
}

/// A try that failed is tried again; what no retry heals is said loudly.
fn report(election: &Election, failure: &AttemptError) {
    match failure {
        AttemptError::Api(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => error!(
            namespace = election.namespace,
            lease = election.lease,
            error = status.message,
            "the lease may not be read or written; the Role must allow get, create and update of leases \
             (coordination.k8s.io) in this namespace"
        ),
        // Another candidate was faster.
        AttemptError::Api(kube::Error::Api(status)) if status.code == 409 => {
            info!("the lease changed meanwhile; trying again");
        }
        _ => warn!(error = %failure, "the lease could not be read or written; trying again"),
    }
}

fn leases() -> ApiResource {
    ApiResource::erase::<Lease>(&())
}
