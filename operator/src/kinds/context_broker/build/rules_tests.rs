//! Rules that hold for every body, whatever the plan.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use mim_crds::Resources;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::{
    all, body, changed, everything, external_database, managed, minimal, native, parse, pod_templates,
    single, stopped,
};
use super::{build, generated, preflight};
use crate::kinds::context_broker::plan::{Data, Plan};
use crate::reconcile::child::{Bond, ChildKind};
use crate::reconcile::secret::{Content, Generated};

fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| template["spec"][list].as_array().into_iter().flatten())
}

/// Every body survives the way through the types of the API: no member is misspelt, in the wrong place or of the wrong type, and none says nothing.
#[test]
fn every_body_is_what_the_api_server_reads() {
    fn through<T: serde::Serialize + serde::de::DeserializeOwned>(body: &Value) -> Value {
        serde_json::to_value(parse::<T>(body.clone())).unwrap()
    }
    for (name, plan) in all() {
        for child in build(&plan).iter() {
            let read = match child.kind {
                ChildKind::ServiceAccount => through::<ServiceAccount>(&child.body),
                ChildKind::ConfigMap => through::<ConfigMap>(&child.body),
                ChildKind::PersistentVolumeClaim => through::<PersistentVolumeClaim>(&child.body),
                ChildKind::NetworkPolicy => through::<NetworkPolicy>(&child.body),
                ChildKind::Service => through::<Service>(&child.body),
                ChildKind::PodDisruptionBudget => through::<PodDisruptionBudget>(&child.body),
                ChildKind::StatefulSet => through::<StatefulSet>(&child.body),
                ChildKind::Deployment => through::<Deployment>(&child.body),
                other => panic!("{other:?} is not a child of a ContextBroker"),
            };
            assert_eq!(read, child.body, "{name}: {}", child.name);
        }
        if let Some(pod) = preflight(&plan, "r") {
            assert_eq!(through::<Pod>(&pod), pod, "{name}");
        }
    }
}

/// PodSecurity `restricted` (v1.37), and what the design adds to it.
fn restricted(template: &Value) -> Result<(), String> {
    let spec = &template["spec"];
    let pod = &spec["securityContext"];
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    ensure(
        pod["runAsNonRoot"] == true && pod["runAsUser"].as_i64() > Some(0),
        "runs as a numeric user, not root",
    )?;
    ensure(
        pod["seccompProfile"]["type"] == "RuntimeDefault",
        "has the seccomp profile of the runtime",
    )?;
    ensure(spec["automountServiceAccountToken"] == false, "has no token")?;
    ensure(
        spec["enableServiceLinks"] == false,
        "has no addresses of other Services in its environment",
    )?;
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        ensure(spec.get(host).is_none(), host)?;
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kinds: Vec<_> = volume
            .as_object()
            .into_iter()
            .flat_map(|of| of.keys())
            .filter(|key| *key != "name")
            .collect();
        let allowed = ["configMap", "secret", "emptyDir", "persistentVolumeClaim"];
        ensure(
            kinds.iter().all(|kind| allowed.contains(&kind.as_str())),
            &format!("volume {volume}"),
        )?;
        ensure(
            volume
                .get("emptyDir")
                .is_none_or(|of| of["sizeLimit"].is_string()),
            "every emptyDir has a limit",
        )?;
    }
    for container in containers(template) {
        let of = &container["securityContext"];
        ensure(of["allowPrivilegeEscalation"] == false, "cannot gain privileges")?;
        ensure(
            of["capabilities"] == json!({"drop": ["ALL"]}),
            "has no capabilities",
        )?;
        ensure(of["readOnlyRootFilesystem"] == true, "has a read-only root")?;
        ensure(of.get("privileged").is_none(), "is not privileged")?;
        ensure(
            container["image"]
                .as_str()
                .is_some_and(|image| image.contains("@sha256:")),
            "image by digest",
        )?;
        for (kind, name) in [
            ("requests", "cpu"),
            ("requests", "memory"),
            ("limits", "cpu"),
            ("limits", "memory"),
        ] {
            ensure(
                container["resources"][kind][name].is_string(),
                &format!("{kind} of {name}"),
            )?;
        }
    }
    Ok(())
}

#[test]
fn every_pod_passes_podsecurity_restricted() {
    for (name, plan) in all() {
        for (of, template) in pod_templates(&plan) {
            assert_eq!(restricted(&template), Ok(()), "{name}: {of}");
        }
    }
}

#[test]
fn the_check_of_restricted_finds_what_is_wrong() {
    let (_, template) = pod_templates(&minimal()).remove(0);
    for (path, value) in [
        ("/spec/securityContext/runAsUser", json!(0)),
        ("/spec/containers/0/securityContext/capabilities", json!({})),
        ("/spec/containers/0/image", json!("broker:latest")),
        ("/spec/containers/0/resources/limits", json!({"cpu": "1"})),
        ("/spec/volumes/0", json!({"name": "x", "hostPath": {"path": "/"}})),
    ] {
        let mut bad = template.clone();
        *bad.pointer_mut(path).unwrap() = value;
        assert!(restricted(&bad).is_err(), "{path}");
    }
}

