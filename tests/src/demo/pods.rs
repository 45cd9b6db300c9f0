//! The pods of a city, and what may befall them.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt as _};

use super::cluster::Cluster;
use super::error::{Error, Result};
use super::say::Say;
use super::wait::until;

/// How long pods may take to come back.
const LIMIT: Duration = Duration::from_mins(2);

/// The pods of one component of a ContextBroker.
#[derive(Clone)]
pub struct Pods {
    api: Api<Pod>,
    deployments: Api<Deployment>,
    instance: String,
    component: &'static str,
}

impl Pods {
    /// Of the broker.
    #[must_use]
    pub fn broker(client: &Client, namespace: &str, instance: &str) -> Self {
        Self::of(client, namespace, instance, "broker")
    }

    /// Of the database.
    #[must_use]
    pub fn database(client: &Client, namespace: &str, instance: &str) -> Self {
        Self::of(client, namespace, instance, "database")
    }

    fn of(client: &Client, namespace: &str, instance: &str, component: &'static str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client.clone(), namespace),
            instance: instance.to_owned(),
            component,
        }
    }

    /// All of them, by name.
    pub async fn list(&self) -> Result<Vec<Pod>> {
        let selector = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component={}",
            self.instance, self.component
        );
        let mut pods = self
            .api
            .list(&ListParams::default().labels(&selector))
            .await?
            .items;
        pods.sort_by_key(Pod::name_any);
        Ok(pods)
    }

    /// One that is ready.
    pub async fn one(&self) -> Result<Pod> {
        let pods = self.list().await?;
        pods.into_iter()
            .find(is_ready)
            .ok_or_else(|| Error::Broken(format!("no pod of {}-{} is ready", self.instance, self.component)))
    }

    /// Deletes it as `kubectl delete pod` does: it is told to end, and may take its time.
    pub async fn delete(&self, pod: &Pod) -> Result<()> {
        let params = DeleteParams::default();
        self.api.delete(&pod.name_any(), &params).await?;
        Ok(())
    }

    /// Kills it without a word: SIGKILL in the lab, where the container comes back in the same pod; elsewhere the pod is deleted without
    /// grace. Says which.
    pub async fn kill(&self, cluster: &Cluster, pod: &Pod) -> Result<&'static str> {
        let name = pod.name_any();
        let Some(node) = &cluster.lab else {
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                ..DeleteParams::default()
            };
            self.api.delete(&name, &params).await?;
            return Ok("deleted with no grace");
        };
        let id = container_id(pod).ok_or_else(|| Error::Broken(format!("pod {name} runs no container")))?;
        node.kill(id)?;
        Ok("SIGKILL")
    }

    /// Waits until what befell `victim` is over: it is gone or its container is another one, and the Deployment has all its pods.
    pub async fn recovered(&self, victim: &Pod, say: Say) -> Result<()> {
        let what = format!("{}-{} to have all its pods", self.instance, self.component);
        until(say, &what, LIMIT, || self.over(victim)).await
    }

    async fn over(&self, victim: &Pod) -> Result<(bool, String)> {
        let pods = self.list().await?;
        let replicas = self.replicas().await?;
        let identity = |pod: &Pod| (pod.uid(), container_id(pod).map(str::to_owned));
        let same = pods.iter().any(|pod| identity(pod) == identity(victim));
        let ending = pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some());
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        let told = format!(
            "{ready} of {replicas} pods are ready{}",
            if ending { ", one is ending" } else { "" }
        );
        Ok((!same && !ending && ready >= replicas, told))
    }

    async fn replicas(&self) -> Result<usize> {
        let name = format!("{}-{}", self.instance, self.component);
        let deployment = self.deployments.get_opt(&name).await?;
        // The database is a StatefulSet of one.
        let replicas = deployment.map_or(Some(1), |found| found.spec.replicas);
        Ok(replicas
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(1))
    }

    /// What identifies each pod and each start of its container: unchanged means nothing was restarted.
    pub async fn starts(&self) -> Result<BTreeSet<String>> {
        let pods = self.list().await?;
        Ok(pods
            .iter()
            .map(|pod| {
                format!(
                    "{} {}",
                    pod.uid().unwrap_or_default(),
                    container_id(pod).unwrap_or_default()
                )
            })
            .collect())
    }
}

/// Whether the pod has its condition Ready and was not told to end.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The running container of a pod with one container.
fn container_id(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.as_ref()?;
    let container = containers.first()?;
    container.container_id.as_deref()
}
