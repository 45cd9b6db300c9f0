//! Who may talk to whom: one edge per real connection, for our pods only. Probes of the kubelet need none.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::{BROKER, Component, DATABASE, PREFLIGHT, members, put};
use crate::kinds::context_broker::plan::{
    ADMINISTRATOR, BROKER_ADMIN_PORT, BROKER_GATEWAY_PORT, BROKER_HEALTH_PORT, BROKER_PORT, DATABASE_PORT,
    Database, GATEWAY, Native, OPERATOR_LABELS, Plan,
};
use crate::reconcile::child::Children;

/// Addresses that are not public (IANA special-purpose registries, RFC 6890): private, shared, loopback, link-local with the metadata services of clouds,
/// benchmarking, multicast, reserved.
const NOT_PUBLIC_V4: [&str; 10] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// The same of IPv6: loopback, NAT64, 6to4, unique local, link-local, multicast.
const NOT_PUBLIC_V6: [&str; 6] = [
    "::1/128",
    "64:ff9b::/96",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Where the pods of a cluster's DNS listen. A policy sees the port behind the Service: 53 where they may bind it, 5353 where they run without
/// privileges, as OpenShift's do.
const DNS_PORTS: [u16; 2] = [53, 5353];

/// Adds the policy of the broker, and of the database where it is ours.
pub(super) fn add(plan: &Plan, native: &Native, children: &mut Children) {
    children.own(&broker(plan, native));
    if plan.managed().is_some() {
        children.own(&database(plan));
    }
}

fn broker(plan: &Plan, native: &Native) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": plan.child(BROKER.label), "labels": BROKER.labels(plan)},
        "spec": {
            "podSelector": {"matchLabels": BROKER.selector(plan)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress(plan, native),
            "egress": egress(plan, native),
        },
    })
}

fn ingress(plan: &Plan, native: &Native) -> Vec<Value> {
    let clients = native.clients.clone().unwrap_or_else(|| {
        vec![NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        }]
    });
    let mut rules = Vec::new();
    // A rule without peers would let everybody in.
    if !clients.is_empty() {
        rules.push(json!({"from": clients, "ports": [tcp(BROKER_PORT)]}));
    }
    if let Some(namespace) = &native.operator_namespace {
        rules.push(json!({"from": [operator(namespace)], "ports": [tcp(BROKER_PORT)]}));
    }
    for (component, port) in [(GATEWAY, BROKER_GATEWAY_PORT), (ADMINISTRATOR, BROKER_ADMIN_PORT)] {
        rules.push(json!({"from": [of_platform(plan, component)], "ports": [tcp(port)]}));
    }
    // Numbers, no data; and where a Prometheus runs is the cluster's business, not the city's.
    rules.push(json!({"from": [{"namespaceSelector": {}}], "ports": [tcp(BROKER_HEALTH_PORT)]}));
    rules
}

/// Pods of another component of the same platform. They need a certificate as well.
fn of_platform(plan: &Plan, component: &str) -> Value {
    json!({"podSelector": {"matchLabels": {
        "app.kubernetes.io/part-of": plan.part_of,
        "app.kubernetes.io/component": component,
    }}})
}

/// The operator's own pods, which keep ContextSubscriptions through the API.
fn operator(namespace: &str) -> Value {
    let labels: BTreeMap<_, _> = OPERATOR_LABELS.into_iter().collect();
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": labels},
    })
}

fn egress(plan: &Plan, native: &Native) -> Vec<Value> {
    let dns: Vec<_> = DNS_PORTS
        .into_iter()
        .flat_map(|port| [json!({"port": port, "protocol": "UDP"}), tcp(port)])
        .collect();
    let dns = json!({"ports": dns});
    let database = match &native.database {
        Database::Managed(_) => json!({"to": [pods(plan, DATABASE)], "ports": [tcp(DATABASE_PORT)]}),
        // Its address is known by name only, and may be a Service's.
        Database::External { port, .. } => json!({"ports": [tcp(*port)]}),
    };
    let public = json!({
        "to": [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": NOT_PUBLIC_V4}},
            {"ipBlock": {"cidr": "::/0", "except": NOT_PUBLIC_V6}},
        ],
        "ports": [tcp(443)],
    });
    let mut rules = vec![dns, database, public];
    if !native.allowed_private_cidrs.is_empty() {
        // A URL may have any port; the broker's own guard decides about the rest of it.
        let blocks: Vec<_> = native
            .allowed_private_cidrs
            .iter()
            .map(|cidr| json!({"ipBlock": {"cidr": cidr}}))
            .collect();
        rules.push(json!({"to": blocks}));
    }
    for rule in native.egress.iter().filter(|rule| !rule.to.is_empty()) {
        let mut given = members(json!({"to": rule.to}));
        put(&mut given, "ports", &rule.ports);
        rules.push(Value::Object(given));
    }
    rules
}

/// The database, and the pod that proves a new template of it: the broker may come in, and nothing goes out.
fn database(plan: &Plan) -> Value {
    let mut same = DATABASE.selector(plan);
    same.remove("app.kubernetes.io/component");
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": plan.child(DATABASE.label), "labels": DATABASE.labels(plan)},
        "spec": {
            "podSelector": {
                "matchLabels": same,
                "matchExpressions": [{
                    "key": "app.kubernetes.io/component",
                    "operator": "In",
                    "values": [DATABASE.label, PREFLIGHT.label],
                }],
            },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [pods(plan, BROKER)], "ports": [tcp(DATABASE_PORT)]}],
        },
    })
}

fn pods(plan: &Plan, component: Component) -> Value {
    json!({"podSelector": {"matchLabels": component.selector(plan)}})
}

fn tcp(port: u16) -> Value {
    json!({"port": port, "protocol": "TCP"})
}
