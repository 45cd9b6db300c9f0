//! What a user may say about pods and Services that we make.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{KubeSchema, core::Rule};
use serde::{Deserialize, Serialize};

use crate::{
    names::{keys_are_qualified, resources_have_names},
    schema,
};

/// A label or annotation key that selects, or that is ours, is refused.
fn reserved_keys() -> Rule {
    Rule::new(
        "self.all(k, !k.startsWith('mim.city/') && !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', \
         'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'app.kubernetes.io/part-of']))",
    )
    .message(
        "mim.city/* and app.kubernetes.io/{name,instance,component,managed-by,part-of} are set by the operator: use keys of your own domain",
    )
}

/// What is added to the pods of an operand.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels added to the pods, never over one of ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = reserved_keys())]
    #[x_kube(validation = keys_are_qualified())]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    #[x_kube(validation = reserved_keys())]
    #[x_kube(validation = keys_are_qualified())]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = keys_are_qualified())]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Rules of affinity to nodes and pods. Given, it replaces the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::affinity")]
    pub affinity: Option<Affinity>,
    /// How pods spread over zones and nodes. Given, it replaces the operator's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::topology_spread_constraints")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub priority_class_name: Option<String>,
    /// Secrets with the credentials of image registries, in addition to those of the operator's configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::image_pull_secrets")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// Requests and limits of one container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) \
    || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)")
    .message("a request must not be larger than the limit of the same name: lower the request or raise the limit"))]
pub struct Resources {
    /// What is reserved for the container, for example `cpu: 250m` and `memory: 256Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    #[x_kube(validation = resources_have_names())]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    #[x_kube(validation = resources_have_names())]
    pub limits: BTreeMap<String, Quantity>,
}

impl From<Resources> for ResourceRequirements {
    fn from(resources: Resources) -> Self {
        let some = |map: BTreeMap<_, _>| if map.is_empty() { None } else { Some(map) };
        Self {
            claims: None,
            limits: some(resources.limits),
            requests: some(resources.requests),
        }
    }
}

/// What is added to the Service of an operand.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Labels added to the Service, never over one of ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = reserved_keys())]
    #[x_kube(validation = keys_are_qualified())]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    #[x_kube(validation = reserved_keys())]
    #[x_kube(validation = keys_are_qualified())]
    pub annotations: BTreeMap<String, String>,
}
