//! The race: the operator and the bare client, each on a control plane of its own, one after the other, so many times.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::brokers::{self, Follower};
use super::kubelet::Kubelet;
use super::recording::Sequence;
use super::replay::replay;
use super::rig::Rig;
use super::subject::{Counts, Subject};
use crate::error::Error;
use crate::process::{Memory, cpu_of};
use crate::report::count;

/// After the last object is Ready: time for events and for the allocator, before memory is read.
const REST: Duration = Duration::from_secs(10);

/// One run of the operator.
pub struct OperatorRun {
    /// From the first create until all are Ready.
    pub seconds: f64,
    /// From the create of an object until it is Ready, for each.
    pub each: Vec<f64>,
    /// CPU seconds of the operator in that time.
    pub cpu: f64,
    /// CPU seconds of the API server in that time.
    pub api_server_cpu: f64,
    /// Memory after it.
    pub memory: Memory,
    /// Requests of the operator.
    pub counts: Counts,
}

/// One run of the bare client.
pub struct BareRun {
    /// From the first create until all are Ready and every child has its status.
    pub seconds: f64,
    /// From the first create until the client has its last answer.
    pub client_seconds: f64,
    /// CPU seconds of the API server in that time.
    pub api_server_cpu: f64,
}

/// How long a run may take before it is given up.
#[must_use]
pub fn limit(objects: usize) -> Duration {
    Duration::from_mins(2) + Duration::from_millis(500) * u32::try_from(objects).unwrap_or(u32::MAX)
}

/// The operator, with `objects` new objects.
pub async fn operator(program: &Path, objects: usize) -> Result<OperatorRun, Error> {
    let rig = Rig::start(false).await?;
    let bare = rig.bare().await?;
    let kubelet = Kubelet::start(rig.client.clone(), rig.bare().await?);
    let follower = Follower::start(rig.client.clone());
    let mut subject = Subject::start(program, &rig, "race").await?;
    subject.leading().await?;
    let names = brokers::names("city", 0..objects);
    let (cpu, server_cpu) = (subject.cpu()?, api_server_cpu(&rig)?);
    let started = Instant::now();
    let begun = brokers::create(&bare, &names, None).await?;
    let ready = follower.ready(&names, limit(objects)).await?;
    kubelet.settled(objects, limit(objects)).await?;
    let seconds = started.elapsed().as_secs_f64();
    let (cpu, server_cpu) = (subject.cpu()? - cpu, api_server_cpu(&rig)? - server_cpu);
    tokio::time::sleep(REST).await;
    let run = OperatorRun {
        seconds,
        each: each(&begun, &ready),
        cpu,
        api_server_cpu: server_cpu,
        memory: subject.memory()?,
        counts: subject.counts().await?,
    };
    subject.stop().await?;
    rig.plane.stop().await?;
    Ok(run)
}

/// The bare client, with `objects` new objects, `concurrency` at a time.
pub async fn bare(
    sequences: &Arc<Vec<Sequence>>,
    objects: usize,
    concurrency: usize,
) -> Result<BareRun, Error> {
    let rig = Rig::start(false).await?;
    let bare = rig.bare().await?;
    let kubelet = Kubelet::start(rig.client.clone(), rig.bare().await?);
    let follower = Follower::start(rig.client.clone());
    let names = brokers::names("city", 0..objects);
    let server_cpu = api_server_cpu(&rig)?;
    let (sender, made) = mpsc::unbounded_channel();
    let started = Instant::now();
    let sent = async {
        replay(&bare, Arc::clone(sequences), made, concurrency).await?;
        Ok::<f64, Error>(started.elapsed().as_secs_f64())
    };
    let (_, client_seconds) = futures::try_join!(brokers::create(&bare, &names, Some(sender)), sent)?;
    follower.ready(&names, limit(objects)).await?;
    kubelet.settled(objects, limit(objects)).await?;
    let run = BareRun {
        seconds: started.elapsed().as_secs_f64(),
        client_seconds,
        api_server_cpu: api_server_cpu(&rig)? - server_cpu,
    };
    rig.plane.stop().await?;
    Ok(run)
}

fn api_server_cpu(rig: &Rig) -> Result<f64, Error> {
    rig.plane.api_server_pid().map_or(Ok(0.0), cpu_of)
}

fn each(begun: &brokers::Begun, ready: &BTreeMap<String, Instant>) -> Vec<f64> {
    begun
        .iter()
        .filter_map(|(name, begun)| Some(ready.get(name)?.duration_since(*begun).as_secs_f64()))
        .collect()
}

/// A number of requests per object.
#[must_use]
pub fn per_object(requests: u32, objects: usize) -> f64 {
    f64::from(requests) / count(objects.max(1))
}
