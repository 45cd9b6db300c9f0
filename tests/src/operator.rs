//! An operator in this process, for one namespace, with its requests written down.

use std::sync::Arc;
use std::time::Duration;

use mim_operator::operator::{Fatal, Handle, Operator, Options};
use mim_operator::reconcile::request::Journal;
use mim_operator::reconcile::watch::Scope;
use mim_operator::release::Releases;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Digest of an image that does not exist; the kubelet of the tests does not pull.
#[must_use]
pub fn digest(of: char) -> String {
    format!("sha256:{}", of.to_string().repeat(64))
}

/// Two releases that differ in their images only; the second is the default.
#[must_use]
pub fn catalogue() -> String {
    let release = |name: &str, broker: char, postgis: char| {
        format!(
            "- name: \"{name}\"\n  postgresql: 15\n  images:\n    broker: {{repository: mim/broker, digest: \"{}\"}}\n    postgis: {{repository: mim/postgis, digest: \"{}\"}}\n",
            digest(broker),
            digest(postgis)
        )
    };
    format!(
        "releases:\n{}{}",
        release("0.1.0", 'a', 'b'),
        release("0.2.0", 'c', 'd')
    )
}

/// Options for one namespace, without election.
#[must_use]
pub fn options(namespace: &str) -> Options {
    let releases = Releases::parse(&catalogue(), Some("registry.test")).expect("the catalogue of the tests");
    let scope = Scope::Namespaces(vec![namespace.to_owned()]);
    let mut options = Options::new(
        scope,
        namespace,
        &format!("test-{:08x}", rand::random::<u32>()),
        releases,
    );
    options.election = None;
    options.probe_period = Duration::from_secs(1);
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
    let operator = Operator::new(options, config, Some(Arc::clone(&journal) as _)).expect("an operator");
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
