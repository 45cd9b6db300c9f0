//! Plans and views for tests.

use mim_crds::{Temporal, TemporalMode, TenantCreation};
use serde_json::{Value, json};

use super::{build, preflight};
use crate::kinds::context_broker::plan::{Data, Database, Engine, Managed, Native, Plan};
use crate::reconcile::child::{ChildKind, Children, Owner};
use crate::reconcile::live::{Index, Live, LiveObject, OwnerKey};

/// The identifier of the data in [`minimal`].
pub(crate) const IDENTIFIER: &str = "7412345678901234567";

/// A broker of which the user says nothing, with its data known.
pub(crate) fn minimal() -> Plan {
    Plan {
        owner: Owner {
            kind: "ContextBroker",
            api_version: "mim.city/v1alpha1".into(),
            namespace: "city".into(),
            name: "vienna".into(),
            uid: "6f2e3a54-0000-4000-8000-000000000001".into(),
        },
        part_of: "vienna".into(),
        engine: Engine::Native(Box::new(Native {
            release: Some("2026.1".into()),
            counted: false,
            image: format!("registry.example/mim/broker@sha256:{}", "b".repeat(64)),
            pull_secrets: Vec::new(),
            replicas: 2,
            resources: None,
            pod_template: mim_crds::PodTemplate::default(),
            service: mim_crds::Service::default(),
            tenants: Vec::new(),
            contexts: Vec::new(),
            dropped_tenants: Vec::new(),
            tenant_creation: None,
            quotas: None,
            compatibility: None,
            notifications: None,
            temporal: Temporal::default(),
            clients: None,
            operator_namespace: None,
            egress: Vec::new(),
            allowed_private_cidrs: Vec::new(),
            restarted_at: None,
            database: Database::Managed(Box::new(Managed {
                image: format!("registry.example/mim/postgis@sha256:{}", "d".repeat(64)),
                postgresql: 15,
                size: "10Gi".into(),
                storage_class: None,
                resources: None,
                pod_template: mim_crds::PodTemplate::default(),
                data: Data::Known(IDENTIFIER.into()),
                recorded: true,
            })),
        })),
    }
}

/// Every option set.
pub(crate) fn everything() -> Plan {
    let mut plan = minimal();
    plan.part_of = "austria".into();
    let broker = native(&mut plan);
    broker.replicas = 5;
    broker.pull_secrets = vec!["registry".into(), "shared".into()];
    broker.resources =
        parse(json!({"requests": {"cpu": "0.50", "memory": "1Gi"}, "limits": {"memory": "1024Mi"}}));
    broker.pod_template = pod_template("broker");
    broker.service = parse(json!({"labels": {"team": "data"}, "annotations": {"example.org/scrape": "no"}}));
    broker.tenants = vec!["air".into(), "parking".into()];
    broker.dropped_tenants = vec!["noise".into()];
    broker.tenant_creation = Some(TenantCreation::OnFirstWrite);
    broker.quotas = parse(json!({
        "entities": 10_000, "subscriptions": 50, "bytes": 10_000_000,
        "tenants": [{"tenant": "", "entities": 5}, {"tenant": "air", "bytes": 20_000_000}],
    }));
    broker.notifications = parse(json!({"outbox": {"limit": 500, "overflow": "Pause"}}));
    broker.clients = parse(json!([
        {"podSelector": {"matchLabels": {"app": "gateway"}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}}, "podSelector": {}},
    ]));
    broker.egress = parse(json!([
        {"to": [{"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.2.0/24"]}}], "ports": [{"port": 8443, "protocol": "TCP"}]},
        {"to": [{"podSelector": {"matchLabels": {"app": "mqtt"}}}]},
    ]));
    broker.temporal = Temporal {
        mode: TemporalMode::Disabled,
        retention: "P1Y".into(),
    };
    broker.allowed_private_cidrs = vec!["10.9.0.0/16".into(), "192.168.7.0/24".into()];
    broker.operator_namespace = Some("mim-system".into());
    broker.restarted_at = Some("2026-02-03T04:05:06Z".into());
    let database = managed(&mut plan);
    database.size = "50Gi".into();
    database.storage_class = Some("fast".into());
    database.resources =
        parse(json!({"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "8Gi"}}));
    database.pod_template = pod_template("database");
    plan
}

/// What a user may say about pods, all of it; labels try to take our place.
fn pod_template(of: &str) -> mim_crds::PodTemplate {
    parse(json!({
        "labels": {"team": of, "app.kubernetes.io/component": "mine", "mim.city/name": "mine"},
        "annotations": {"example.org/note": "of the user"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": of, "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]},
        ]}}},
        "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule",
                                       "labelSelector": {"matchLabels": {"team": of}}}],
        "priorityClassName": "city-critical",
        "imagePullSecrets": [{"name": "shared"}, {"name": of}],
    }))
}

