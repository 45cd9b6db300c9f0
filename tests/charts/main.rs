//! The charts, rendered by helm over a matrix of values: the same bytes twice, valid for the API server's own schemas, let in by a real
//! API server, with the rights that the design allows and no more; installed, upgraded and uninstalled by helm.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests: a failed expectation is the result"
)]

mod api_schemas;
mod helm;
mod monitoring;
mod rights;

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use mim_lab::{ControlPlane, Options};
use serde_json::{Value, json};

use helm::{Helm, MATRIX, NAMESPACE, RELEASE};
use mim_tests::cluster::{api_of, resource_of};

/// Kinds of the Prometheus operator, whose schemas no API server of ours has. They are looked at by hand below.
const FOREIGN: &str = "monitoring.coreos.com/v1";

fn helm() -> Helm {
    Helm::find().unwrap()
}

async fn plane() -> ControlPlane {
    let _ = rustls::crypto::ring::default_provider().install_default();
    ControlPlane::start(Options {
        controller_manager: true,
        ..Options::default()
    })
    .await
    .unwrap()
}

#[test]
fn the_same_values_give_the_same_bytes() {
    let helm = helm();
    for values in MATRIX {
        assert_eq!(
            helm.template("mim-operator", values),
            helm.template("mim-operator", values),
            "{values:?}"
        );
    }
    assert_eq!(helm.template("mim-crds", &[]), helm.template("mim-crds", &[]));
}

#[test]
fn the_notes_say_how_to_remove_each_definition() {
    let sources = helm::sources("mim-crds");
    let (_, notes) = sources
        .iter()
        .find(|(file, _)| file.ends_with("NOTES.txt"))
        .unwrap();
    let removal = notes.lines().filter(|line| line.contains("kubectl delete crd"));
    let removed: BTreeSet<&str> = removal.flat_map(|line| line.split_whitespace().skip(3)).collect();
    let names = mim_crds::all().into_iter().map(|crd| crd.metadata.name.unwrap());
    for name in names {
        assert!(removed.contains(name.as_str()), "{name} is not in\n{notes}");
    }
}

#[test]
fn templates_look_nothing_up_and_invent_nothing() {
    for chart in ["mim-crds", "mim-operator"] {
        for (file, text) in helm::sources(chart) {
            for word in [
                "lookup ",
                "randAlpha",
                "randNumeric",
                "randAscii",
                "genCA",
                "genSelfSignedCert",
                "genPrivateKey",
                "uuidv4",
                "now |",
            ] {
                assert!(
                    !text.contains(word),
                    "{chart}/{file} has {word}: no GitOps tool renders that twice alike"
                );
            }
        }
    }
}

