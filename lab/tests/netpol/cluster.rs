//! The enforcer beside a real API server: pods exist there as objects, and here as network namespaces.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the whole file is part of the tests: what fails here must fail the test"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use k8s_openapi::api::{
    core::v1::{Namespace, Pod, ServiceAccount},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use mim_lab::{
    ControlPlane,
    netpol::{Event, Nft, Options, run},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    BROKER, PODS, city,
    network::{BRIDGE, documents},
};

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must happen: many times the debounce.
const QUIET: Duration = Duration::from_secs(1);

struct Enforced {
    events: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Enforced {
    fn start(client: Client, nft: Nft) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let mut options = Options::new(BRIDGE);
        options.nft = nft;
        options.observer = Arc::new(move |event: &Event| {
            // The test may have ended.
            let _ = sender.send(event.to_string());
        });
        let task = tokio::spawn(async move {
            let ended = run(client, options).await;
            panic!("the enforcer ended: {ended:?}");
        });
        Self { events, task }
    }

    /// Waits until the enforcer says something that contains `words`.
    async fn says(&mut self, words: &str) {
        let found = timeout(PATIENCE, async {
            while let Some(event) = self.events.recv().await {
                if event.contains(words) {
                    return;
                }
            }
            panic!("the enforcer ended");
        });
        found.await.unwrap_or_else(|_| panic!("never said: {words}"));
    }

    async fn is_quiet(&mut self) {
        let event = timeout(QUIET, self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }
}

impl Drop for Enforced {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn make_namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    // No controller makes it here, and the API server takes no pod without it.
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    Api::namespaced(client.clone(), name)
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
}

/// Makes the pod and then, as a kubelet would, tells its address.
async fn make_pod(client: &Client, mut pod: Pod) {
    let status = pod.status.take().unwrap();
    for container in &mut pod.spec.as_mut().unwrap().containers {
        container.image = Some("none".to_owned());
    }
    let (namespace, name) = (
        pod.metadata.namespace.clone().unwrap(),
        pod.metadata.name.clone().unwrap(),
    );
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let address = status.pod_ip.unwrap();
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

async fn label<K>(api: &Api<K>, name: &str, labels: Value)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    api.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

fn policy(spec: &Value) -> NetworkPolicy {
    serde_json::from_value(json!({"metadata": {"name": "tested"}, "spec": spec})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enforcer_follows_policies_pods_and_namespaces() {
    let network = city();
    let [web, guest] = ["web", "guest"].map(|name| network.host(name));
    let control_plane = ControlPlane::start(mim_lab::Options::default()).await.unwrap();
    let client = control_plane.client().await.unwrap();
    for namespace in ["city", "town"] {
        make_namespace(&client, namespace).await;
    }
    for pod in documents(PODS) {
        make_pod(&client, pod).await;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), "city");
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), "city");
    let mut enforced = Enforced::start(client.clone(), Nft::in_namespace(network.node_namespace()));
    enforced.says("ingress of 0 pods").await;
    web.reaches("broker", BROKER, 1026);

    // A policy comes.
    let tested = policy(&json!({
        "podSelector": {"matchLabels": {"app": "broker"}},
        "ingress": [{"from": [
            {"podSelector": {"matchLabels": {"role": "client"}}},
            {"namespaceSelector": {"matchLabels": {"trusted": "yes"}}}
        ]}]
    }));
    policies.create(&PostParams::default(), &tested).await.unwrap();
    enforced.says("ingress of 1 pods").await;
    web.is_kept_from(BROKER, 1026);
    guest.is_kept_from(BROKER, 1026);

    // Labels of a pod and of a namespace change.
    label(&pods, "web", json!({"role": "client"})).await;
    enforced.says("in force").await;
    web.reaches("broker", BROKER, 1026);
    label(&namespaces, "town", json!({"trusted": "yes"})).await;
    enforced.says("in force").await;
    guest.reaches("broker", BROKER, 1026);
    label(&namespaces, "town", json!({"trusted": null})).await;
    enforced.says("in force").await;
    guest.is_kept_from(BROKER, 1026);

    // A change that means nothing to the packet filter is not written.
    label(&pods, "web", json!({"colour": "blue"})).await;
    enforced.is_quiet().await;

    // A pod ends: its address may soon be another pod's.
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("web", &PatchParams::default(), &ended)
        .await
        .unwrap();
    enforced.says("in force").await;
    web.is_kept_from(BROKER, 1026);

    // The policy goes.
    policies.delete("tested", &DeleteParams::default()).await.unwrap();
    enforced.says("ingress of 0 pods").await;
    guest.reaches("broker", BROKER, 1026);
    drop(enforced);
    control_plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_in_force_survive_the_api_server_and_the_enforcer() {
    let network = city();
    let web = network.host("web");
    let mut control_plane = ControlPlane::start(mim_lab::Options::default()).await.unwrap();
    let client = control_plane.client().await.unwrap();
    make_namespace(&client, "city").await;
    for pod in documents::<Pod>(PODS).into_iter().take(2) {
        make_pod(&client, pod).await;
    }
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), "city");
    let closed = policy(&json!({"podSelector": {"matchLabels": {"app": "broker"}}}));
    policies.create(&PostParams::default(), &closed).await.unwrap();
    let nft = Nft::in_namespace(network.node_namespace());
    let mut enforced = Enforced::start(client.clone(), nft.clone());
    enforced.says("ingress of 1 pods").await;
    web.is_kept_from(BROKER, 1026);

    // An API server that is away is no reason to open a door; when it is back, changes count again.
    control_plane.stop_api_server();
    enforced.says("broke").await;
    web.is_kept_from(BROKER, 1026);
    control_plane.start_api_server().await.unwrap();
    let open = policy(&json!({"podSelector": {"matchLabels": {"app": "broker"}}, "ingress": [{}]}));
    policies
        .patch("tested", &PatchParams::default(), &Patch::Merge(open))
        .await
        .unwrap();
    enforced.says("in force").await;
    web.reaches("broker", BROKER, 1026);

    // An enforcer that starts where another one ended takes over its table without a gap.
    policies
        .patch(
            "tested",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"ingress": null}})),
        )
        .await
        .unwrap();
    enforced.says("in force").await;
    drop(enforced);
    web.is_kept_from(BROKER, 1026);
    let attempt =
        std::thread::spawn(move || web.connect(SocketAddr::from((BROKER, 1026)), Duration::from_secs(3)));
    let mut second = Enforced::start(client, nft);
    second.says("ingress of 1 pods").await;
    let attempt = tokio::task::spawn_blocking(|| attempt.join().unwrap())
        .await
        .unwrap();
    assert!(attempt.is_err(), "{attempt:?}");
    drop(second);
    control_plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_nft_is_told_and_tried_again() {
    let mut network = city();
    let later = format!("{}-later", network.node_namespace());
    let control_plane = ControlPlane::start(mim_lab::Options::default()).await.unwrap();
    let client = control_plane.client().await.unwrap();
    let mut enforced = Enforced::start(client, Nft::in_namespace(&later));
    enforced.says("NOT up to date").await;
    let late = network.unplugged("later");
    enforced.says("in force").await;
    let tables = late.inside(|| {
        let output = std::process::Command::new("nft")
            .args(["list", "tables"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    assert!(tables.contains("mim-lab"), "{tables}");
    drop(enforced);
    control_plane.stop().await.unwrap();
}
