//! A Deployment that is on its way, and why it is not there yet.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::error::Result;
use super::say::Say;
use super::wait::until;

/// Waits until all pods of a Deployment are of its newest template and ready, and no other is left; tells meanwhile why one is
/// not there, in the words of Kubernetes: a quota, no node that would take it, an image that cannot be pulled.
pub async fn rolled_out(
    client: &Client,
    namespace: &str,
    name: &str,
    limit: Duration,
    say: Say,
) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let what = format!("Deployment {namespace}/{name} to have all its pods");
    until(say, &what, limit, || async {
        let deployment = deployments.get(name).await?;
        let (done, told) = counts(&deployment);
        if done {
            return Ok((true, told));
        }
        let found = pods
            .list(&ListParams::default().labels(&selector(&deployment)))
            .await?;
        let why = refusal(&deployment).or_else(|| found.iter().find_map(complaint));
        Ok((
            false,
            told + &why.map(|why| format!("; {why}")).unwrap_or_default(),
        ))
    })
    .await
}

/// Whether all is there, and what is. A pod of an earlier template may be ready as well, and about to go.
fn counts(deployment: &Deployment) -> (bool, String) {
    let status = deployment.status.clone().unwrap_or_default();
    let current = status.observed_generation == deployment.metadata.generation;
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let [all, new, ready] =
        [status.replicas, status.updated_replicas, status.ready_replicas].map(Option::unwrap_or_default);
    let done = current && [all, new, ready] == [wanted; 3];
    let name = deployment.name_any();
    (
        done,
        format!("{name}: {ready} of {wanted} pods ready, {new} of the newest template"),
    )
}

fn selector(deployment: &Deployment) -> String {
    let labels = deployment.spec.selector.match_labels.iter().flatten();
    let terms: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
    terms.join(",")
}

/// Why a pod could not be made.
fn refusal(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|found| {
        found.type_.as_deref() == Some("ReplicaFailure") && found.status.as_deref() == Some("True")
    })?;
    failure.message.clone()
}

/// Why a pod that is to stay does not run.
fn complaint(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let why = unscheduled(pod).or_else(|| waiting(pod))?;
    Some(format!("{}: {why}", pod.name_any()))
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions
        .iter()
        .find(|found| found.type_ == "PodScheduled" && found.status == "False")?;
    scheduled.message.clone()
}

/// That its containers are being made is no complaint.
fn waiting(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let states = containers
        .iter()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    let mut reasons =
        states.filter_map(|waiting| Some((waiting.reason.as_deref()?, waiting.message.as_deref())));
    let (reason, message) = reasons.find(|(reason, _)| *reason != "ContainerCreating")?;
    Some(format!("{reason}: {}", message.unwrap_or("no more is said")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(status: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "mim-operator", "generation": 2},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "1", "b": "2"}}, "template": {}},
            "status": status,
        }))
        .unwrap()
    }

    fn pod(state: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]},
        }))
        .unwrap()
    }

    #[test]
    fn it_is_there_when_all_pods_are_of_the_newest_template_that_was_looked_at() {
        let there = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2});
        assert!(counts(&deployment(&there)).0);
        for (field, value) in [
            ("observedGeneration", 1),
            ("replicas", 3),
            ("updatedReplicas", 1),
            ("readyReplicas", 1),
        ] {
            let mut not_yet = there.clone();
            not_yet[field] = value.into();
            assert!(!counts(&deployment(&not_yet)).0, "{field}");
        }
        assert!(!counts(&Deployment::default()).0);
        assert_eq!(selector(&deployment(&there)), "a=1,b=2");
    }

    #[test]
    fn what_keeps_a_pod_away_is_told_in_the_words_of_kubernetes_and_a_container_that_is_being_made_is_not() {
        let refused = json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}});
        assert_eq!(
            complaint(&pod(&refused)).as_deref(),
            Some("p: ImagePullBackOff: not found")
        );
        let nowhere =
            json!([{"type": "PodScheduled", "status": "False", "message": "no node is large enough"}]);
        let nowhere: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"conditions": nowhere}}))
                .unwrap();
        assert_eq!(complaint(&nowhere).as_deref(), Some("p: no node is large enough"));
        let quota = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]});
        assert_eq!(refusal(&deployment(&quota)).as_deref(), Some("exceeded quota"));
        for fine in [
            json!({"waiting": {"reason": "ContainerCreating"}}),
            json!({"running": {}}),
        ] {
            assert_eq!(complaint(&pod(&fine)), None, "{fine}");
        }
    }
}
