//! Policies of every shape: whatever the API server takes, the kernel must take too.

use std::net::Ipv4Addr;

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::city;

fn selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"matchLabels": {"app": "web"}})),
        Just(json!({"matchLabels": {"team": "town"}})),
        Just(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})),
        Just(json!({"matchExpressions": [{"key": "nobody", "operator": "Exists"}]})),
    ]
}

fn block() -> impl Strategy<Value = Value> {
    let parts = (any::<u32>(), 0_u8..=32, 0_u8..=32, any::<bool>());
    parts.prop_map(|(bits, first, second, excepting)| {
        let address = Ipv4Addr::from_bits(bits);
        let (wide, narrow) = (first.min(second), first.max(second));
        if excepting {
            json!({"ipBlock": {"cidr": format!("{address}/{wide}"), "except": [format!("{address}/{narrow}")]}})
        } else {
            json!({"ipBlock": {"cidr": format!("{address}/{wide}")}})
        }
    })
}

fn peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        selector().prop_map(|pods| json!({"podSelector": pods})),
        selector().prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        (selector(), selector())
            .prop_map(|(pods, namespaces)| json!({"podSelector": pods, "namespaceSelector": namespaces})),
        block(),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![Just("TCP"), Just("UDP"), Just("SCTP")];
    let (low, high) = (1_u16..=u16::MAX, 1_u16..=u16::MAX);
    prop_oneof![
        Just(json!({"port": "http"})),
        Just(json!({"port": "nowhere"})),
        protocol
            .clone()
            .prop_map(|protocol| json!({"protocol": protocol})),
        (protocol.clone(), low.clone())
            .prop_map(|(protocol, port)| json!({"protocol": protocol, "port": port})),
        (protocol, low, high).prop_map(|(protocol, first, second)| {
            json!({"protocol": protocol, "port": first.min(second), "endPort": first.max(second)})
        }),
    ]
}

fn rules(peers: &'static str) -> impl Strategy<Value = Value> {
    let lists = (
        prop::collection::vec(peer(), 0..4),
        prop::collection::vec(port(), 0..5),
    );
    let rule = lists.prop_map(move |(list, ports)| json!({peers: list, "ports": ports}));
    prop::collection::vec(rule, 0..4).prop_map(Value::from)
}

fn policies() -> impl Strategy<Value = String> {
    let spec = (selector(), rules("from"), rules("to")).prop_map(|(selected, ingress, egress)| {
        json!({"podSelector": selected, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress})
    });
    // JSON is YAML.
    prop::collection::vec(spec, 0..4).prop_map(|specs| {
        let documents = specs.iter().enumerate().map(|(number, spec)| {
            json!({"metadata": {"namespace": "city", "name": format!("p{number}")}, "spec": spec}).to_string()
        });
        documents.collect::<Vec<_>>().join("\n---\n")
    })
}

#[test]
fn the_kernel_takes_what_any_policies_become() {
    let network = city();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&policies(), |policies| {
        // Panics where nft refuses.
        network.enforce(&policies);
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}
