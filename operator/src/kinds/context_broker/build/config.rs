//! The broker's configuration: what reaches a running broker without a restart.

use mim_crds::PreloadedContext;
use serde_json::{Value, json};

use super::{BROKER, client_name, members, put};
use crate::kinds::context_broker::plan::{ADMINISTRATOR, GATEWAY, Native, Plan};
use crate::reconcile::child::Owner;

/// The ConfigMap. Nothing of it is in the pod template, not even a digest: the broker re-reads the file when it changes.
pub(super) fn config_map(plan: &Plan, native: &Native) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": plan.child(BROKER.label), "labels": BROKER.labels(plan)},
        "data": {"broker.yaml": broker_yaml(&plan.owner, native)},
    })
}

/// Connections to the database that the brokers of one city plan for, all replicas together (`docs/operands.md`).
const DATABASE_CONNECTIONS: i32 = 120;
/// As many as one broker makes good use of.
const MOST_OF_ONE: i32 = 10;

/// How many connections each broker may have beside the one that watches the database.
fn connections(replicas: i32) -> i32 {
    // A rollout has one pod more (`maxSurge`).
    let pods = replicas.max(0).saturating_add(1);
    (DATABASE_CONNECTIONS / pods - 1).clamp(1, MOST_OF_ONE)
}

/// Each context with its file, below the folder where the broker looks for them.
fn contexts(native: &Native) -> Vec<Value> {
    let of = |context: &PreloadedContext| {
        let from = &context.config_map_ref;
        json!({"url": context.url, "file": format!("{}/{}", from.name, from.key)})
    };
    native.contexts.iter().map(of).collect()
}

/// `broker.yaml` as `docs/operands.md` has it.
fn broker_yaml(owner: &Owner, native: &Native) -> String {
    let door = |component: &str| json!({"clientNames": [client_name(owner, component)]});
    let mut config = members(json!({
        "tenants": native.tenants,
        // Receivers of notifications in the broker's own namespace need no allowance of the administrator.
        "egress": {"allowedPrivateCidrs": native.allowed_private_cidrs, "servicesOf": owner.namespace},
        "database": {"connections": connections(native.replicas)},
        "temporal": native.temporal,
        "gateway": door(GATEWAY),
        "admin": door(ADMINISTRATOR),
        "contract": {},
    }));
    // A broker that was made before these members were known keeps its file byte for byte.
    put(&mut config, "contexts", contexts(native));
    put(&mut config, "compatibility", &native.compatibility);
    put(&mut config, "droppedTenants", &native.dropped_tenants);
    put(&mut config, "tenantCreation", native.tenant_creation);
    put(&mut config, "quotas", &native.quotas);
    put(&mut config, "notifications", &native.notifications);
    let config = Value::Object(config);
    // JSON is YAML too, so there is always something that the broker can read.
    serde_yaml::to_string(&config).unwrap_or_else(|_| config.to_string())
}

#[cfg(test)]
mod tests {
    use mim_database::server::{MAX_CONNECTIONS, SUPERUSER_CONNECTIONS};

    use super::*;

    /// The largest number of replicas that the schema takes.
    const MOST_REPLICAS: i32 = 50;

    /// Connections of all pods of a rollout, the one that watches among each pod's.
    fn in_all(replicas: i32) -> i32 {
        (replicas + 1) * (connections(replicas) + 1)
    }

    #[test]
    fn the_server_takes_all_connections_of_any_number_of_replicas_and_of_a_change_of_it() {
        let room = i32::try_from(MAX_CONNECTIONS - SUPERUSER_CONNECTIONS).unwrap();
        for from in 0..=MOST_REPLICAS {
            assert!(
                in_all(from) <= DATABASE_CONNECTIONS,
                "{from} replicas: {}",
                in_all(from)
            );
            for to in from..=MOST_REPLICAS {
                // Old pods have not yet read the new number; new ones start with it.
                let old = from * (connections(from) + 1);
                let new = (to + 1 - from) * (connections(to) + 1);
                assert!(old + new < room, "{from} to {to} replicas: {}", old + new);
            }
        }
        assert_eq!((connections(2), connections(9), connections(50)), (10, 10, 1));
    }

    #[test]
    fn the_schema_takes_no_more_replicas_than_are_planned_for() {
        let schema = include_str!("../../../../../crds/contextbrokers.mim.city.yaml");
        let replicas = schema.split("              replicas:").nth(1).unwrap();
        let maximum = replicas
            .split("maximum: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap();
        assert_eq!(maximum, format!("{MOST_REPLICAS}.0"));
    }
}
