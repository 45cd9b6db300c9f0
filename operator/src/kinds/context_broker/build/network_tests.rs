//! Who selects whom, and who may talk to whom.

use serde_json::{Value, json};

use super::build;
use super::fixtures::{body, changed, everything, external_database, minimal, native, pod_templates};
use crate::kinds::context_broker::plan::Plan;
use crate::reconcile::child::ChildKind;

/// Selects as a label selector does.
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let within = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
        .all(|rule| {
            assert_eq!(rule["operator"], "In");
            let value = labels.get(rule["key"].as_str().unwrap());
            value.is_some_and(|value| rule["values"].as_array().unwrap().contains(value))
        });
    equal && within
}

#[test]
fn the_operator_comes_in_from_its_own_namespace_alone_and_to_the_api_alone_whoever_else_may() {
    for plan in [
        changed(minimal(), |plan| {
            native(plan).operator_namespace = Some("mim-system".into());
        }),
        everything(),
    ] {
        let children = build(&plan);
        let policy = body(&children, ChildKind::NetworkPolicy, "vienna-broker");
        let rules = policy["spec"]["ingress"].as_array().unwrap();
        let of_operator: Vec<_> = rules
            .iter()
            .filter(|rule| rule.to_string().contains("mim-system"))
            .collect();
        assert_eq!(of_operator.len(), 1, "{rules:#?}");
        assert_eq!(
            of_operator[0]["ports"],
            json!([{"port": 1026, "protocol": "TCP"}])
        );
        let peers = of_operator[0]["from"].as_array().unwrap();
        assert_eq!(peers.len(), 1, "a pod there, not any pod and any namespace");
        assert_eq!(
            peers[0]["namespaceSelector"]["matchLabels"],
            json!({"kubernetes.io/metadata.name": "mim-system"})
        );
        let labels =
            json!({"app.kubernetes.io/name": "mim-operator", "app.kubernetes.io/component": "operator"});
        assert_eq!(peers[0]["podSelector"]["matchLabels"], labels);
    }
    // Outside of a cluster there is no such pod.
    let policy = body(&build(&minimal()), ChildKind::NetworkPolicy, "vienna-broker");
    assert!(
        !policy.to_string().contains("namespaceSelector\":{\"matchLabels"),
        "{policy}"
    );
}

#[test]
fn each_selector_selects_the_pods_that_it_means_and_no_others() {
    let plan = everything();
    let children = build(&plan);
    let labels = |name: &str| {
        pod_templates(&plan)
            .into_iter()
            .find(|(of, _)| of == name)
            .unwrap()
            .1["metadata"]["labels"]
            .clone()
    };
    let pods = [
        labels("vienna-broker"),
        labels("vienna-database"),
        labels("preflight"),
    ];
    let other = changed(everything(), |plan| plan.owner.name = "graz".into());
    let strangers: Vec<_> = pod_templates(&other)
        .into_iter()
        .map(|(_, of)| of["metadata"]["labels"].clone())
        .collect();
    for (kind, name, path, meant) in [
        (
            ChildKind::Deployment,
            "vienna-broker",
            "/spec/selector",
            [true, false, false],
        ),
        (
            ChildKind::PodDisruptionBudget,
            "vienna-broker",
            "/spec/selector",
            [true, false, false],
        ),
        (
            ChildKind::NetworkPolicy,
            "vienna-broker",
            "/spec/podSelector",
            [true, false, false],
        ),
        (
            ChildKind::StatefulSet,
            "vienna-database",
            "/spec/selector",
            [false, true, false],
        ),
        (
            ChildKind::NetworkPolicy,
            "vienna-database",
            "/spec/podSelector",
            [false, true, true],
        ),
    ] {
        let selector = body(&children, kind, name).pointer(path).unwrap().clone();
        assert_eq!(
            pods.each_ref().map(|pod| selects(&selector, pod)),
            meant,
            "{kind:?} {name}"
        );
        assert!(
            !strangers.iter().any(|pod| selects(&selector, pod)),
            "{kind:?} {name} of another broker"
        );
    }
    for (name, meant) in [
        ("vienna-broker", [true, false, false]),
        ("vienna-database", [false, true, false]),
    ] {
        let selector = json!({"matchLabels": body(&children, ChildKind::Service, name)["spec"]["selector"]});
        assert_eq!(
            pods.each_ref().map(|pod| selects(&selector, pod)),
            meant,
            "Service {name}"
        );
    }
}

#[test]
fn without_clients_named_the_namespace_may_come_in_and_with_them_only_they() {
    let rules = |plan: &Plan| {
        body(&build(plan), ChildKind::NetworkPolicy, "vienna-broker")["spec"]["ingress"].clone()
    };
    assert_eq!(rules(&minimal())[0]["from"], json!([{"podSelector": {}}]));
    assert_eq!(rules(&everything())[0]["from"].as_array().unwrap().len(), 2);
    let nobody = changed(minimal(), |plan| native(plan).clients = Some(Vec::new()));
    let ports: Vec<_> = rules(&nobody)
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["ports"][0]["port"].clone())
        .collect();
    assert_eq!(
        ports,
        [json!(1027), json!(1028), json!(8081)],
        "a rule without peers would let everybody in"
    );
}

#[test]
fn the_doors_of_the_gateway_and_of_administrators_are_for_pods_of_the_same_platform_alone() {
    let policy = body(&build(&everything()), ChildKind::NetworkPolicy, "vienna-broker");
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    for (port, component) in [(1027, "gateway"), (1028, "administrator")] {
        let to: Vec<_> = rules
            .iter()
            .filter(|rule| {
                rule["ports"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|of| of["port"] == port)
            })
            .collect();
        let labels =
            json!({"app.kubernetes.io/part-of": "austria", "app.kubernetes.io/component": component});
        assert_eq!(
            to,
            [&json!({
                "from": [{"podSelector": {"matchLabels": labels}}],
                "ports": [{"port": port, "protocol": "TCP"}],
            })]
        );
    }
}

#[test]
fn the_database_lets_the_broker_in_and_goes_nowhere() {
    let spec = body(&build(&minimal()), ChildKind::NetworkPolicy, "vienna-database")["spec"].clone();
    assert_eq!(
        (spec["policyTypes"].clone(), spec.get("egress")),
        (json!(["Ingress", "Egress"]), None)
    );
    assert_eq!(
        spec["ingress"][0]["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"],
        "broker"
    );
}

#[test]
fn an_external_database_is_reached_at_the_port_of_its_secret() {
    let egress = body(
        &build(&external_database()),
        ChildKind::NetworkPolicy,
        "vienna-broker",
    )["spec"]["egress"]
        .clone();
    assert!(
        egress
            .as_array()
            .unwrap()
            .contains(&json!({"ports": [{"port": 6432, "protocol": "TCP"}]}))
    );
    assert!(!build(&external_database()).contains(ChildKind::StatefulSet, "vienna-database"));
}
