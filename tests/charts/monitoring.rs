//! What the chart brings for Prometheus and kube-state-metrics: it names metrics, states, kinds and fields that there are.

use std::collections::{BTreeMap, BTreeSet};

use mim_crds::{ContextBroker, Reason};
use mim_operator::metrics::{Metrics, RequestLabels};
use mim_operator::reconcile::watch::Objects;
use serde::Deserialize;
use serde_json::Value;

use crate::helm::{self, Helm};

/// The metrics of an operator that has seen something of everything.
fn known_metrics() -> String {
    let metrics = Metrics::new();
    Objects::<ContextBroker>::default().count(&metrics);
    metrics.set_objects_in_backoff(0);
    metrics.pass("ContextBroker", "Settled", std::time::Duration::ZERO);
    metrics.request(
        &RequestLabels {
            verb: "get",
            resource: String::new(),
            purpose: "Watch",
            code: "200".to_owned(),
        },
        None,
    );
    metrics.render().unwrap()
}

/// The objects of a kind that the fullest values of the matrix render.
fn rendered(kind: &str, name: &str) -> Value {
    let text = Helm::find()
        .unwrap()
        .template("mim-operator", &["ci/cluster.yaml"]);
    helm::objects(&text)
        .into_iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap()
}

/// Alerts and their expressions.
fn alerts() -> BTreeMap<String, String> {
    let rule = rendered("PrometheusRule", "mim-operator");
    let rules = rule["spec"]["groups"][0]["rules"].as_array().unwrap();
    rules
        .iter()
        .map(|rule| {
            (
                rule["alert"].as_str().unwrap().to_owned(),
                rule["expr"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

#[test]
fn alerts_name_metrics_that_there_are() {
    let known = known_metrics();
    let conditions = families();
    let mut tried = 0;
    for (alert, expression) in alerts() {
        for (start, _) in expression.match_indices("mim_") {
            let name: String = expression[start..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            let of_operator = known.contains(&format!("{name}{{")) || known.contains(&format!("{name} "));
            assert!(
                of_operator || conditions.contains(&name),
                "{alert}: no metric {name}"
            );
            tried += 1;
        }
        for named in expression.split("reason=\"").skip(1) {
            let reason = named.split('"').next().unwrap();
            assert!(Reason::parse(reason).is_some(), "{alert}: no reason {reason}");
        }
    }
    assert!(tried >= 6);
}

/// A subscription whose endpoint fails is Ready and stays so: nothing else would tell anybody.
#[test]
fn an_alert_tells_of_what_is_ready_and_fails_all_the_same_where_kube_state_metrics_is_on() {
    let all: String = alerts().into_values().collect();
    assert!(all.contains(Reason::EndpointFailing.as_str()), "{all}");
    let helm = Helm::find().unwrap();
    let without = ["metrics.kubeStateMetrics.enabled=false"];
    let text = helm.template_with("mim-operator", &["ci/cluster.yaml"], &without);
    assert!(text.contains("MimObjectStalled") && !text.contains(Reason::EndpointFailing.as_str()));
}

/// Replicas that wait for the lease count all objects as well: a sum over pods would double each number.
#[test]
fn objects_are_counted_once_whatever_the_number_of_replicas() {
    for (alert, expression) in alerts() {
        if expression.contains("mim_objects") {
            assert!(expression.starts_with("max by ("), "{alert}: {expression}");
        }
    }
}

#[test]
fn every_state_that_needs_a_person_has_an_alert() {
    let of_states = alerts()
        .into_values()
        .filter(|expression| expression.contains("mim_objects"));
    let all: String = of_states.collect();
    let known = known_metrics();
    let states: BTreeSet<_> = known
        .lines()
        .filter_map(|line| {
            line.strip_prefix("mim_objects{")?
                .split("state=\"")
                .nth(1)?
                .split('"')
                .next()
        })
        .collect();
    assert_eq!(states.len(), 4, "{known}");
    for state in states {
        let heals_by_itself = ["Ready", "Reconciling"].contains(&state);
        assert_eq!(all.contains(state), !heals_by_itself, "{state}");
    }
}

/// The configuration as kube-state-metrics reads it (its package customresourcestate), without what we do not use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    kind: String,
    spec: Resources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Resource {
    group_version_kind: GroupVersionKind,
    metric_name_prefix: String,
    labels_from_path: BTreeMap<String, Vec<String>>,
    metrics: Vec<Family>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    name: String,
    help: String,
    each: Each,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Each {
    Gauge { gauge: Gauge },
    Info { info: Info },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Gauge {
    path: Vec<String>,
    labels_from_path: BTreeMap<String, Vec<String>>,
    value_from: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Info {
    path: Vec<String>,
    labels_from_path: BTreeMap<String, Vec<String>>,
}

fn kube_state_metrics() -> Config {
    let map = rendered("ConfigMap", "mim-operator-kube-state-metrics");
    serde_yaml::from_str(map["data"]["config.yaml"].as_str().unwrap()).unwrap()
}

/// Names of all families of kube-state-metrics.
fn families() -> Vec<String> {
    let resources = kube_state_metrics().spec.resources.into_iter();
    let of = |resource: Resource| {
        let prefix = resource.metric_name_prefix;
        let named = resource.metrics.into_iter();
        named.map(move |family| format!("{prefix}_{}", family.name))
    };
    resources.flat_map(of).collect()
}

/// kube-state-metrics writes the families of each kind apart from those of the next. A name that comes again is a second `# HELP`, which is
/// no valid exposition; newer versions leave it out, and older ones of them the samples below it too.
#[test]
fn kinds_share_no_metric_name_in_kube_state_metrics() {
    let config = kube_state_metrics();
    assert_eq!(config.kind, "CustomResourceStateMetrics");
    let mut names = BTreeSet::new();
    for resource in &config.spec.resources {
        for family in &resource.metrics {
            let name = format!("{}_{}", resource.metric_name_prefix, family.name);
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(plain && !family.help.is_empty(), "{name}");
            let info = matches!(family.each, Each::Info { .. });
            assert_eq!(
                info,
                name.ends_with("_info"),
                "{name}: OpenMetrics wants the suffix of an info"
            );
            assert!(names.insert(name.clone()), "two kinds have the family {name}");
        }
    }
    assert!(names.len() > config.spec.resources.len());
}

#[test]
fn kube_state_metrics_looks_at_every_kind_and_at_fields_that_it_has() {
    let config = kube_state_metrics();
    for crd in mim_crds::all() {
        let crd = serde_json::to_value(crd).unwrap();
        let (spec, version) = (&crd["spec"], &crd["spec"]["versions"][0]);
        let resource = config.spec.resources.iter().find(|resource| {
            let of = &resource.group_version_kind;
            of.kind == spec["names"]["kind"] && of.group == spec["group"] && of.version == version["name"]
        });
        let resource = resource.unwrap_or_else(|| panic!("{} is not looked at", spec["names"]["kind"]));
        let mut paths: BTreeSet<Vec<&str>> = BTreeSet::new();
        for family in &resource.metrics {
            let (path, labels, value) = match &family.each {
                Each::Gauge { gauge } => (&gauge.path, &gauge.labels_from_path, Some(&gauge.value_from)),
                Each::Info { info } => (&info.path, &info.labels_from_path, None),
            };
            for end in labels.values().chain(value) {
                paths.insert(path.iter().chain(end).map(String::as_str).collect());
            }
        }
        for path in paths {
            let mut node = &version["schema"]["openAPIV3Schema"];
            for name in &path {
                node = if node["items"].is_object() {
                    &node["items"]
                } else {
                    node
                };
                node = &node["properties"][*name];
            }
            assert_eq!(node["type"], "string", "{}: {path:?}", spec["names"]["kind"]);
        }
        for (label, path) in &resource.labels_from_path {
            assert_eq!(path[0], "metadata", "{label}");
        }
    }
}
