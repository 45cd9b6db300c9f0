//! ContextBroker: MIM1, a broker with its database, tenants and network.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    CustomResource, KubeSchema,
    core::{Reason, Rule},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    DeletionPolicy,
    context::{Compatibility, PreloadedContext},
    external::External,
    names,
    network::Network,
    outbox::Notifications,
    pod_template::{PodTemplate, Resources, Service},
    quota::Quotas,
    schema::{self, Default as SchemaDefault},
    storage::{DEFAULT_SIZE, ManagedStorage, Storage},
    temporal::Temporal,
    tenancy::TenantCreation,
};

/// Replicas of a broker when nothing is said.
pub const DEFAULT_REPLICAS: i32 = 2;

/// Defaults that hold for a ContextBroker, but not where its spec is a section of a platform: there an absent field means that
/// the platform does not apply it, so that `/scale` and an autoscaler win, and that the platform's own policy holds.
pub const DEFAULTS: &[SchemaDefault] = &[
    SchemaDefault {
        path: &["spec", "replicas"],
        value: || json!(DEFAULT_REPLICAS),
    },
    SchemaDefault {
        path: &["spec", "deletionPolicy"],
        value: || json!("Retain"),
    },
    SchemaDefault {
        path: &["status"],
        value: unobserved,
    },
];

/// Status of an object that no pass has seen: kstatus then reads InProgress, never Current.
pub(crate) fn unobserved() -> Value {
    json!({"observedGeneration": -1})
}

/// The product that serves a ContextBroker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// The operator's own broker, deployed with its database.
    #[default]
    Native,
    /// A broker that somebody else runs; nothing is deployed, the operator tells whether it answers.
    External,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

schema::words!(Engine: "Native", "External");

fn managed_size(of: &str) -> String {
    format!("(has({of}.storage) && has({of}.storage.managed) ? {of}.storage.managed.size : '{DEFAULT_SIZE}')")
}

fn storage_class(of: &str) -> String {
    format!(
        "(has({of}.storage) && has({of}.storage.managed) && has({of}.storage.managed.storageClassName) \
         ? {of}.storage.managed.storageClassName : '')"
    )
}

fn size_never_shrinks() -> Rule {
    Rule::new(format!(
        "quantity({}).compareTo(quantity({})) >= 0",
        managed_size("self"),
        managed_size("oldSelf")
    ))
    .message(
        "the size of managed storage cannot shrink: write the old size or a larger one (absent means 10Gi)",
    )
    .field_path(".storage")
    .reason(Reason::FieldValueForbidden)
}

fn storage_class_is_immutable() -> Rule {
    Rule::new(format!("{} == {}", storage_class("self"), storage_class("oldSelf")))
        .message("storageClassName cannot be changed: write the old value; to move, make a new ContextBroker and copy the data")
        .field_path(".storage")
        .reason(Reason::FieldValueForbidden)
}

/// A context broker (MIM1): a broker with its database and its tenants, or a broker that somebody else runs.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mim.city",
    version = "v1alpha1",
    kind = "ContextBroker",
    namespaced,
    doc = "A context broker (MIM1): a broker with its database and its tenants, or a broker that somebody else runs.",
    status = "ContextBrokerStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "cb",
    category = "mim",
    validation = names::name_is_short(),
    validation = names::name_is_dns_1035(),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas", priority = 1),
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engine", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.engine == oldSelf.engine")
    .message("engine cannot be changed: make a new ContextBroker and move the data")
    .field_path(".engine").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.engine != 'External' || has(self.external)")
    .message("engine External needs external.url: write the address of the broker, for example https://broker.example.org")
    .field_path(".external").reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("self.engine == 'External' || !has(self.external)")
    .message("external is for engine External only: remove it, or write engine: External")
    .field_path(".external").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.engine != 'External' || !(has(self.release) || has(self.resources) || has(self.podTemplate) \
    || has(self.storage) || has(self.service) || has(self.tenants) || has(self.network) \
    || has(self.temporal) || has(self.contexts) || has(self.compatibility) || has(self.tenantCreation) || has(self.quotas) || has(self.notifications))")
    .message("engine External deploys nothing: remove release, resources, podTemplate, storage, service, tenants, tenantCreation, quotas, temporal, notifications, network, contexts and compatibility")
    .field_path(".engine").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("(has(self.storage) && has(self.storage.external)) == (has(oldSelf.storage) && has(oldSelf.storage.external))")
    .message("storage cannot change between managed and external (absent means managed): make a new ContextBroker and move the data")
    .field_path(".storage").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = size_never_shrinks())]
