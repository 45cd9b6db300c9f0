//! The operator alone, while nothing happens: memory, start, silence, and a resync that changes nothing. The API server writes an audit
//! log meanwhile, so everything is counted on both sides.

use std::path::Path;
use std::time::Duration;

use super::audit::{Answered, Since};
use super::brokers::{self, Follower};
use super::kubelet::Kubelet;
use super::rig::Rig;
use super::rounds::limit;
use super::subject::{Counts, Subject};
use crate::bare::Bare;
use crate::error::Error;
use crate::process::{Memory, wait_until};

/// Objects that exist when the time to start is measured.
pub const AT_START: usize = 100;
/// Before memory is read or silence begins.
const REST: Duration = Duration::from_secs(10);
/// How often a start is measured.
const STARTS: usize = 5;

/// What one process was seen to send, by itself and by the API server.
#[derive(Clone, Debug)]
pub struct TwoCounts {
    /// By the operator.
    pub operator: Counts,
    /// By the API server.
    pub api_server: Answered,
}

impl TwoCounts {
    /// Requests that one of the two has missed.
    #[must_use]
    pub fn difference(&self) -> u32 {
        self.operator
            .without_lease()
            .abs_diff(self.api_server.without_lease)
            + self.operator.changes().abs_diff(self.api_server.changes)
    }
}

/// What was found.
pub struct Steady {
    /// With one object.
    pub with_one: Memory,
    /// Seconds from start to all watches ready, with [`AT_START`] objects.
    pub starts: Vec<f64>,
    /// Seconds from start to the lease, with as many.
    pub leads: Vec<f64>,
    /// A new process that found all objects there.
    pub restarted: Memory,
    /// Seconds from start to all watches ready, with all objects.
    pub start_with_all: f64,
    /// Of the process that made all but the first objects.
    pub made: TwoCounts,
    /// Of the process that was started with all objects, from its start.
    pub found: TwoCounts,
    /// Requests besides watches and lease while idle, by the operator.
    pub idle_operator: u32,
    /// The same by the API server.
    pub idle_api_server: u32,
    /// CPU seconds while idle.
    pub idle_cpu: f64,
    /// Changes after a forced resync of all, by the operator.
    pub resync_operator: u32,
    /// The same by the API server.
    pub resync_api_server: u32,
    /// CPU seconds of that resync.
    pub resync_cpu: f64,
    /// Memory at the end of all.
    pub at_the_end: Memory,
}

struct Scene {
    rig: Rig,
    bare: Bare,
    kubelet: Kubelet,
    follower: Follower,
    objects: usize,
}

impl Scene {
    async fn start() -> Result<Self, Error> {
        let rig = Rig::start(true).await?;
        Ok(Self {
            bare: rig.bare().await?,
            kubelet: Kubelet::start(rig.client.clone(), rig.bare().await?),
            follower: Follower::start(rig.client.clone()),
            objects: 0,
            rig,
        })
    }

    /// Makes objects until there are so many, and waits until all are Ready.
    async fn grow_to(&mut self, objects: usize) -> Result<(), Error> {
        let names = brokers::names("city", self.objects..objects);
        brokers::create(&self.bare, &names, None).await?;
        self.follower.ready(&names, limit(objects)).await?;
        self.objects = self.objects.max(objects);
        self.kubelet.settled(self.objects, limit(objects)).await
    }
}

/// Measures it, with so many objects and so much silence.
pub async fn measure(program: &Path, objects: usize, idle: Duration) -> Result<Steady, Error> {
    let mut scene = Scene::start().await?;
    let with_one = with_one(program, &mut scene).await?;

    let mut subject = Subject::start(program, &scene.rig, "grow").await?;
    subject.leading().await?;
    scene.grow_to(AT_START.min(objects)).await?;
    subject.stop().await?;
    let (starts, leads) = starts(program, &scene).await?;

    let since = Since::now(&scene.rig)?;
    let mut subject = Subject::start(program, &scene.rig, "made").await?;
    subject.leading().await?;
    scene.grow_to(objects).await?;
    let made = counted(&subject, &since).await?;
    subject.stop().await?;

    let since = Since::now(&scene.rig)?;
    let mut subject = Subject::start(program, &scene.rig, "found").await?;
    let start_with_all = subject.watching().await?.as_secs_f64();
    subject.leading().await?;
    quiet(&subject, u32::try_from(objects).unwrap_or(u32::MAX)).await?;
    tokio::time::sleep(REST).await;
    let restarted = subject.memory()?;
    let found = counted(&subject, &since).await?;

    let (idle_requests, idle_cpu) = during(&scene, &subject, async || {
        tokio::time::sleep(idle).await;
        Ok(())
    })
    .await?;
    let (resync, resync_cpu) = during(&scene, &subject, async || {
        let before = subject.passes().await?;
        subject.resync()?;
        quiet(&subject, before + u32::try_from(objects).unwrap_or(u32::MAX)).await
    })
    .await?;
    let steady = Steady {
        with_one,
        starts,
        leads,
        restarted,
        start_with_all,
        made,
        found,
        idle_operator: idle_requests.0.besides,
        idle_api_server: idle_requests.1.besides_watches_and_lease,
        idle_cpu,
        resync_operator: resync.0.changes,
        resync_api_server: resync.1.changes,
        resync_cpu,
        at_the_end: subject.memory()?,
    };
    subject.stop().await?;
    scene.rig.plane.stop().await?;
    Ok(steady)
}

async fn with_one(program: &Path, scene: &mut Scene) -> Result<Memory, Error> {
    let mut subject = Subject::start(program, &scene.rig, "one").await?;
    subject.leading().await?;
    scene.grow_to(1).await?;
    tokio::time::sleep(REST).await;
    let memory = subject.memory()?;
    subject.stop().await?;
    Ok(memory)
}

async fn starts(program: &Path, scene: &Scene) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let (mut starts, mut leads) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let mut subject = Subject::start(program, &scene.rig, "start").await?;
        starts.push(subject.watching().await?.as_secs_f64());
        leads.push(subject.leading().await?.as_secs_f64());
        subject.stop().await?;
    }
    Ok((starts, leads))
}

/// Waits until so many passes have ended and no more follow.
async fn quiet(subject: &Subject, passes: u32) -> Result<(), Error> {
    let mut last = 0;
    wait_until("the end of all passes", Duration::from_mins(2), async || {
        let now = subject.passes().await?;
        let is_over = now >= passes && now == last;
        last = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(is_over.then_some(()).ok_or_else(|| format!("{now} of {passes}")))
    })
    .await
}

/// Both counts of a process since its start, when it has come to rest: its own first, so that the other can only be larger.
async fn counted(subject: &Subject, since: &Since) -> Result<TwoCounts, Error> {
    tokio::time::sleep(REST).await;
    Ok(TwoCounts {
        operator: subject.counts().await?,
        api_server: since.answered()?,
    })
}

struct Own {
    changes: u32,
    besides: u32,
}

/// What both sides counted while something happened, and the CPU seconds it took.
async fn during(
    scene: &Scene,
    subject: &Subject,
    what: impl AsyncFnOnce() -> Result<(), Error>,
) -> Result<((Own, Answered), f64), Error> {
    let since = Since::now(&scene.rig)?;
    let (before, cpu) = (subject.counts().await?, subject.cpu()?);
    what().await?;
    let (after, cpu) = (subject.counts().await?, subject.cpu()? - cpu);
    let own = Own {
        changes: after.changes() - before.changes(),
        besides: after.besides_watches_and_lease() - before.besides_watches_and_lease(),
    };
    Ok(((own, since.answered()?), cpu))
}
