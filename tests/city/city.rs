//! What every test starts from: the lab with the operator and the city of `examples/city.yaml`, Ready.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use mim_crds::ContextBroker;
use mim_tests::demo::cluster::Cluster;
use mim_tests::demo::door::{Door, PORT};
use mim_tests::demo::http::Broker;
use mim_tests::demo::install::Images;
use mim_tests::demo::pods::Pods;
use mim_tests::demo::programs::checkout;
use mim_tests::demo::say::Say;
use mim_tests::demo::{self, CITY, Options, install};
use mim_tests::eventually::within;
use tokio::sync::{Mutex, MutexGuard};

/// Namespaces that the operator watches beside the city's own.
pub const EXAMPLES: &str = "city-examples";
/// How long the whole stack may take for what is waited for.
pub const PATIENCE: Duration = Duration::from_mins(4);

/// The city, to one test alone.
pub struct City {
    /// The lab.
    pub cluster: Arc<Cluster>,
    /// The NGSI-LD API, through the Service.
    pub broker: Arc<Broker>,
    /// What `mim-demo` printed when it made the city.
    pub demo: &'static str,
    _turn: MutexGuard<'static, ()>,
}

impl City {
    /// Waits for its turn; makes the city, or finds it as another test left it, and waits until it is Ready.
    pub async fn new() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        static DEMO: OnceLock<Result<String, String>> = OnceLock::new();
        let turn = TURN.lock().await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let first = DEMO.get().is_none();
        let printed = DEMO.get_or_init(run_demo).as_deref();
        let printed = printed.unwrap_or_else(|failure| panic!("{failure}"));
        let cluster = Arc::new(Cluster::running_lab().await.unwrap());
        if first {
            install::namespace(&cluster, EXAMPLES).await.unwrap();
            upgrade_operator(&cluster).await;
        }
        demo::apply_city(&cluster, CITY, Say::default()).await.unwrap();
        let door = Door::open(Arc::clone(&cluster), CITY, "city-broker", PORT, Say::default())
            .await
            .unwrap();
        Self {
            broker: Arc::new(Broker::new(door)),
            cluster,
            demo: printed,
            _turn: turn,
        }
    }

    /// The broker's pods.
    pub fn brokers(&self) -> Pods {
        Pods::broker(&self.cluster.client, CITY, CITY)
    }

    /// The database's pod.
    pub fn databases(&self) -> Pods {
        Pods::database(&self.cluster.client, CITY, CITY)
    }

    /// kubectl in the city's namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let all = [&["--namespace", CITY], arguments].concat();
        self.cluster.kubectl(&all).await.unwrap()
    }

    /// A namespace that goes with the value.
    pub async fn namespace(&self, name: &str) {
        install::namespace(&self.cluster, name).await.unwrap();
        let account = || async {
            let all = ["--namespace", name, "get", "serviceaccount", "default"];
            self.cluster.kubectl(&all).await.map(drop)
        };
        eventually("the namespace has its default account", account).await;
    }

    /// Waits until the condition Ready of a ContextBroker has this status and reason; gives its message.
    pub async fn broker_says(&self, namespace: &str, name: &str, status: &str, reason: &str) -> String {
        self.broker_tells(namespace, name, status, reason, &[]).await
    }

    /// The same, with these words in the message: a reason may have other words at first.
    pub async fn broker_tells(
        &self,
        namespace: &str,
        name: &str,
        status: &str,
        reason: &str,
        words: &[&str],
    ) -> String {
        let api: Api<ContextBroker> = Api::namespaced(self.cluster.client.clone(), namespace);
        eventually(&format!("{namespace}/{name} says {status}/{reason}"), || async {
            let found = api.get(name).await.map_err(|problem| problem.to_string())?;
            let generation = found.metadata.generation;
            let held = found.status.unwrap_or_default();
            let ready = held
                .conditions
                .into_iter()
                .find(|condition| condition.type_ == "Ready");
            match ready {
                Some(ready)
                    if held.observed_generation == generation
                        && ready.status == status
                        && ready.reason == reason
                        && words.iter().all(|word| ready.message.contains(word)) =>
                {
                    Ok(ready.message)
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Makes the operator look at a ContextBroker now: Secrets are read at each pass and never watched.
    pub async fn look_at(&self, namespace: &str, name: &str) {
        let request = format!(
            "{}=at-{:08x}",
            mim_crds::annotation::REQUESTED_AT,
            rand::random::<u32>()
        );
        let object = format!("contextbroker/{name}");
        let arguments = [
            "--namespace",
            namespace,
            "annotate",
            "--overwrite",
            &object,
            &request,
        ];
        self.cluster.kubectl(&arguments).await.unwrap();
    }

    /// Deletes a namespace and waits until it is gone.
    pub async fn remove_namespace(&self, name: &str) {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        api.delete(name, &DeleteParams::default()).await.unwrap();
        eventually("the namespace is gone", || async {
            match api.get_opt(name).await {
                Ok(None) => Ok(()),
                Ok(Some(left)) => Err(format!("{:?}", left.status)),
                Err(problem) => Err(problem.to_string()),
            }
        })
        .await;
    }
}

/// The operator, watching the namespaces of all tests.
pub async fn upgrade_operator(cluster: &Cluster) {
    install::operator(cluster, &images(), &[CITY, EXAMPLES], Say::default())
        .await
        .unwrap();
}

/// The images that all tests use.
pub fn images() -> Images {
    let given = std::env::var_os("MIM_IMAGES").map(PathBuf::from);
    let folder = given.clone().unwrap_or_else(|| checkout().join("dist/images"));
    Images {
        build: given.is_none(),
        ..Options::new(folder).images
    }
}

/// Runs the demo as `make demo` does, on a lab without a city: what it prints.
fn run_demo() -> Result<String, String> {
    let images = images();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mim-demo"));
    command.arg("--images").arg(&images.folder);
    if !images.build {
        command.arg("--as-built");
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|problem| problem.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(printed)
    } else {
        Err(format!("mim-demo ended with {}:\n{printed}", output.status))
    }
}

/// Asks until the answer is `Ok`, and gives it.
pub async fn eventually<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    ask: impl FnMut() -> F,
) -> T {
    within(what, PATIENCE, ask).await
}
