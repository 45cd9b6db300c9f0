//! What all our pods have in common: PodSecurity `restricted`, labels, and what the user adds.

use std::collections::BTreeMap;

use mim_crds::{PodTemplate, annotation};
use serde_json::{Map, Value, json};

use super::{Component, members, put};
use crate::kinds::context_broker::plan::{Native, Plan};

/// Files of Secrets: for the owner and the group of the pod, and nobody else. PostgreSQL refuses a key that others can read.
pub(super) const SECRET_MODE: i32 = 0o440;

/// Failures after which a startup probe gives up: some weeks at the periods that we use. A program that waits for something else (a broker for
/// its database, a database for its recovery) must not be killed for waiting.
const NEVER: i32 = 1_000_000;

/// One pod, without what all pods have in common.
pub(super) struct Pod<'a> {
    /// Whose pod it is.
    pub component: Component,
    /// Uid and gid of the programs, and the group of the volumes.
    pub user: i64,
    /// Time to stop in.
    pub grace_seconds: i64,
    /// What the user adds.
    pub added: &'a PodTemplate,
    /// Where the user says nothing of it: how pods spread.
    pub spread: Vec<Value>,
    /// Init containers, in order.
    pub init_containers: Vec<Value>,
    /// The one container.
    pub container: Value,
    /// Volumes.
    pub volumes: Vec<Value>,
}

impl Pod<'_> {
    /// The pod template.
    pub fn template(&self, plan: &Plan, native: &Native) -> Value {
        let added = self.added;
        let mut annotations = added.annotations.clone();
        if let Some(at) = &native.restarted_at {
            annotations.insert(annotation::RESTARTED_AT.to_owned(), at.clone());
        }
        let mut metadata = Map::new();
        put(
            &mut metadata,
            "labels",
            self.component.labels_over(plan, &added.labels),
        );
        put(&mut metadata, "annotations", annotations);
        json!({"metadata": metadata, "spec": self.spec(plan, native)})
    }

    fn spec(&self, plan: &Plan, native: &Native) -> Map<String, Value> {
        let added = self.added;
        let mut spec = members(json!({
            "serviceAccountName": plan.child(self.component.label),
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": self.grace_seconds,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": self.user,
                "runAsGroup": self.user,
                "fsGroup": self.user,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self.container],
            "volumes": self.volumes,
        }));
        put(&mut spec, "initContainers", &self.init_containers);
        put(&mut spec, "imagePullSecrets", pull_secrets(native, added));
        put(&mut spec, "nodeSelector", &added.node_selector);
        put(&mut spec, "tolerations", &added.tolerations);
        put(&mut spec, "affinity", &added.affinity);
        put(&mut spec, "priorityClassName", &added.priority_class_name);
        if added.topology_spread_constraints.is_empty() {
            put(&mut spec, "topologySpreadConstraints", &self.spread);
        } else {
            put(
                &mut spec,
                "topologySpreadConstraints",
                &added.topology_spread_constraints,
            );
        }
        spec
    }
}

/// Those of the operator's configuration, then the user's; each once, for the list is keyed by name.
fn pull_secrets(native: &Native, added: &PodTemplate) -> Vec<Value> {
    let mut names: Vec<&str> = Vec::new();
    let of_user = added.image_pull_secrets.iter().map(|secret| secret.name.as_str());
    for name in native.pull_secrets.iter().map(String::as_str).chain(of_user) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| json!({"name": name})).collect()
}

/// A container, without what all containers have in common.
pub(super) struct Container<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its image, by digest.
    pub image: &'a str,
    /// Program and arguments.
    pub command: [&'a str; 2],
    /// Requests and limits.
    pub resources: &'a Value,
    /// Where volumes are mounted: volume, path, whether it may write.
    pub mounts: &'a [(&'a str, &'a str, Access)],
    /// Members of this container only: ports, probes, environment.
    pub more: Value,
}

/// Whether a container may write to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It may.
    Write,
    /// It may not.
    Read,
}

impl Container<'_> {
    /// The container.
    pub fn render(&self) -> Value {
        let mounts = self.mounts.iter().map(|(volume, path, access)| match access {
            Access::Write => json!({"name": volume, "mountPath": path}),
            Access::Read => json!({"name": volume, "mountPath": path, "readOnly": true}),
        });
        let mut container = members(json!({
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": self.command,
            "resources": self.resources,
            "volumeMounts": mounts.collect::<Vec<_>>(),
            // A program that ends badly without a message of its own: the condition then has its last words.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }));
        container.extend(members(self.more.clone()));
        Value::Object(container)
    }
}

/// A probe by a command of the program itself.
pub(super) fn exec(command: [&str; 2], period: i32, timeout: i32, failures: i32) -> Value {
    json!({
        "exec": {"command": command},
        "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures,
    })
}

/// A startup probe: it tells when the program is up, and never kills it.
pub(super) fn startup(command: [&str; 2], period: i32) -> Value {
    exec(command, period, 5, NEVER)
}

/// A probe by HTTP.
pub(super) fn http(path: &str, port: &str, period: i32, timeout: i32, failures: i32) -> Value {
    json!({
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures,
    })
}

/// Evenly over nodes and over zones, as well as it goes; pods of older templates do not count, for they are on their way out.
pub(super) fn spread(selector: &BTreeMap<String, String>) -> Vec<Value> {
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .into_iter()
        .map(|key| {
            json!({
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector},
                "matchLabelKeys": ["pod-template-hash"],
            })
        })
        .collect()
}

/// A ServiceAccount that no token is made for: our programs never call the API server.
pub(super) fn service_account(plan: &Plan, component: Component) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": plan.child(component.label), "labels": component.labels(plan)},
        "automountServiceAccountToken": false,
    })
}
