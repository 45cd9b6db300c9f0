//! The database: account, volume, identity, Service, StatefulSet, and the pod that proves a new template.

use serde_json::{Value, json};

use super::pod::{self, Access, Container, Pod};
use super::resources::{Defaults, resources};
use super::{DATABASE, PREFLIGHT, members, parts, put};
use crate::kinds::context_broker::plan::{
    DATABASE_PORT, Data, IDENTIFIER_ANNOTATION, Managed, Native, PARTS_ANNOTATION, Plan, REVISION_ANNOTATION,
};
use crate::reconcile::child::Children;

/// Uid and gid of PostgreSQL (`docs/operands.md`).
const USER: i64 = 999;
/// A fast shutdown writes a checkpoint, which takes as long as the disk needs.
const GRACE_SECONDS: i64 = 300;
/// Where the image has the program.
const PROGRAM: &str = "/usr/bin/mim-database";
const DEFAULTS: Defaults = Defaults {
    cpu: ("250m", "2"),
    memory: ("512Mi", "1Gi"),
};

/// Volumes, where they are mounted and whether they are written to (`docs/operands.md`).
const MOUNTS: [(&str, &str, Access); 7] = [
    ("data", "/var/lib/postgresql", Access::Write),
    ("run", "/run/postgresql", Access::Write),
    ("shm", "/dev/shm", Access::Write),
    ("tmp", "/tmp", Access::Write),
    ("database", "/etc/mim/database", Access::Read),
    ("database-tls", "/etc/mim/database-tls", Access::Read),
    ("database-identity", "/etc/mim/database-identity", Access::Read),
];

/// Adds the database's children.
pub(super) fn add(plan: &Plan, native: &Native, managed: &Managed, children: &mut Children) {
    children.own(&pod::service_account(plan, DATABASE));
    // Where data was, no empty volume may take its place until the loss is accepted and the record of the old data is gone: a pod that found both would
    // miss its data, and have to be made once more.
    match &managed.data {
        Data::Lost { .. } | Data::LossAccepted { .. } => {}
        Data::New => children.keep(&claim(plan, managed)),
        // What is on it is known, and looked at before it is used: it is ours without labels, too.
        Data::Known(identifier) => {
            children.regain(&claim(plan, managed));
            children.keep(&identity(plan, identifier));
        }
    }
    children.own(&service(plan));
    children.own(&stateful_set(plan, native, managed));
}

/// A child of its own, and not made from a template of the StatefulSet: so it can grow, and outlives both.
fn claim(plan: &Plan, managed: &Managed) -> Value {
    let mut spec = members(json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": managed.size}},
    }));
    put(&mut spec, "storageClassName", &managed.storage_class);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": plan.child(DATABASE.label), "labels": DATABASE.labels(plan)},
        "spec": spec,
    })
}

/// What the data on the volume is known by, for the init container; the annotation is for the operator, whose watch brings metadata only.
fn identity(plan: &Plan, identifier: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": identity_name(plan),
            "labels": DATABASE.labels(plan),
            "annotations": {IDENTIFIER_ANNOTATION: identifier},
        },
        "data": {"system-identifier": identifier},
    })
}

/// Name of the ConfigMap with the identity of the data.
pub(crate) fn identity_name(plan: &Plan) -> String {
    format!("{}-identity", plan.child(DATABASE.label))
}

/// An address that stays when the pod moves: brokers reconnect without waiting for DNS to forget.
fn service(plan: &Plan) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": plan.child(DATABASE.label), "labels": DATABASE.labels(plan)},
        "spec": {
            "type": "ClusterIP",
            "selector": DATABASE.selector(plan),
            "ports": [{"name": "postgres", "port": DATABASE_PORT, "targetPort": "postgres", "protocol": "TCP"}],
        },
    })
}

fn stateful_set(plan: &Plan, native: &Native, managed: &Managed) -> Value {
    let mut template = template(plan, native, managed);
    let parts = parts::of(&template);
    annotate(&mut template, PARTS_ANNOTATION, &parts);
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": plan.child(DATABASE.label), "labels": DATABASE.labels(plan)},
        "spec": {
            "replicas": i32::from(native.replicas > 0),
            "revisionHistoryLimit": 2,
            "serviceName": plan.child(DATABASE.label),
            "selector": {"matchLabels": DATABASE.selector(plan)},
            // The running pod goes only when a preflight has proved that the next can start.
            "updateStrategy": {"type": "OnDelete"},
            "template": template,
        },
    })
}

