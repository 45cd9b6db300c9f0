//! Where both sides are measured: a control plane of etcd and kube-apiserver alone, fresh for every run.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use mim_lab::{Audit, ControlPlane, Options};
use serde_json::json;

use crate::bare::Bare;
use crate::error::Error;
use crate::process::wait_until;

/// The namespace of all objects; the same in every run, so that nothing but names of objects differs.
pub const NAMESPACE: &str = "bench";

/// Prefix of images that nobody pulls.
pub const REGISTRY: &str = "registry.example";

/// The catalogue: one release, whose images nobody pulls.
#[must_use]
pub fn catalogue() -> String {
    let digest = |of: &str| format!("sha256:{}", of.repeat(64));
    format!(
        "releases:\n- name: \"0.1.0\"\n  postgresql: 15\n  images:\n    broker: {{repository: mim/broker, digest: \"{}\"}}\n    postgis: {{repository: mim/postgis, digest: \"{}\"}}\n",
        digest("a"),
        digest("b")
    )
}

/// A running control plane with our definitions and a namespace.
pub struct Rig {
    /// The processes.
    pub plane: ControlPlane,
    /// A client of the administrator.
    pub client: Client,
}

impl Rig {
    /// Starts one. With `audit` the API server writes down every request, which costs it time: not for runs that are timed.
    pub async fn start(audit: bool) -> Result<Self, Error> {
        // A second call finds the provider of the first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let plane = ControlPlane::start(Options {
            audit: audit.then_some(Audit::Metadata),
            // One file, whatever its length.
            api_server_args: audit
                .then(|| "--audit-log-maxsize=4000".to_owned())
                .into_iter()
                .collect(),
            ..Options::default()
        })
        .await?;
        let client = plane.client().await?;
        let rig = Self { plane, client };
        rig.install_definitions().await?;
        rig.make_namespace().await?;
        let releases = rig.releases();
        std::fs::write(&releases, catalogue()).map_err(Error::file(&releases))?;
        Ok(rig)
    }

    /// The catalogue's file.
    #[must_use]
    pub fn releases(&self) -> PathBuf {
        self.plane.folder().join("releases.yaml")
    }

    /// A client that does nothing but send, with connections of its own.
    pub async fn bare(&self) -> Result<Bare, Error> {
        Ok(Bare::new(self.plane.client().await?))
    }

    async fn install_definitions(&self) -> Result<(), Error> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in mim_crds::all() {
            let name = crd.name_any();
            api.patch(&name, &PatchParams::apply("bench").force(), &Patch::Apply(&crd))
                .await?;
            wait_until("an established definition", Duration::from_mins(1), async || {
                let held = api.get(&name).await?;
                let conditions = held
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                let established = conditions
                    .iter()
                    .any(|condition| condition.type_ == "Established" && condition.status == "True");
                Ok(established.then_some(()).ok_or_else(|| name.clone()))
            })
            .await?;
        }
        Ok(())
    }

    async fn make_namespace(&self) -> Result<(), Error> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        Bare::new(self.client.clone())
            .create("/api/v1/namespaces", &namespace)
            .await
            .map(drop)
    }
}