#[test]
fn labels_of_a_user_are_added_and_never_over_ours() {
    let (_, template) = pod_templates(&everything())
        .into_iter()
        .find(|(of, _)| of == "vienna-broker")
        .unwrap();
    let labels = &template["metadata"]["labels"];
    assert_eq!(
        (&labels["team"], &labels["app.kubernetes.io/component"]),
        (&json!("broker"), &json!("broker"))
    );
    assert_eq!(labels["mim.city/name"], "vienna");
    let service = body(&build(&everything()), ChildKind::Service, "vienna-broker");
    assert_eq!(
        (
            &service["metadata"]["labels"]["team"],
            &service["spec"]["selector"].get("team")
        ),
        (&json!("data"), &None)
    );
}

#[test]
fn a_budget_stands_only_where_it_leaves_something_to_drain() {
    let has = |plan: &Plan| build(plan).contains(ChildKind::PodDisruptionBudget, "vienna-broker");
    assert!(has(&minimal()) && !has(&single()) && !has(&stopped()));
}

#[test]
fn stopped_stops_both_and_keeps_the_volume() {
    let children = build(&stopped());
    assert_eq!(
        body(&children, ChildKind::Deployment, "vienna-broker")["spec"]["replicas"],
        0
    );
    assert_eq!(
        body(&children, ChildKind::StatefulSet, "vienna-database")["spec"]["replicas"],
        0
    );
    assert!(children.contains(ChildKind::PersistentVolumeClaim, "vienna-database"));
}

/// Invariant 8: what holds data, or says what it is, belongs to nobody; an empty volume never takes the place of a lost one.
#[test]
fn invariant_8_data_outlives_mistakes() {
    let with = |data: Data| build(&changed(minimal(), |plan| managed(plan).data = data));
    let lost = Data::Lost {
        identifier: "1".into(),
        found: "nothing".into(),
    };
    for (data, volume, identity) in [
        (Data::New, true, false),
        (Data::Known("1".into()), true, true),
        (lost, false, false),
        (
            Data::LossAccepted {
                identifier: "1".into(),
            },
            false,
            false,
        ),
    ] {
        let children = with(data.clone());
        assert_eq!(
            children.contains(ChildKind::PersistentVolumeClaim, "vienna-database"),
            volume,
            "{data:?}"
        );
        assert_eq!(
            children.contains(ChildKind::ConfigMap, "vienna-database-identity"),
            identity,
            "{data:?}"
        );
    }
    for child in build(&minimal()).iter() {
        let is_data =
            child.kind == ChildKind::PersistentVolumeClaim || child.name == "vienna-database-identity";
        assert_eq!(child.bond != Bond::Owned, is_data, "{}", child.name);
    }
    let set = body(&build(&minimal()), ChildKind::StatefulSet, "vienna-database");
    assert_eq!(set["spec"].get("volumeClaimTemplates"), None);
}

/// Secrets are mounted and never read here: no plan holds a value of one, and only their names are in bodies.
#[test]
fn no_body_holds_a_secret_and_no_environment_names_one() {
    for (name, plan) in all() {
        let children = build(&plan);
        assert!(
            children.iter().all(|child| child.kind != ChildKind::Secret),
            "{name}"
        );
        for (of, template) in pod_templates(&plan) {
            for container in containers(&template) {
                let env = container["env"].to_string();
                assert!(
                    !env.contains("secretKeyRef") && container.get("envFrom").is_none(),
                    "{name}: {of}"
                );
            }
        }
    }
}

