//! Who may reach an operand, and where an operand may go.

use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Connections of an operand beyond those that its work needs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Who may reach the API; absent: every pod of the same namespace. Given, it replaces that default. The pods of the operator are let in beside them: they keep subscriptions, and look at this broker where an engine External names it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::network_peers")]
    pub clients: Vec<NetworkPolicyPeer>,
    /// Where the operand may go, in addition to DNS, its database and public addresses on port 443.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub egress: Vec<EgressRule>,
}

/// Destinations that an operand may reach.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EgressRule {
    /// Destinations: an address block, or pods by labels of pods and namespaces.
    #[schemars(schema_with = "schema::network_peers")]
    pub to: Vec<NetworkPolicyPeer>,
    /// Ports; absent: all ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::network_ports")]
    pub ports: Vec<NetworkPolicyPort>,
}
