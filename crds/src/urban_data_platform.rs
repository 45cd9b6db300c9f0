//! UrbanDataPlatform: one city's stack, its components and how far it meets the MIMs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    DeletionPolicy,
    context_broker::{ContextBrokerSpec, unobserved},
    names,
    schema::{self, Default as SchemaDefault},
};

/// Defaults that derive cannot say.
pub const DEFAULTS: &[SchemaDefault] = &[
    SchemaDefault {
        path: &["spec", "deletionPolicy"],
        value: || json!("Retain"),
    },
    SchemaDefault {
        path: &["status"],
        value: unobserved,
    },
];

/// The edition of the MIMs whose rows `status.mims` has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// The MIMs as OASC adopted them in 2022.
    #[default]
    #[serde(rename = "oasc-2022")]
    Oasc2022,
    /// MIMs Plus, version 9.0.
    #[serde(rename = "mims-plus-9.0")]
    MimsPlus90,
    /// A value of a newer definition, kept as it was read: `Stalled` with the reason `InvalidSpec`, never a crash.
    #[serde(untagged)]
    Unknown(String),
}

schema::words!(Profile: "oasc-2022", "mims-plus-9.0");

/// One city's stack. The operator makes the components that it names, and tells how far they meet the MIMs.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "mim.city",
    version = "v1alpha1",
    kind = "UrbanDataPlatform",
    namespaced,
    doc = "One city's stack. The operator makes the components that it names, and tells how far they meet the MIMs.",
    status = "UrbanDataPlatformStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "udp",
    category = "mim",
    validation = names::name_is_short(),
    validation = names::name_is_dns_1035(),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.profile", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct UrbanDataPlatformSpec {
    /// Release of the operands of all components, a name of the operator's catalogue; absent: the one recorded in the status at the first pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub release: Option<String>,
    /// Edition of the MIMs whose rows `status.mims` has: `oasc-2022` or `mims-plus-9.0`.
    #[serde(default)]
    pub profile: Profile,
    /// What becomes of the data when this object is deleted, for components that do not say it themselves: `Retain` keeps volumes and credentials, `Delete` removes them once the annotation `mim.city/confirm-deletion` holds this object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// True: no child is written, in all components; status, certificates and deletion go on, and Ready is kept with the reason `Suspended`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The context broker (MIM1), a ContextBroker of this object's name; absent: none. Its `release` and `deletionPolicy` go before the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.engine != 'External' || !has(self.replicas)")
        .message("engine External deploys nothing: remove replicas")
        .field_path(".replicas").reason(Reason::FieldValueForbidden))]
    pub broker: Option<ContextBrokerSpec>,
}

impl UrbanDataPlatformSpec {
    /// The deletion policy in force.
    #[must_use]
    pub fn deletion_policy(&self) -> DeletionPolicy {
        self.deletion_policy.unwrap_or_default()
    }
}

/// The sum of the components.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UrbanDataPlatformStatus {
    /// Generation of the spec that this status tells about; -1: no pass has seen the object yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions by kstatus: `Ready` always; `Reconciling` and `Stalled` only while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Release that the components are made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub release: Option<String>,
    /// One row per component, by kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub components: Vec<ComponentStatus>,
    /// One row per MIM of the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["mim"])
    )]
    pub mims: Vec<MimStatus>,
    /// Value of the annotation `mim.city/requestedAt` whose pass has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = crate::bound::HANDLED_REQUEST))]
    pub last_handled_requested_at: Option<String>,
}

/// One component of a platform.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Kind of the component, for example `ContextBroker`.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Name of the component, in the platform's namespace.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The component's condition Ready: `True`, `False` or `Unknown`.
    pub ready: Readiness,
    /// The message of that condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub message: Option<String>,
    /// Generation of the component that this row tells about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Nobody has said it for the present generation.
    #[default]
    Unknown,
}

schema::words!(Readiness: "True", "False", "Unknown");

/// What the stack does for one MIM. It tells what is provided, and is no statement of conformance.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MimStatus {
    /// The MIM in the words of the profile, for example `MIM1`.
    #[schemars(length(max = 63))]
    pub mim: String,
    /// `Provided`: every component for it is ready; `Degraded`: there is one, but not ready; `NotProvided`: there is none.
    pub state: MimState,
    /// Components that serve it, as `<kind>/<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::component_names")]
    pub by: Vec<String>,
}

/// How far a MIM is served by the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MimState {
    /// Every component for it is ready.
    Provided,
    /// There is a component for it, but not ready.
    Degraded,
    /// There is no component for it.
    #[default]
    NotProvided,
}

schema::words!(MimState: "Provided", "Degraded", "NotProvided");