#[test]
fn the_broker_gets_the_authority_s_certificate_and_no_key() {
    let deployment = body(&build(&minimal()), ChildKind::Deployment, "vienna-broker");
    let volumes = deployment["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap()
        .clone();
    let ca = volumes
        .iter()
        .find(|volume| volume["name"] == "database-ca")
        .unwrap();
    assert_eq!(
        ca["secret"]["items"],
        json!([{"key": "ca.crt", "path": "ca.crt"}])
    );
    assert!(!deployment.to_string().contains("tls.key"));
}

fn secrets(is_managed: bool) -> Vec<Generated> {
    let plan = minimal();
    let tenants = ["north".to_owned()];
    generated(
        &plan.owner,
        &plan.part_of,
        is_managed.then_some(tenants.as_slice()),
    )
}

/// Secrets that pods mount, of this plan.
fn mounted(plan: &Plan) -> BTreeSet<String> {
    pod_templates(plan)
        .iter()
        .flat_map(|(_, template)| template["spec"]["volumes"].as_array().unwrap().clone())
        .filter_map(|volume| Some(volume["secret"]["secretName"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn generated_secrets_are_those_that_the_pods_mount_and_those_of_who_signs_and_who_comes_in() {
    let made = secrets(true);
    let names: BTreeSet<_> = made.iter().map(|secret| secret.name.as_str()).collect();
    let not_ours = [
        "vienna-database-ca",
        "vienna-broker-ca",
        "vienna-broker-gateway",
        "vienna-broker-administrator",
        "vienna-reader",
        "vienna-reader.north",
    ];
    let mounted_by_us = mounted(&minimal());
    let expected: BTreeSet<_> = mounted_by_us.iter().map(String::as_str).chain(not_ours).collect();
    assert_eq!(names, expected);
    assert!(not_ours.iter().all(|name| !mounted_by_us.contains(*name)));
    // What opens data stays with it; what does not goes with the broker.
    for secret in &made {
        let opens_data = secret.name.starts_with("vienna-database");
        assert_eq!(secret.bond == Bond::Kept, opens_data, "{}", secret.name);
    }
    let of_external: Vec<_> = secrets(false).into_iter().map(|secret| secret.name).collect();
    let of_broker = made.iter().map(|secret| &secret.name);
    let of_broker: Vec<_> = of_broker
        .filter(|name| name.contains("-broker") && *name != "vienna-broker-readers")
        .cloned()
        .collect();
    assert_eq!(of_external, of_broker);
    let host = made.iter().find_map(|secret| match &secret.content {
        Content::Credentials { host, .. } => Some(host.clone()),
        _ => None,
    });
    assert!(
        dns_names("vienna-database-tls").contains(&host.unwrap()),
        "the name that the broker calls is in the certificate"
    );
}

fn dns_names(name: &str) -> Vec<String> {
    let made = secrets(true).into_iter().find(|secret| secret.name == name);
    match made.unwrap().content {
        Content::Certificate { dns_names, .. } => dns_names,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_door_lets_in_the_one_name_that_stands_in_the_certificate_of_who_comes_in_there() {
    let config = body(&build(&minimal()), ChildKind::ConfigMap, "vienna-broker");
    let config: Value = serde_yaml::from_str(config["data"]["broker.yaml"].as_str().unwrap()).unwrap();
    let (gateway, administrator) = (
        dns_names("vienna-broker-gateway"),
        dns_names("vienna-broker-administrator"),
    );
    assert_ne!(gateway, administrator);
    assert_eq!(config["gateway"], json!({"clientNames": gateway}));
    assert_eq!(config["admin"], json!({"clientNames": administrator}));
}

#[test]
fn a_pod_that_proves_a_template_is_that_template_without_the_data() {
    let pod = preflight(&everything(), "vienna-database-5c9f").unwrap();
    let set = body(&build(&everything()), ChildKind::StatefulSet, "vienna-database");
    let mut expected = set["spec"]["template"]["spec"].clone();
    for list in ["initContainers", "containers"] {
        for container in expected[list].as_array_mut().unwrap() {
            container["env"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "MIM_PREFLIGHT", "value": "true"}));
        }
    }
    for volume in expected["volumes"].as_array_mut().unwrap() {
        if volume["name"] == "data" {
            *volume = json!({"name": "data", "emptyDir": {"sizeLimit": "1Gi"}});
        }
    }
    assert_eq!(pod["spec"], expected);
    assert_eq!(
        pod["metadata"]["annotations"]["mim.city/revision"],
        "vienna-database-5c9f"
    );
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "vienna");
    assert_eq!(preflight(&external_database(), "r"), None);
}

fn quantity() -> impl Strategy<Value = String> {
    "[1-9][0-9]{0,3}(m|k|M|G|Ki|Mi|Gi)?"
}

fn resources() -> impl Strategy<Value = Option<Resources>> {
    let map = || {
        prop::collection::btree_map(
            "cpu|memory|example.org/x",
            quantity().prop_map(k8s_openapi::apimachinery::pkg::api::resource::Quantity),
            0..3,
        )
    };
    prop::option::of((map(), map()).prop_map(|(requests, limits)| Resources { requests, limits }))
}

prop_compose! {
    fn plans()(
        name in "[a-z][-a-z0-9]{0,38}[a-z0-9]",
        replicas in 0..50,
        of_broker in resources(),
        of_database in resources(),
        labels in prop::collection::btree_map("[a-z]{1,8}", "[a-z]{0,8}", 0..4),
        tenants in prop::collection::vec("[a-z][a-z0-9_]{0,9}", 0..5),
        restarted_at in prop::option::of("[0-9]{4}"),
    ) -> Plan {
        changed(everything(), |plan| {
            plan.owner.name = name;
            let broker = native(plan);
            broker.replicas = replicas;
            broker.resources = of_broker;
            broker.pod_template.labels = labels;
            broker.tenants = tenants;
            broker.restarted_at = restarted_at;
            managed(plan).resources = of_database;
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_plan_gives_the_same_bytes(plan in plans()) {
        let bytes = |plan: &Plan| build(plan).iter().map(|child| child.body.to_string()).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&plan), bytes(&plan.clone()));
    }

    #[test]
    fn whatever_the_plan_pods_are_restricted_and_names_fit(plan in plans()) {
        for (of, template) in pod_templates(&plan) {
            prop_assert_eq!(restricted(&template), Ok(()), "{}", of);
        }
        for child in build(&plan).iter() {
            prop_assert!(child.name.len() <= 63, "{}", child.name);
        }
    }
}
