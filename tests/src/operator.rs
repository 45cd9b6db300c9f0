//! An operator in this process, for one namespace, with its requests written down.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a part of tests: a failed expectation is the result"
)]

use std::sync::Arc;

use mim_operator::operator::{Fatal, Handle, Operator, Options};
use mim_operator::reconcile::probes;
use mim_operator::reconcile::remote;
use mim_operator::reconcile::request::{Journal, Observer};
use mim_operator::reconcile::watch::Scope;
use mim_operator::release::Releases;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::pace;

/// Digest of an image that does not exist; the kubelet of the tests does not pull.
#[must_use]
pub fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

/// A release of a catalogue; its images are named by a letter each.
#[must_use]
pub fn release(name: &str, postgresql: u32, broker: char, postgis: char) -> String {
    format!(
        "- name: \"{name}\"\n  postgresql: {postgresql}\n  images:\n    broker: {{repository: mim/broker, digest: \"{}\"}}\n    postgis: {{repository: mim/postgis, digest: \"{}\"}}\n",
        digest(broker),
        digest(postgis)
    )
}

/// Two releases that differ in their images only; the second is the default.
#[must_use]
pub fn catalogue() -> String {
    format!(
        "releases:\n{}{}",
        release("0.1.0", 15, 'a', 'b'),
        release("0.2.0", 15, 'c', 'd')
    )
}

/// A catalogue, as an operator is given it.
#[must_use]
pub fn releases(catalogue: &str) -> Releases {
    Releases::parse(catalogue, Some("registry.test")).expect("the catalogue of the tests")
}

/// Options for one namespace, without election.
#[must_use]
pub fn options(namespace: &str) -> Options {
    let scope = Scope::Namespaces(vec![namespace.to_owned()]);
    let identity = format!("test-{:08x}", rand::random::<u32>());
    let mut options = Options::new(scope, namespace, &identity, releases(&catalogue()));
    options.election = None;
    options.probe_period = pace::wait(probes::PERIOD);
    options.remote_period = pace::wait(remote::PERIOD);
    options
}

/// A running operator.
pub struct Running {
    /// What may be asked of it.
    pub handle: Handle,
    /// Its requests.
    pub journal: Arc<Journal>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Fatal>>,
}

/// Starts one.
#[must_use]
pub fn start(options: Options, config: kube::Config, journal: Journal) -> Running {
    let journal = Arc::new(journal);
    start_observed(options, config, Arc::clone(&journal), journal)
}

/// Starts one whose requests are seen by an observer, which is to enter them in the journal.
#[must_use]
pub fn start_observed(
    options: Options,
    config: kube::Config,
    journal: Arc<Journal>,
    observer: Arc<dyn Observer>,
) -> Running {
    let operator = Operator::new(options, config, Some(observer)).expect("an operator");
    let handle = operator.handle();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(operator.run(async move {
        let _ = stopped.await;
    }));
    Running {
        handle,
        journal,
        stop: Some(stop),
        task,
    }
}

impl Running {
    /// Ends it as SIGTERM does, and waits until it has ended.
    pub async fn stop(mut self) -> Result<(), Fatal> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        (&mut self.task).await.expect("the operator does not panic")
    }

    /// Ends it as SIGKILL does.
    pub fn kill(self) {
        self.task.abort();
    }

    /// Waits until it ends by itself, and says why.
    pub async fn end(mut self) -> Result<(), Fatal> {
        (&mut self.task).await.expect("the operator does not panic")
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
