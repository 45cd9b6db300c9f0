//! From sources to a running operator: images, charts, a namespace.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use mim_lab::Node;
use serde_json::json;

use super::cluster::Cluster;
use super::error::{Error, Result};
use super::programs::{self, checkout};
use super::rollout::rolled_out;
use super::say::Say;
use super::wait::until;

/// Where the operator is.
pub const SYSTEM: &str = "mim-system";
/// Marks a namespace that the demo made and may remove.
const MADE_BY: &str = "mim.city/made-by";
const DEMO: &str = "demo";
/// How long a namespace may take to go.
const GONE: Duration = Duration::from_mins(3);
/// How long the operator's pods may take to be ready, their image pulled.
const READY: Duration = Duration::from_mins(3);
/// Archives of images, as `mim-lab images` names them.
const ARCHIVES: [&str; 4] = ["operator.tar", "broker.tar", "postgis.tar", "mosquitto.tar"];

/// The images of this checkout.
#[derive(Clone, Debug)]
pub struct Images {
    /// Folder of the archives, `releases.yaml`, `operator.yaml` and `mosquitto.yaml`.
    pub folder: PathBuf,
    /// Cargo's profile of the programs in them.
    pub profile: String,
    /// Whether to build first what is missing or not of the present sources.
    pub build: bool,
    /// Prefix under which the cluster finds them.
    pub registry: String,
}

impl Images {
    /// Builds them, and brings them to the lab. A cluster of the user's must have them already.
    pub async fn prepare(&self, cluster: &Cluster, say: Say) -> Result<()> {
        let lab = programs::lab();
        if self.build {
            say.step("images: operator, broker, database, MQTT server");
            let arguments = ["images".as_ref(), "--out".as_ref(), self.folder.as_os_str()];
            let profile = ["--profile".as_ref(), OsStr::new(&self.profile)];
            programs::show(&lab?, &[&arguments[..], &profile].concat()).await?;
        }
        let advice = "`make images` writes it";
        for file in ["releases.yaml", "operator.yaml", "mosquitto.yaml"] {
            let path = self.folder.join(file);
            std::fs::metadata(&path).map_err(|source| Error::Read { path, source, advice })?;
        }
        if cluster.lab.is_some() {
            self.load(say).await?;
        }
        Ok(())
    }

    /// Brings the archives into the lab's node, one after another.
    async fn load(&self, say: Say) -> Result<()> {
        for name in ARCHIVES {
            let archive = self.folder.join(name);
            let work = tokio::task::spawn_blocking(move || Node::new().load(&[archive]));
            let loaded = say
                .during(&format!("{name} is on its way into the node"), work)
                .await;
            let names =
                loaded.map_err(|problem| Error::Broken(format!("{name} is not loaded: {problem}")))??;
            say.line(&format!("loaded into the node: {}", names.join(", ")));
        }
        Ok(())
    }

    fn values(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }
}

/// Makes the city's namespace, unless it is there. Its pods must pass PodSecurity `restricted`.
pub async fn namespace(cluster: &Cluster, name: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    if api.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted", MADE_BY: DEMO}},
    });
    api.patch(name, &PatchParams::apply("mim-demo"), &Patch::Apply(manifest))
        .await?;
    Ok(())
}

/// Installs the definitions and the operator, or upgrades them, and waits until it is ready.
pub async fn operator(cluster: &Cluster, images: &Images, namespaces: &[&str], say: Say) -> Result<()> {
    say.step("charts: definitions and operator");
    let chart = |name: &str| checkout().join("charts").join(name).display().to_string();
    let install = [
        "upgrade",
        "--install",
        "--namespace",
        SYSTEM,
        "--create-namespace",
    ];
    let crds = chart("mim-crds");
    // Without --wait, the next helm keeps what the API server lists too early in the cache that kubectl shares, and
    // `kubectl get mim` shows some kinds only, for hours.
    let arguments = [&install[..], &["mim-crds", &crds, "--wait"]].concat();
    let wait = "helm waits until the API server serves the definitions";
    say.during(wait, cluster.helm(&arguments)).await?;
    say.line("mim-crds is installed");
    let (operator, releases, image) = (
        chart("mim-operator"),
        images.values("releases.yaml"),
        images.values("operator.yaml"),
    );
    let registry = format!("images.registry={}", images.registry);
    let watched = format!("watchNamespaces={{{}}}", namespaces.join(","));
    let arguments = [
        "mim-operator",
        &operator,
        "--values",
        &releases,
        "--values",
        &image,
        "--set",
        &registry,
        "--set",
        &watched,
    ];
    let arguments = [&install[..], &arguments].concat();
    say.during("helm installs the operator", cluster.helm(&arguments))
        .await?;
    // Not by helm's --wait, which does not say that an image cannot be pulled.
    rolled_out(&cluster.client, SYSTEM, "mim-operator", READY, say).await?;
    say.line("mim-operator is installed and ready");
    Ok(())
}

/// Takes away what the demo made on a cluster of the user's: the operator, and the namespace with all data in it if the demo made it.
/// The definitions stay, as they do after `helm uninstall`.
pub async fn remove(cluster: &Cluster, name: &str, say: Say) -> Result<()> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let ours = |found: &Namespace| {
        let labels = found.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(MADE_BY)).map(String::as_str) == Some(DEMO)
    };
    match api.get_opt(name).await? {
        Some(found) if ours(&found) => {
            api.delete(name, &DeleteParams::default()).await?;
            gone(&api, name, say).await?;
            say.line(&format!("namespace {name} is deleted, with its data"));
        }
        Some(_) => say.line(&format!(
            "namespace {name} was not made by the demo: it is left alone"
        )),
        None => {}
    }
    for release in ["mim-operator", "mim-crds"] {
        let arguments = ["uninstall", release, "--namespace", SYSTEM, "--ignore-not-found"];
        let wait = format!("helm takes {release} away");
        say.during(&wait, cluster.helm(&arguments)).await?;
        say.line(&format!("{release} is uninstalled"));
    }
    Ok(())
}

async fn gone(api: &Api<Namespace>, name: &str, say: Say) -> Result<()> {
    let told = format!("namespace {name} is being deleted");
    until(say, &format!("namespace {name} to be gone"), GONE, || async {
        Ok((api.get_opt(name).await?.is_none(), told.clone()))
    })
    .await
}

/// A manifest of `examples/`.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    checkout().join("examples").join(name)
}

/// Applies a manifest as a person does.
pub async fn apply(cluster: &Cluster, namespace: &str, manifest: &Path) -> Result<()> {
    let path = manifest.display().to_string();
    let arguments = ["--namespace", namespace, "apply", "--server-side", "-f", &path];
    cluster.kubectl(&arguments).await.map(drop)
}

/// Applies a manifest that is made here.
pub async fn apply_text(cluster: &Cluster, namespace: &str, manifest: &str) -> Result<()> {
    let unwritten = |problem: std::io::Error| Error::Broken(format!("no temporary file: {problem}"));
    let file = tempfile::NamedTempFile::with_suffix(".yaml").map_err(unwritten)?;
    std::fs::write(file.path(), manifest).map_err(unwritten)?;
    apply(cluster, namespace, file.path()).await
}
