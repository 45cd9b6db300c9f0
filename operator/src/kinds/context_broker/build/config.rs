//! The broker's configuration: what reaches a running broker without a restart.

use serde_json::{Value, json};

use super::BROKER;
use crate::kinds::context_broker::plan::{Native, Plan};

/// The ConfigMap. Nothing of it is in the pod template, not even a digest: the broker re-reads the file when it changes.
pub(super) fn config_map(plan: &Plan, native: &Native) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": plan.child(BROKER.label), "labels": BROKER.labels(plan)},
        "data": {"broker.yaml": broker_yaml(native)},
    })
}

/// `broker.yaml` as `docs/operands.md` has it.
fn broker_yaml(native: &Native) -> String {
    let config = json!({
        "tenants": native.tenants,
        "egress": {"allowedPrivateCidrs": native.allowed_private_cidrs},
    });
    // JSON is YAML too, so there is always something that the broker can read.
    serde_yaml::to_string(&config).unwrap_or_else(|_| config.to_string())
}