#[x_kube(validation = storage_class_is_immutable())]
pub struct ContextBrokerSpec {
    /// What serves the API: `Native`, the operator's own broker, or `External`, a broker that somebody else runs. It cannot be changed later.
    #[serde(default)]
    pub engine: Engine,
    /// Release of the operands, a name of the operator's catalogue; absent: the one recorded in the status at the first pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub release: Option<String>,
    /// Number of broker pods. 0 stops the broker and keeps its data: Ready with the reason `Stopped`. It has no effect with engine External, which has no pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    pub replicas: Option<i32>,
    /// Requests and limits of the broker container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What is added to the pods of the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// The broker's database; absent: managed, 10Gi, of the default StorageClass. The variant cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// What is added to the Service of the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Tenants of the NGSI-LD API (header `NGSILD-Tenant`) beside the default tenant, which is always there. Changes reach the broker without a restart. Where the database is the operator's, each has a Secret `<name>-reader.<tenant>` for whoever reads its data in SQL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tenants")]
    pub tenants: Vec<String>,
    /// Who makes tenants: `Configured`, the list alone, or `OnFirstWrite`, the first operation that creates something in one as well, which then is there until its data is dropped. Absent: Configured. Changes reach the broker without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_creation: Option<TenantCreation>,
    /// What tenants may have; absent: no limits. Beyond a limit what would add to it is refused with 403, and nothing else: lowering one deletes nothing. Changes reach the broker without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// JSON-LD contexts that the broker has without fetching them, for cities without a way out. A ConfigMap that comes into the list or leaves it restarts the broker's pods one by one; all other changes reach them without a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["url"])
    )]
    pub contexts: Vec<PreloadedContext>,
    /// What editions of NGSI-LD disagree on, for clients of older ones; absent: as the newest edition says. Changes reach the broker without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<Compatibility>,
    /// What the broker keeps of the past; absent: every change, for 90 days. Changes reach the broker without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporal: Option<Temporal>,
    /// What the broker keeps for receivers of notifications that take nothing; absent: 10000 changes for each subscription, of each entity the latest beyond that. Changes reach the broker without a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<Notifications>,
    /// Who may reach the broker, and where the broker may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Namespaces whose ContextSubscriptions may name this broker, beside its own; `*` stands for all. Absent: no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::namespaces")]
    #[x_kube(validation = Rule::new("self.size() == 1 || !('*' in self)")
        .message("* stands for all namespaces: write it alone, or name namespaces"))]
    pub allowed_namespaces: Vec<String>,
    /// The broker that somebody else runs: required with engine External, refused with any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// What becomes of the data when this object is deleted: `Retain` keeps volume and credentials, `Delete` removes them once the annotation `mim.city/confirm-deletion` holds this object's name. It has no effect with an external database or engine External.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// True: no child is written; status, certificates and deletion go on, and Ready is kept with the reason `Suspended`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

impl ContextBrokerSpec {
    /// The managed storage in force, defaults included; `None` with external storage or an external broker.
    #[must_use]
    pub fn managed_storage(&self) -> Option<ManagedStorage> {
        match (&self.engine, &self.storage) {
            (Engine::External, _)
            | (
                _,
                Some(Storage {
                    external: Some(_), ..
                }),
            ) => None,
            (
                _,
                Some(Storage {
                    managed: Some(managed),
                    ..
                }),
            ) => Some(managed.clone()),
            (_, _) => Some(ManagedStorage::default()),
        }
    }

    /// Whether objects of this namespace may name the broker, which is of another.
    #[must_use]
    pub fn allows(&self, namespace: &str) -> bool {
        let mut allowed = self.allowed_namespaces.iter();
        allowed.any(|allowed| allowed == "*" || allowed == namespace)
    }

    /// The replicas in force.
    #[must_use]
    pub fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(DEFAULT_REPLICAS)
    }

    /// What is kept of the past, defaults included.
    #[must_use]
    pub fn temporal(&self) -> Temporal {
        self.temporal.clone().unwrap_or_default()
    }

    /// The deletion policy in force.
    #[must_use]
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.deletion_policy.unwrap_or_default()
    }
}

/// What the operator found. Numbers that move all the time are in the metrics instead.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ContextBrokerStatus {
    /// Generation of the spec that this status tells about; -1: no pass has seen the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions by kstatus: `Ready` always; `Reconciling` and `Stalled` only while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Release that the children are made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub release: Option<String>,
    /// Broker pods that exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Broker pods that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Selector of the broker pods in the words of a query, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Base address of the NGSI-LD API inside the cluster, or of the external broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,
    /// Tenants of the spec that are in force, beside the default tenant; with tenantCreation OnFirstWrite there may be more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tenants")]
    pub tenants: Vec<String>,
    /// The managed database, once initialised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// Last sample of the probe of an external broker; refreshed at most every 10 minutes, or with a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStatus>,
    /// Value of the annotation `mim.city/requestedAt` whose pass has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::bound::HANDLED_REQUEST))]
    pub last_handled_requested_at: Option<String>,
}

/// The identity of a managed database: what must be found again on the volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// PostgreSQL's `system_identifier`, written at initialisation. A volume without it, or with another one, is `DataLost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub system_identifier: Option<String>,
    /// Size that the volume has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub size: Option<String>,
    /// Major version of PostgreSQL whose files are on the volume; a release never changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgresql_major: Option<i32>,
}

/// A sample of the probe of an external broker.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalStatus {
    /// When the broker was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// What the broker answered: `Answered`, `Unreachable`, `Unauthorised`, `NotNgsiLd` or `Refused` (an address that the operator must not call).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ProbeResult>,
    /// The result in a sentence; never a part of the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::bound::MESSAGE))]
    pub message: Option<String>,
}

/// What a probe of an external broker found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeResult {
    /// 200 with a list of types.
    Answered,
    /// No connection, no TLS, no answer in time, or a server error.
    Unreachable,
    /// 401 or 403, or a token that HTTP cannot carry: it is missing, wrong or may not read types.
    Unauthorised,
    /// An answer that no NGSI-LD broker gives.
    NotNgsiLd,
    /// The address resolves to one that the operator must not call.
    Refused,
}

schema::words!(ProbeResult: "Answered", "Unreachable", "Unauthorised", "NotNgsiLd", "Refused");
