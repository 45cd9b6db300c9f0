//! From a manifest to Ready and back, with the controllers of Kubernetes and a kubelet of the tests.

use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt};
use mim_crds::ContextBroker;
use mim_operator::reconcile::request::Journal;
use mim_tests::cluster::{self, apply};
use mim_tests::eventually::eventually;
use mim_tests::kubelet::Kubelet;
use mim_tests::operator::{self, Running};
use serde_json::{Value, json};

/// A namespace with an operator and a kubelet.
pub struct City {
    pub client: Client,
    pub namespace: String,
    pub operator: Running,
    pub kubelet: Kubelet,
}

impl City {
    pub async fn new(purpose: &str) -> Self {
        let cluster = cluster::cluster().await;
        let (client, namespace) = (cluster.admin().await, cluster.namespace(purpose).await);
        let kubelet = Kubelet::run(client.clone(), &namespace);
        let operator = operator::start(
            operator::options(&namespace),
            cluster.admin_config().await,
            Journal::new(),
        );
        Self {
            client,
            namespace,
            operator,
            kubelet,
        }
    }

    pub fn brokers(&self) -> Api<ContextBroker> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn apply(&self, object: &Value) {
        apply(&self.client, &self.namespace, object)
            .await
            .expect("the API server takes the manifest");
    }

    pub async fn broker_says(&self, name: &str, status: &str, reason: &str) -> ContextBroker {
        eventually(
            &format!("ContextBroker {name} says {status}/{reason}"),
            || async {
                let broker = self
                    .brokers()
                    .get(name)
                    .await
                    .map_err(|error| error.to_string())?;
                says(&broker, status, reason).map(|()| broker)
            },
        )
        .await
    }
}

pub fn says(broker: &ContextBroker, status: &str, reason: &str) -> Result<(), String> {
    let held = broker.status.clone().unwrap_or_default();
    let current = held.observed_generation == broker.metadata.generation;
    let ready = held
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(ready) if current && ready.status == status && ready.reason == reason => Ok(()),
        _ => Err(format!("{:?} {:?}", held.observed_generation, held.conditions)),
    }
}

pub fn broker(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "mim.city/v1alpha1", "kind": "ContextBroker", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_broker_becomes_ready_and_its_deletion_leaves_the_data() {
    let city = City::new("pass").await;
    city.apply(&broker("vienna", &json!({}))).await;
    let ready = city.broker_says("vienna", "True", "Ready").await;
    let status = ready.status.clone().unwrap();
    assert_eq!(status.release.as_deref(), Some("0.2.0"));
    assert!(status.storage.unwrap().system_identifier.is_some());
    city.brokers()
        .delete(&ready.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::namespaced(city.client.clone(), &city.namespace);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(city.client.clone(), &city.namespace);
    eventually("the workloads go", || async {
        match deployments.get_opt("vienna-broker").await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "still there"))),
        }
    })
    .await;
    assert!(
        claims
            .get("vienna-database")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );
    drop(city.kubelet);
    city.operator.stop().await.expect("it ends as it is told");
}
