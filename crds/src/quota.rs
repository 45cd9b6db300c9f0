//! What tenants of a broker may have.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The largest limit: numbers beyond it are none that a broker could keep, and other programs may not read them exactly.
const MOST: i64 = 1_000_000_000_000_000;

/// What each tenant may have, and tenants that may have something else. It has no effect on what a tenant has already.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.entities) || has(self.subscriptions) || has(self.bytes) || has(self.tenants)")
    .message("quotas limits nothing: write entities, subscriptions, bytes or tenants, or remove quotas"))]
pub struct Quotas {
    /// Entities that each tenant may have, the default tenant included; absent: as many as it likes. What is only known of the past is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST))]
    pub entities: Option<i64>,
    /// Subscriptions that each tenant may have, the default tenant included, those of ContextSubscriptions among them; absent: 100000, which is the most that a broker keeps of a tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub subscriptions: Option<i64>,
    /// Bytes that the entities of each tenant may have together, the default tenant included, as JSON with whole names; absent: as many as they like. Such a limit makes writes of one tenant wait for each other. Their past is bounded by `temporal.retention`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST))]
    pub bytes: Option<i64>,
    /// Tenants for which other limits hold, in the place of all of those above: what is absent here has no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["tenant"])
    )]
    pub tenants: Vec<TenantQuotas>,
}

/// What one tenant may have.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TenantQuotas {
    /// Name of the tenant; empty for the default tenant. One that there is not yet has these limits once it is made.
    #[schemars(length(max = 63), regex(pattern = r"^[A-Za-z0-9_-]*$"))]
    pub tenant: String,
    /// Entities that it may have; absent: as many as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST))]
    pub entities: Option<i64>,
    /// Subscriptions that it may have; absent: as many as a broker keeps of a tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub subscriptions: Option<i64>,
    /// Bytes that its entities may have together; absent: as many as they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MOST))]
    pub bytes: Option<i64>,
}