/// Contexts from two ConfigMaps, one of them with a name that no volume can have, and an older edition.
pub(crate) fn contexts() -> Plan {
    let mut plan = minimal();
    let broker = native(&mut plan);
    let long = "a.very.long.name.of.a.config.map.with.the.models.of.the.city.and.of.its.region";
    broker.contexts = parse(json!([
        {"url": "https://example.org/air.jsonld", "configMapRef": {"name": "models", "key": "air.jsonld"}},
        {"url": "https://example.org/region.jsonld", "configMapRef": {"name": long, "key": "all.jsonld"}},
        {"url": "https://example.org/water.jsonld", "configMapRef": {"name": "models", "key": "water.jsonld"}},
    ]));
    broker.compatibility = parse(json!({
        "contextNotAvailableStatus": 503, "temporalCreate": "PastAndEntity", "temporalPageSize": 500,
    }));
    plan
}

/// The database is somebody else's.
pub(crate) fn external_database() -> Plan {
    let mut plan = minimal();
    native(&mut plan).database = Database::External {
        secret: "city-db-app".into(),
        port: 6432,
        ca: Some(("city-db-ca".into(), "bundle.pem".into())),
    };
    plan
}

/// The broker is somebody else's.
pub(crate) fn external_broker() -> Plan {
    Plan {
        engine: Engine::External {
            url: "https://broker.example".into(),
            probe: None,
        },
        ..minimal()
    }
}

/// Stopped.
pub(crate) fn stopped() -> Plan {
    changed(minimal(), |plan| native(plan).replicas = 0)
}

/// One broker pod, and data that nobody knows yet.
pub(crate) fn single() -> Plan {
    changed(minimal(), |plan| {
        native(plan).replicas = 1;
        managed(plan).data = Data::New;
        managed(plan).recorded = false;
    })
}

/// The data is gone.
pub(crate) fn lost() -> Plan {
    changed(minimal(), |plan| {
        managed(plan).data = Data::Lost {
            identifier: IDENTIFIER.into(),
            found: "the volume is empty".into(),
        };
    })
}

/// The data is gone, and that is accepted: its record is still there.
pub(crate) fn loss_accepted() -> Plan {
    changed(minimal(), |plan| {
        managed(plan).data = Data::LossAccepted {
            identifier: IDENTIFIER.into(),
        };
    })
}

/// Every plan, by name.
pub(crate) fn all() -> Vec<(&'static str, Plan)> {
    vec![
        ("minimal", minimal()),
        ("everything", everything()),
        ("contexts", contexts()),
        ("external-database", external_database()),
        ("external-broker", external_broker()),
        ("stopped", stopped()),
        ("single", single()),
        ("lost", lost()),
        ("loss-accepted", loss_accepted()),
    ]
}

/// A plan with a change.
pub(crate) fn changed(mut plan: Plan, change: impl FnOnce(&mut Plan)) -> Plan {
    change(&mut plan);
    plan
}

/// The broker of a plan.
pub(crate) fn native(plan: &mut Plan) -> &mut Native {
    match &mut plan.engine {
        Engine::Native(native) => native,
        Engine::External { .. } => panic!("the broker of this plan is somebody else's"),
    }
}

/// The database of a plan.
pub(crate) fn managed(plan: &mut Plan) -> &mut Managed {
    match &mut native(plan).database {
        Database::Managed(managed) => managed,
        Database::External { .. } => panic!("the database of this plan is somebody else's"),
    }
}

/// The body of a child.
pub(crate) fn body(children: &Children, kind: ChildKind, name: &str) -> Value {
    let found = children
        .iter()
        .find(|child| child.kind == kind && child.name == name);
    found
        .unwrap_or_else(|| panic!("{} {name} is not built", kind.name()))
        .body
        .clone()
}

/// The pod templates of a plan by the name of their workload, and the pod `preflight`.
pub(crate) fn pod_templates(plan: &Plan) -> Vec<(String, Value)> {
    let children = build(plan);
    let mut templates: Vec<_> = children
        .iter()
        .filter(|child| matches!(child.kind, ChildKind::Deployment | ChildKind::StatefulSet))
        .map(|child| (child.name.clone(), child.body["spec"]["template"].clone()))
        .collect();
    templates.extend(preflight(plan, "r").map(|pod| ("preflight".to_owned(), pod)));
    templates
}

/// A value of a type that the API server would read.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// What the API server shows of the children of [`minimal`]'s owner.
#[derive(Default)]
pub(crate) struct World {
    index: Index,
    version: u64,
}

impl World {
    /// Shows an object: its metadata beside name and labels, and its status.
    pub(crate) fn show(
        &mut self,
        kind: ChildKind,
        name: &str,
        metadata: &Value,
        status: &Value,
    ) -> &mut Self {
        self.version += 1;
        let mut object = json!({
            "metadata": {
                "name": name, "namespace": "city", "uid": format!("uid-of-{name}"), "generation": 1,
                "resourceVersion": self.version.to_string(),
                "labels": {"mim.city/kind": "ContextBroker", "mim.city/name": "vienna"},
            },
            "status": status,
        });
        merge(&mut object["metadata"], metadata);
        let object: LiveObject = parse(object);
        self.index.apply(kind, object).unwrap();
        self
    }

    /// The view of it.
    pub(crate) fn live(&self) -> Live {
        self.index.of(&OwnerKey {
            kind: "ContextBroker".into(),
            namespace: "city".into(),
            name: "vienna".into(),
        })
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
