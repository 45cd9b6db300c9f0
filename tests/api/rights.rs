//! The rights that the chart gives the operator, as helm renders them.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use mim_lab::Binary;
use mim_tests::cluster::{Cluster, api_of};
use mim_tests::eventually::eventually;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The namespace of the release.
pub const OWN: &str = "mim-system";
/// Name of the release, of its service account and of its roles.
pub const RELEASE: &str = "mim-operator";

/// What the chart renders that concerns rights.
pub struct Chart {
    /// Mode `namespaced`.
    pub namespaced: Vec<Value>,
    /// Mode `cluster`, no namespace onboarded.
    pub cluster: Vec<Value>,
}

impl Chart {
    /// The rules of a role of a mode.
    pub fn rules(objects: &[Value], kind: &str, name: &str) -> Value {
        objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("the chart has no {kind} {name}"))["rules"]
            .clone()
    }
}

/// The chart, rendered once.
pub async fn chart() -> &'static Chart {
    static CHART: OnceCell<Chart> = OnceCell::const_new();
    CHART
        .get_or_init(|| async {
            tokio::task::spawn_blocking(|| Chart {
                namespaced: render(&["--set", "watchNamespaces={city}"]),
                cluster: render(&["--set", "mode=cluster,watchNamespaces=null"]),
            })
            .await
            .expect("helm renders the chart")
        })
        .await
}

fn render(values: &[&str]) -> Vec<Value> {
    let binaries = mim_lab::binaries(&[Binary::Helm]).expect("helm");
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/mim-operator");
    let output = std::process::Command::new(binaries.path(Binary::Helm).expect("helm"))
        .args(["template", RELEASE, chart, "--namespace", OWN, "--values"])
        .arg(format!("{chart}/ci/single.yaml"))
        .args(values)
        .output()
        .expect("helm runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .filter(|object| {
            object["apiVersion"]
                .as_str()
                .is_some_and(|version| version.starts_with("rbac.authorization.k8s.io/"))
        })
        .collect()
}

/// A configuration with the identity of the chart's service account.
pub async fn config(cluster: &Cluster) -> kube::Config {
    let user = format!("system:serviceaccount:{OWN}:{RELEASE}");
    cluster
        .plane
        .client_config_for(&user, Some("system:serviceaccounts"))
        .await
        .expect("a certificate for the service account")
}

/// Gives the operator in one namespace what the chart gives it there, and waits until it holds.
pub async fn grant(config: &kube::Config, client: &Client, namespace: &str) {
    let rules = Chart::rules(&chart().await.namespaced, "Role", RELEASE);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": RELEASE}, "rules": rules,
    });
    put(client, namespace, &role).await;
    bind(client, namespace, RELEASE, "Role", RELEASE).await;
    let of_operator = Client::try_from(config.clone()).expect("a client");
    let maps: Api<ConfigMap> = Api::namespaced(of_operator, namespace);
    eventually("the rights are in force", || async {
        maps.list(&ListParams::default().limit(1)).await.map(drop)
    })
    .await;
}

/// Gives the operator the lease of a namespace, as the chart does in the release's.
pub async fn grant_lease(client: &Client, namespace: &str) {
    let name = format!("{RELEASE}-lease");
    let rules = Chart::rules(&chart().await.namespaced, "Role", &name);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": name}, "rules": rules,
    });
    put(client, namespace, &role).await;
    bind(client, namespace, &name, "Role", &name).await;
}

/// A RoleBinding of the chart's service account.
pub async fn bind(client: &Client, namespace: &str, name: &str, kind: &str, role: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": RELEASE, "namespace": OWN}],
    });
    put(client, namespace, &binding).await;
}

async fn put(client: &Client, namespace: &str, object: &Value) {
    let name = object["metadata"]["name"].as_str().expect("a name");
    api_of(client, namespace, object)
        .patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(object))
        .await
        .expect("an object of the administrator");
}

/// Applies rendered objects where they say; the namespace of the release is made first.
pub async fn install(client: &Client, objects: &[Value]) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let own = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN}});
    namespaces
        .patch(OWN, &PatchParams::apply("tests").force(), &Patch::Apply(&own))
        .await
        .expect("the namespace of the release");
    for object in objects {
        if let Some(namespace) = object["metadata"]["namespace"].as_str() {
            if namespace == OWN {
                put(client, namespace, object).await;
            }
            continue;
        }
        let kind = object["kind"].as_str().expect("a kind");
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let parsed: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        api.patch(
            &parsed.name_any(),
            &PatchParams::apply("tests").force(),
            &Patch::Apply(object),
        )
        .await
        .expect("an object of the administrator");
    }
}