/// Both ends of one connection are policies: that of the operator is written here, that of a broker by the operator.
#[test]
fn the_operator_and_its_brokers_let_each_other_in_by_the_labels_that_they_have() {
    let helm = helm();
    let mut policies = 0;
    for values in MATRIX {
        let objects = helm::objects(&helm.template("mim-operator", values));
        let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
        for deployment in of_kind("Deployment") {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            for (key, value) in mim_operator::kinds::context_broker::plan::OPERATOR_LABELS {
                assert_eq!(labels[key], value, "{values:?}");
            }
        }
        for policy in of_kind("NetworkPolicy") {
            let egress = policy["spec"]["egress"].as_array().unwrap();
            let to_brokers = egress
                .iter()
                .filter(|rule| rule.to_string().contains("mim-broker"));
            let ports: Vec<_> = to_brokers.map(|rule| rule["ports"].clone()).collect();
            assert_eq!(ports, [json!([{"port": 1026, "protocol": "TCP"}])], "{values:?}");
            policies += 1;
        }
    }
    assert!(policies >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rendered_is_valid_and_let_in_by_an_api_server() {
    let helm = helm();
    let plane = plane().await;
    let client = plane.client().await.unwrap();
    let openapi = client
        .request_text(http::Request::get("/openapi/v2").body(Vec::new()).unwrap())
        .await
        .unwrap();
    api_schemas::write(&serde_json::from_str(&openapi).unwrap(), plane.folder());
    for name in [NAMESPACE, "city-north", "city-south", "city-a", "city-b", "123"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        Api::<DynamicObject>::all_with(client.clone(), &resource_of(&namespace))
            .patch(name, &PatchParams::apply("tests"), &Patch::Apply(&namespace))
            .await
            .unwrap();
    }
    let mut kinds = BTreeSet::new();
    for values in MATRIX.iter().copied().chain([helm::CRDS]) {
        let text = helm.template(helm::chart_of(values), values);
        helm.kubeconform(&text, plane.folder());
        for object in helm::objects(&text) {
            let kind = object["kind"].as_str().unwrap().to_owned();
            if object["apiVersion"] != FOREIGN {
                dry_run(&client, &object).await;
            }
            if kind == "Deployment" {
                let template = &object["spec"]["template"];
                let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
                pod["metadata"]["name"] = json!("as-the-kubelet-gets-it");
                pod["metadata"]["namespace"] = json!(NAMESPACE);
                pod["spec"].as_object_mut().unwrap().remove("serviceAccountName");
                pod["spec"].as_object_mut().unwrap().remove("priorityClassName");
                dry_run(&client, &pod).await;
            }
            kinds.insert(kind);
        }
    }
    for kind in [
        "ClusterRole",
        "ConfigMap",
        "CustomResourceDefinition",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PrometheusRule",
        "Role",
        "ServiceMonitor",
    ] {
        assert!(kinds.contains(kind), "the matrix renders no {kind}");
    }
}

/// Server-side apply that changes nothing; PodSecurity `restricted` decides about pods.
async fn dry_run(client: &kube::Client, object: &Value) {
    let kind = object["kind"].as_str().unwrap();
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => api_of(client, namespace, object),
        None => Api::all_with(client.clone(), &resource_of(object)),
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::apply("tests").force()
    };
    let answer = api.patch(name, &params, &Patch::Apply(object)).await;
    assert!(answer.is_ok(), "{kind} {name}: {answer:?}\n{object}");
}

#[test]
fn the_operator_may_do_what_the_design_allows_and_no_more() {
    let helm = helm();
    for values in MATRIX {
        let objects = helm::objects(&helm.template("mim-operator", values));
        rights::check(&objects, values);
    }
}

#[test]
fn the_operators_pod_is_locked_down_and_runs_by_digest_from_the_named_registry() {
    let helm = helm();
    let objects = helm::objects(&helm.template("mim-operator", &["ci/cluster.yaml"]));
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let image = container["image"].as_str().unwrap();
    assert!(
        image.starts_with("registry.example.org:5000/mirror/mim/operator@sha256:"),
        "{image}"
    );
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "mirror"}]));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let arguments: Vec<_> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|argument| argument.as_str().unwrap())
        .collect();
    for wanted in [
        "--mode=cluster",
        "--image-registry=registry.example.org:5000/mirror",
        "--image-pull-secrets=mirror",
    ] {
        assert!(arguments.contains(&wanted), "{wanted} is not in {arguments:?}");
    }
    let source =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../operator/src/main.rs")).unwrap();
    for argument in &arguments {
        let (name, _) = argument.trim_start_matches("--").split_once('=').unwrap();
        assert!(
            source.contains(&format!("\n    {}: ", name.replace('-', "_"))),
            "the operator has no argument --{name}"
        );
    }
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(
            source.contains(&format!("env = \"{name}\"")),
            "the operator reads no variable {name}"
        );
    }
    let single = helm.template("mim-operator", &["ci/single.yaml"]);
    assert!(
        single.contains("--watch-namespaces=city-a,city-b") && single.contains("image: mim/operator:dev")
    );
    assert!(!single.contains("kind: PodDisruptionBudget") && !single.contains("kind: NetworkPolicy"));
}