/// The pod template, without the annotation of its parts.
pub(super) fn template(plan: &Plan, native: &Native, managed: &Managed) -> Value {
    let resources = resources(DEFAULTS, managed.resources.as_ref());
    let memory_limit = |container: &str| {
        let field = json!({"containerName": container, "resource": "limits.memory", "divisor": "1"});
        json!({"name": "MIM_MEMORY_LIMIT", "valueFrom": {"resourceFieldRef": field}})
    };
    let initialise = Container {
        name: "initialise",
        image: &managed.image,
        command: [PROGRAM, "initialise"],
        resources: &resources,
        mounts: &MOUNTS,
        more: json!({"env": [memory_limit("initialise")]}),
    };
    let probe = [PROGRAM, "probe"];
    let postgres = Container {
        name: "postgres",
        image: &managed.image,
        command: [PROGRAM, "run"],
        resources: &resources,
        mounts: &MOUNTS,
        more: json!({
            "env": [memory_limit("postgres")],
            "ports": [{"name": "postgres", "containerPort": DATABASE_PORT, "protocol": "TCP"}],
            "startupProbe": pod::startup(probe, 1),
            "readinessProbe": pod::exec(probe, 5, 5, 3),
            // Killing a database that is merely busy makes it worse: two minutes of silence before that.
            "livenessProbe": pod::exec(probe, 15, 10, 8),
        }),
    };
    Pod {
        component: DATABASE,
        user: USER,
        grace_seconds: GRACE_SECONDS,
        added: &managed.pod_template,
        spread: Vec::new(),
        init_containers: vec![initialise.render()],
        container: postgres.render(),
        volumes: volumes(plan),
    }
    .template(plan, native)
}

fn volumes(plan: &Plan) -> Vec<Value> {
    let database = plan.child(DATABASE.label);
    let secret = |name: &str| json!({"secretName": name, "defaultMode": pod::SECRET_MODE});
    vec![
        json!({"name": "data", "persistentVolumeClaim": {"claimName": database}}),
        json!({"name": "run", "emptyDir": {"sizeLimit": "16Mi"}}),
        // Counts as memory of the container; parallel queries share it.
        json!({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}),
        json!({"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}),
        json!({"name": "database", "secret": secret(&database)}),
        json!({"name": "database-tls", "secret": secret(&format!("{database}-tls"))}),
        // Not there before the data is known for the first time.
        json!({"name": "database-identity", "configMap": {"name": identity_name(plan), "optional": true}}),
    ]
}

/// The pod that proves that a template of the StatefulSet can start: the same template, an empty scratch volume instead of the data, and labels that neither the
/// Service nor the StatefulSet selects. `None` where the database is not ours.
#[must_use]
pub fn preflight(plan: &Plan, revision: &str) -> Option<Value> {
    let (native, managed) = plan.managed()?;
    let mut template = template(plan, native, managed);
    let added = &managed.pod_template.labels;
    let metadata = template.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("name".into(), plan.child(PREFLIGHT.label).into());
    metadata.insert("labels".into(), json!(PREFLIGHT.labels_over(plan, added)));
    annotate(&mut template, REVISION_ANNOTATION, revision);
    for volume in template.pointer_mut("/spec/volumes")?.as_array_mut()? {
        if volume.get("name").is_some_and(|name| name == "data") {
            *volume = json!({"name": "data", "emptyDir": {"sizeLimit": "1Gi"}});
        }
    }
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in template.pointer_mut(list)?.as_array_mut()? {
            let env = container.get_mut("env")?.as_array_mut()?;
            env.push(json!({"name": "MIM_PREFLIGHT", "value": "true"}));
        }
    }
    let mut pod = members(template);
    pod.insert("apiVersion".into(), "v1".into());
    pod.insert("kind".into(), "Pod".into());
    // Rendered as a child is, so that it is found again as one.
    let mut rendered = Children::new(plan.owner.clone());
    rendered.own(&pod);
    rendered.iter().next().map(|child| child.body.clone())
}

fn annotate(template: &mut Value, key: &str, value: &str) {
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(key.to_owned(), value.into());
    }
}
