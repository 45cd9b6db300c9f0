//! The cluster that the demo runs on: the lab, or one that the user names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use mim_lab::{Binary, Node};

use super::error::{Error, Result};
use super::programs;
use super::say::Say;

/// A cluster with a client and the programs to work on it.
pub struct Cluster {
    /// An administrator's client.
    pub client: Client,
    /// The lab's node; none where the cluster is the user's.
    pub lab: Option<Node>,
    kubectl: PathBuf,
    helm: PathBuf,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

impl Cluster {
    /// Brings the lab up, unless it is, and connects to it.
    pub async fn lab(say: Say) -> Result<Self> {
        say.step("the lab: a real Kubernetes on this machine");
        programs::show(&programs::lab()?, &["up".as_ref()]).await?;
        Self::running_lab().await
    }

    /// Connects to a lab that is up.
    pub async fn running_lab() -> Result<Self> {
        let node = Node::new();
        let kubeconfig = node.kubeconfig()?;
        let binaries = mim_lab::binaries(&[Binary::Kubectl, Binary::Helm])?;
        let read = Kubeconfig::read_from(&kubeconfig)?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            lab: Some(node),
            kubectl: binaries.path(Binary::Kubectl)?.to_owned(),
            helm: binaries.path(Binary::Helm)?.to_owned(),
            kubeconfig: Some(kubeconfig),
            context: None,
        })
    }

    /// Connects to a cluster of the user's kubeconfig. kubectl and helm are the user's; where there is none, the lab's are built.
    pub async fn context(name: &str) -> Result<Self> {
        let options = KubeConfigOptions {
            context: Some(name.to_owned()),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_kubeconfig(&options).await?;
        let find = |name: &str, binary| match programs::on_path(name) {
            Some(path) => Ok(path),
            None => Ok::<_, Error>(mim_lab::binaries(&[binary])?.path(binary)?.to_owned()),
        };
        Ok(Self {
            client: Client::try_from(config)?,
            lab: None,
            kubectl: find("kubectl", Binary::Kubectl)?,
            helm: find("helm", Binary::Helm)?,
            kubeconfig: None,
            context: Some(name.to_owned()),
        })
    }

    /// Runs kubectl and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let all = self.arguments("--context", arguments);
        programs::read(&self.kubectl, &all).await
    }

    /// Runs helm and returns what it printed.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let all = self.arguments("--kube-context", arguments);
        programs::read(&self.helm, &all).await
    }

    /// kubectl with the arguments that lead to this cluster, for who wants to run it in another way.
    #[must_use]
    pub fn kubectl_command<'a>(&'a self, arguments: &'a [&'a str]) -> (&'a Path, Vec<&'a OsStr>) {
        (&self.kubectl, self.arguments("--context", arguments))
    }

    /// How a person reaches this cluster with kubectl.
    #[must_use]
    pub fn kubectl_words(&self) -> String {
        match &self.context {
            Some(context) => format!("kubectl --context {context}"),
            None => "kubectl".to_owned(),
        }
    }

    fn arguments<'a>(&'a self, context: &'static str, given: &'a [&'a str]) -> Vec<&'a OsStr> {
        let mut all: Vec<&OsStr> = Vec::new();
        if let Some(kubeconfig) = &self.kubeconfig {
            all.extend(["--kubeconfig".as_ref(), kubeconfig.as_os_str()]);
        }
        if let Some(name) = &self.context {
            all.extend([context.as_ref(), name.as_ref()] as [&OsStr; 2]);
        }
        all.extend(given.iter().map(OsStr::new));
        all
    }
}