#[test]
fn a_new_catalogue_restarts_the_operator_and_nothing_else_does() {
    let helm = helm();
    let digest = |set: &[&str]| {
        let objects = helm::objects(&helm.template_with("mim-operator", &["ci/namespaced.yaml"], set));
        let deployment = objects
            .into_iter()
            .find(|object| object["kind"] == "Deployment")
            .unwrap();
        deployment["spec"]["template"]["metadata"]["annotations"]["mim.city/releases"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(digest(&[]), digest(&["metrics.serviceMonitor.enabled=true"]));
    assert_ne!(digest(&[]), digest(&["releases[0].name=0.2.0"]));
}

/// The operator reads these values at its start: what the schema lets in must not make it crash there.
#[test]
fn what_the_schema_lets_in_is_read_by_the_operator() {
    let helm = helm();
    for cidr in [
        "10.20.0.0/16",
        "255.255.255.255/32",
        "::/0",
        "fd00:20::/32",
        "2001:db8::1:2:3/128",
        "1:2:3:4:5:6:7:8/64",
    ] {
        assert!(cidr.parse::<ipnet::IpNet>().is_ok(), "{cidr}");
        helm.template_with(
            "mim-operator",
            &["ci/namespaced.yaml"],
            &[&format!("egress.allowedPrivateCidrs[0]={cidr}")],
        );
    }
    for level in [
        "off",
        "info",
        "mim_operator=debug",
        "mim_operator::reconcile=trace",
    ] {
        helm.template_with(
            "mim-operator",
            &["ci/namespaced.yaml"],
            &[&format!("log.level={level}")],
        );
    }
}

/// YAML reads `123` as a number where nothing says that it is a name.
#[test]
fn names_of_digits_stay_names() {
    let helm = helm();
    let text = helm.template("mim-operator", &["ci/cluster.yaml", "ci/digits.yaml"]);
    assert_eq!(
        text.matches("mim.city/releases:").count(),
        1,
        "an annotation is written twice"
    );
    let objects = helm::objects(&text);
    let binding = objects
        .iter()
        .find(|object| object["kind"] == "RoleBinding" && object["metadata"]["namespace"] == "123");
    assert!(binding.is_some(), "no RoleBinding in the namespace 123:\n{text}");
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    let template = &deployment["spec"]["template"];
    assert_eq!(template["spec"]["imagePullSecrets"], json!([{"name": "456"}]));
    assert_eq!(template["spec"]["priorityClassName"], "789");
    assert_ne!(template["metadata"]["annotations"]["mim.city/releases"], "mine");
}

#[test]
fn two_releases_in_one_namespace_have_two_leases() {
    let helm = helm();
    let lease = |release: &str| {
        let objects = helm::objects(&helm.template_of(release, "mim-operator", &["ci/namespaced.yaml"]));
        let text = serde_json::to_string(&objects).unwrap();
        let role = objects
            .iter()
            .find(|object| object["rules"][1]["resources"] == json!(["leases"]))
            .unwrap();
        let name = role["rules"][1]["resourceNames"][0].as_str().unwrap().to_owned();
        assert!(
            text.contains(&format!("\"--lease={name}\"")),
            "the operator is not told its lease {name}"
        );
        name
    };
    assert_eq!(lease(RELEASE), RELEASE);
    assert_ne!(lease("north"), lease("south"));
}

#[test]
fn wrong_values_are_refused_with_words() {
    let helm = helm();
    for (files, set, words) in [
        (&[][..], "", "releases is empty"),
        (&["ci/namespaced.yaml"], "mode=galaxy", "mode"),
        (&["ci/namespaced.yaml"], "replica=3", "replica"),
        (&["ci/namespaced.yaml"], "image.digest=latest", "digest"),
        (
            &["ci/namespaced.yaml"],
            "onboardNamespaces[0]=city",
            "onboardNamespaces",
        ),
        (&["ci/cluster.yaml"], "watchNamespaces[0]=city", "watchNamespaces"),
        (
            &["ci/namespaced.yaml"],
            "egress.allowedPrivateCidrs[0]=999.9.9.9/999",
            "allowedPrivateCidrs",
        ),
        (
            &["ci/namespaced.yaml"],
            "egress.allowedPrivateCidrs[0]=fd00::1::/64",
            "allowedPrivateCidrs",
        ),
        (&["ci/namespaced.yaml"], "log.level=loud", "level"),
        (&["ci/namespaced.yaml"], "log.level=mim_operator=loud", "level"),
        (&["ci/namespaced.yaml"], "networkPolicy=null", "networkPolicy"),
        (&["ci/namespaced.yaml"], "metrics=null", "metrics"),
        (
            &["ci/namespaced.yaml"],
            "metrics.serviceMonitor=null",
            "serviceMonitor",
        ),
        (
            &["ci/namespaced.yaml"],
            "metrics.prometheusRule.enabled=true",
            "metrics.prometheusRule.enabled needs metrics.serviceMonitor.enabled",
        ),
        (
            &["ci/namespaced.yaml"],
            "images.registry=https://registry.example.org",
            "registry",
        ),
    ] {
        let refusal = helm.refused("mim-operator", files, set);
        assert!(refusal.contains(words), "{set}: {refusal}");
    }
    assert!(helm.refused("mim-crds", &[], "keep=false").contains("keep"));
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_keeps_the_definitions_on_uninstall() {
    let helm = helm();
    let plane = plane().await;
    let client = plane.client().await.unwrap();
    let kubeconfig = plane.kubeconfig();
    helm.run(&kubeconfig, &["install", "mim-crds", "CHART/mim-crds", "--wait"]);
    let listed = client.list_api_group_resources("mim.city/v1alpha1").await;
    let listed: Vec<String> = listed
        .unwrap()
        .resources
        .into_iter()
        .map(|found| found.kind)
        .collect();
    for definition in mim_crds::all() {
        let kind = &definition.spec.names.kind;
        assert!(
            listed.contains(kind),
            "{kind} is not in {listed:?}, and helm keeps that for kubectl"
        );
    }
    helm.run(
        &kubeconfig,
        &[
            "install",
            RELEASE,
            "CHART/mim-operator",
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--values",
            "CHART/mim-operator/ci/namespaced.yaml",
        ],
    );
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    assert_eq!(
        deployments.get("mim-operator").await.unwrap().spec.replicas,
        Some(2)
    );
    helm.run(
        &kubeconfig,
        &[
            "upgrade",
            RELEASE,
            "CHART/mim-operator",
            "--namespace",
            NAMESPACE,
            "--reuse-values",
            "--set",
            "replicas=3",
        ],
    );
    assert_eq!(
        deployments.get("mim-operator").await.unwrap().spec.replicas,
        Some(3)
    );
    helm.run(&kubeconfig, &["uninstall", RELEASE, "--namespace", NAMESPACE]);
    helm.run(&kubeconfig, &["uninstall", "mim-crds"]);
    assert!(deployments.get_opt("mim-operator").await.unwrap().is_none());
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let kept: Vec<_> = definitions.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(
        kept.len(),
        mim_crds::all().len(),
        "the definitions went with the chart, and every city with them"
    );
}
