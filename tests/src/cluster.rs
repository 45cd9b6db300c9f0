//! One control plane per test binary, and a namespace per test.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a part of tests: a failed expectation is the result"
)]

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use mim_lab::{ControlPlane, Options};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::eventually::eventually;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// A control plane with our definitions.
pub struct Cluster {
    /// The processes.
    pub plane: ControlPlane,
}

/// The cluster of this test binary.
pub async fn cluster() -> &'static Cluster {
    CLUSTER
        .get_or_init(|| {
            start(Options {
                controller_manager: true,
                ..Options::default()
            })
        })
        .await
}

/// A cluster of one's own, for tests that stop or slow it.
pub async fn start(mut options: Options) -> Cluster {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let with_controllers = std::mem::take(&mut options.controller_manager);
    let plane = ControlPlane::start(options)
        .await
        .expect("a control plane of the lab");
    let mut cluster = Cluster { plane };
    cluster.install_definitions().await;
    // Only now: garbage collection that does not know a kind looks for it every 30 s, and comes back to what it could not collect when as much time as before has
    // passed again. A test of the first minute would wait for that.
    if with_controllers {
        cluster
            .plane
            .start_controller_manager()
            .await
            .expect("controllers of the lab");
    }
    cluster
}

impl Cluster {
    /// An administrator's client. Each test has its own: a client is tied to the runtime that made it.
    pub async fn admin(&self) -> Client {
        self.plane.client().await.expect("an administrator's client")
    }

    /// Installs our definitions, and waits until they are served and listed among the kinds.
    pub async fn install_definitions(&self) {
        let client = self.admin().await;
        for crd in mim_crds::all() {
            let plural = crd.spec.names.plural.clone();
            let api: Api<
                k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
            > = Api::all(client.clone());
            let name = crd.name_any();
            api.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&crd))
                .await
                .expect("our definition");
            eventually("the definition is established", || async {
                let held = api.get(&name).await.map_err(|error| error.to_string())?;
                let conditions = held
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                let established = conditions
                    .iter()
                    .any(|c| c.type_ == "Established" && c.status == "True");
                if established {
                    Ok(())
                } else {
                    Err("not established".to_owned())
                }
            })
            .await;
            eventually("the kind is listed", || async {
                let listed = kinds(&client).await.map_err(|error| error.to_string())?;
                if listed.contains(&format!("\"resource\":\"{plural}\"")) {
                    Ok(())
                } else {
                    Err(format!("{plural} is not listed"))
                }
            })
            .await;
        }
    }

    /// A new namespace that enforces PodSecurity `restricted`.
    pub async fn namespace(&self, purpose: &str) -> String {
        let client = self.admin().await;
        let name = format!("{purpose}-{:06x}", rand::random::<u32>() & 0x00ff_ffff);
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        }))
        .expect("a namespace");
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .expect("a new namespace");
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client, &name);
        eventually("the namespace has its default account", || async {
            accounts.get("default").await.map(drop)
        })
        .await;
        name
    }
}

/// The list of all kinds, in the one document that the controllers of Kubernetes read.
async fn kinds(client: &Client) -> kube::Result<String> {
    let request = http::Request::get("/apis")
        .header(
            http::header::ACCEPT,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        )
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await
}

/// An API for any object, by its manifest's type.
#[must_use]
pub fn api_of(client: &Client, namespace: &str, object: &Value) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource_of(object))
}

/// The resource of a manifest's kind, by the rule that English plurals follow.
#[must_use]
pub fn resource_of(object: &Value) -> ApiResource {
    let api_version = object["apiVersion"].as_str().expect("an apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().expect("a kind");
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Applies a manifest as a user does.
pub async fn apply(client: &Client, namespace: &str, object: &Value) -> kube::Result<DynamicObject> {
    let name = object["metadata"]["name"].as_str().expect("a name");
    api_of(client, namespace, object)
        .patch(name, &PatchParams::apply("user").force(), &Patch::Apply(object))
        .await
}
