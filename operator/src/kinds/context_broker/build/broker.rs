//! The broker: account, configuration, Service, disruption budget, Deployment.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::generated::passwords_name;
use super::pod::{self, Access, Container, Pod};
use super::resources::{Defaults, resources};
use super::{BROKER, DATABASE, config, members, parts, put};
use crate::kinds::context_broker::plan::{
    BROKER_ADMIN_PORT, BROKER_GATEWAY_PORT, BROKER_HEALTH_PORT, BROKER_PORT, Database, Native,
    PARTS_ANNOTATION, Plan,
};
use crate::reconcile::child::Children;

/// Uid and gid of the program (`docs/operands.md`).
const USER: i64 = 65532;
/// It ends within 28 s (`docs/operands.md`).
const GRACE_SECONDS: i64 = 30;
/// Where the image has the program.
const PROGRAM: &str = "/usr/bin/mim-broker";
const DEFAULTS: Defaults = Defaults {
    cpu: ("100m", "2"),
    memory: ("64Mi", "256Mi"),
};

/// Adds the broker's children.
pub(super) fn add(plan: &Plan, native: &Native, children: &mut Children) {
    children.own(&pod::service_account(plan, BROKER));
    children.own(&config::config_map(plan, native));
    children.own(&service(plan, native));
    if native.replicas >= 2 {
        children.own(&disruption_budget(plan));
    }
    children.own(&deployment(plan, native));
}

fn service(plan: &Plan, native: &Native) -> Value {
    let mut metadata = members(json!({
        "name": plan.child(BROKER.label),
        "labels": BROKER.labels_over(plan, &native.service.labels),
    }));
    put(&mut metadata, "annotations", &native.service.annotations);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "selector": BROKER.selector(plan),
            "ports": [
                {"name": "http", "port": BROKER_PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
                {"name": "gateway", "port": BROKER_GATEWAY_PORT, "targetPort": "gateway", "protocol": "TCP", "appProtocol": "https"},
                {"name": "admin", "port": BROKER_ADMIN_PORT, "targetPort": "admin", "protocol": "TCP", "appProtocol": "https"},
            ],
        },
    })
}

/// A drain takes one pod at a time, and one that is not ready anyhow.
fn disruption_budget(plan: &Plan) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": plan.child(BROKER.label), "labels": BROKER.labels(plan)},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": BROKER.selector(plan)},
        },
    })
}

fn deployment(plan: &Plan, native: &Native) -> Value {
    let template = template(plan, native);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": plan.child(BROKER.label),
            "labels": BROKER.labels(plan),
            // On the Deployment, not on its pods: what was asked for before is compared when the next body is applied.
            "annotations": {PARTS_ANNOTATION: parts::of(&template)},
        },
        "spec": {
            "replicas": native.replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": BROKER.selector(plan)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template,
        },
    })
}

fn template(plan: &Plan, native: &Native) -> Value {
    let (credentials, ca) = database_volumes(plan, native);
    let mut mounts = vec![
        ("config", "/etc/mim/broker", Access::Read),
        ("database", "/etc/mim/database", Access::Read),
        // One authority signs whoever comes in to either door.
        ("tls", "/etc/mim/gateway-tls", Access::Read),
        ("tls", "/etc/mim/admin-tls", Access::Read),
    ];
    let tls = format!("{}-tls", plan.child(BROKER.label));
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": plan.child(BROKER.label)}}),
        json!({"name": "database", "secret": credentials}),
        json!({"name": "tls", "secret": {"secretName": tls, "defaultMode": pod::SECRET_MODE}}),
    ];
    if plan.managed().is_some() {
        let passwords = passwords_name(&plan.owner);
        mounts.push(("contract", "/etc/mim/contract", Access::Read));
        volumes.push(
            json!({"name": "contract", "secret": {"secretName": passwords, "defaultMode": pod::SECRET_MODE}}),
        );
    }
    if let Some(ca) = ca {
        mounts.push(("database-ca", "/etc/mim/database-ca", Access::Read));
        volumes.push(json!({"name": "database-ca", "secret": ca}));
    }
    let contexts = context_volumes(native);
    for (name, path, volume) in &contexts {
        mounts.push((name.as_str(), path.as_str(), Access::Read));
        volumes.push(volume.clone());
    }
    let container = Container {
        name: "broker",
        image: &native.image,
        command: [PROGRAM, "run"],
        resources: &resources(DEFAULTS, native.resources.as_ref()),
        mounts: &mounts,
        more: json!({
            "ports": [
                {"name": "http", "containerPort": BROKER_PORT, "protocol": "TCP"},
                {"name": "gateway", "containerPort": BROKER_GATEWAY_PORT, "protocol": "TCP"},
                {"name": "admin", "containerPort": BROKER_ADMIN_PORT, "protocol": "TCP"},
                {"name": "health", "containerPort": BROKER_HEALTH_PORT, "protocol": "TCP"},
            ],
            // By command, for the kubelet puts what it prints into an event: there the operator reads what is wrong with the database.
            "startupProbe": pod::startup([PROGRAM, "probe"], 2),
            "readinessProbe": pod::http("/readyz", "health", 3, 3, 3),
            "livenessProbe": pod::http("/healthz", "health", 10, 5, 6),
        }),
    };
    Pod {
        component: BROKER,
        user: USER,
        grace_seconds: GRACE_SECONDS,
        added: &native.pod_template,
        spread: pod::spread(&BROKER.selector(plan)),
        init_containers: Vec::new(),
        container: container.render(),
        volumes,
    }
    .template(plan, native)
}

/// The ConfigMaps of contexts, each whole in a folder of its name, so that no other key and no other text of it changes the template: the kubelet
/// brings those to the pods that run. One that is deleted later keeps no pod from starting.
fn context_volumes(native: &Native) -> Vec<(String, String, Value)> {
    let maps: BTreeSet<&str> = native
        .contexts
        .iter()
        .map(|context| context.config_map_ref.name.as_str())
        .collect();
    let of = |map: &str| {
        // A name of a ConfigMap may be too long for one of a volume.
        let name = format!("contexts-{}", parts::short(&json!(map)));
        let volume = json!({"name": name, "configMap": {"name": map, "optional": true}});
        (name, format!("/etc/mim/contexts/{map}"), volume)
    };
    maps.into_iter().map(of).collect()
}

/// Credentials and authority of the database. Of our own only the certificate of the authority is mounted, never a key.
fn database_volumes(plan: &Plan, native: &Native) -> (Value, Option<Value>) {
    let secret = |name: &str| json!({"secretName": name, "defaultMode": pod::SECRET_MODE});
    let certificate = |name: &str, key: &str| json!({"secretName": name, "defaultMode": pod::SECRET_MODE, "items": [{"key": key, "path": "ca.crt"}]});
    match &native.database {
        Database::Managed(_) => {
            let database = plan.child(DATABASE.label);
            (
                secret(&database),
                Some(certificate(&format!("{database}-tls"), "ca.crt")),
            )
        }
        Database::External { secret: name, ca, .. } => (
            secret(name),
            ca.as_ref().map(|(name, key)| certificate(name, key)),
        ),
    }
}
