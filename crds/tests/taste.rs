//! Rules of taste that every definition must keep, present and future: the API conventions of Kubernetes as far as a schema shows
//! them (after the linters of kube-api-linter), and the bounds without which CEL rules are too expensive.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests: a wrong shape is a failed test"
)]

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// Booleans that are let in, each with its reason. A mode is an enum: a boolean cannot grow a third value.
const BOOLEANS: &[(&str, &str)] = &[(
    "spec.suspend",
    "the field that users of Flux and CronJob know; it stops writing and will never be anything else",
)];

/// Fields that exist without a description: none.
const MAX_BYTES: usize = 200 * 1024;

/// One node of a schema with its path from the root of the object.
struct Node<'a> {
    kind: &'a str,
    path: String,
    schema: &'a Value,
    /// A property; not the element of a list or the value of a map.
    field: bool,
}

impl Node<'_> {
    fn has(&self, key: &str) -> bool {
        self.schema.get(key).is_some()
    }

    fn is(&self, kind: &str) -> bool {
        self.schema["type"] == kind
    }

    fn at(&self) -> String {
        format!("{}: {}", self.kind, self.path)
    }
}

fn walk<'a>(kind: &'a str, path: &str, schema: &'a Value, field: bool, nodes: &mut Vec<Node<'a>>) {
    nodes.push(Node {
        kind,
        path: path.to_owned(),
        schema,
        field,
    });
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        walk(kind, &path, property, true, nodes);
    }
    if schema["items"].is_object() {
        walk(kind, &format!("{path}[]"), &schema["items"], false, nodes);
    }
    if schema["additionalProperties"].is_object() {
        walk(
            kind,
            &format!("{path}{{}}"),
            &schema["additionalProperties"],
            false,
            nodes,
        );
    }
}

fn definitions() -> Vec<Value> {
    mim_crds::all()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect()
}

/// The places where `wrong` says why, over all nodes of all definitions.
fn findings(wrong: impl Fn(&Node) -> Option<String>) -> String {
    let mut found = String::new();
    for crd in definitions() {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let mut nodes = Vec::new();
            walk(kind, "", &version["schema"]["openAPIV3Schema"], false, &mut nodes);
            assert!(nodes.len() > 20, "{kind}: the schema was not read");
            for node in &nodes {
                if let Some(why) = wrong(node) {
                    writeln!(found, "{} {why}", node.at()).unwrap();
                }
            }
        }
    }
    found
}

fn none(findings: &str) {
    assert!(findings.is_empty(), "\n{findings}");
}

/// The sections of a platform: kinds of their own, which say more.
const SECTIONS: &[(&str, &str)] = &[("spec.broker", "ContextBroker")];
/// Fields with the shape of a type of Kubernetes, inside of which a platform's section says nothing.
const OF_KUBERNETES: &[&str] = &[
    "affinity",
    "clients",
    "ports",
    "to",
    "tolerations",
    "topologySpreadConstraints",
];

/// Whether this is inside of a type of Kubernetes in a platform's section: the field that has the type is not.
fn is_said_elsewhere(node: &Node) -> bool {
    let of_platform = node.kind == "UrbanDataPlatform";
    let mut sections = SECTIONS.iter().filter(|_| of_platform);
    sections.any(|(section, _)| {
        let path = node.path.strip_prefix(section).unwrap_or_default();
        let outer = path.rsplit_once('.').map_or("", |(outer, _)| outer);
        outer
            .split('.')
            .any(|name| OF_KUBERNETES.contains(&name.trim_end_matches(['[', ']'])))
    })
}

#[test]
fn what_a_section_of_a_platform_leaves_out_its_own_kind_says() {
    let all = definitions();
    let schema = |kind: &str| {
        let crd = all
            .iter()
            .find(|crd| crd["spec"]["names"]["kind"] == kind)
            .unwrap();
        &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    };
    let mut platform = Vec::new();
    walk(
        "UrbanDataPlatform",
        "",
        schema("UrbanDataPlatform"),
        false,
        &mut platform,
    );
    for (section, kind) in SECTIONS {
        let mut own = Vec::new();
        walk(kind, "", schema(kind), false, &mut own);
        let left_out: Vec<_> = platform
            .iter()
            .filter(|node| node.field && is_said_elsewhere(node))
            .collect();
        assert!(left_out.len() > 50, "only {} fields", left_out.len());
        for node in left_out {
            let path = format!("spec{}", node.path.strip_prefix(section).unwrap());
            let same = own
                .iter()
                .find(|other| other.path == path)
                .unwrap_or_else(|| panic!("{kind} has no {path}"));
            assert!(same.has("description"), "{kind}: {path} has no description");
            // It is the same field in all but words.
            for key in [
                "type",
                "enum",
                "pattern",
                "maxLength",
                "maxItems",
                "x-kubernetes-validations",
            ] {
                assert_eq!(node.schema.get(key), same.schema.get(key), "{kind}: {path}");
            }
        }
    }
}

#[test]
fn every_field_is_described_in_short() {
    none(&findings(|node| {
        let root = ["apiVersion", "kind", "metadata", "spec", "status"].contains(&node.path.as_str());
        let description = node.schema["description"].as_str().unwrap_or_default();
        if node.field && !root && description.is_empty() && !is_said_elsewhere(node) {
            Some("has no description".to_owned())
        } else if description.len() > 300 || description.contains('\n') {
            Some(format!(
                "has a description of {} bytes: at most 300, on one line",
                description.len()
            ))
        } else if !description.is_empty() && !description.ends_with('.') {
            Some("has a description that is no sentence".to_owned())
        } else {
            None
        }
    }));
}

#[test]
fn every_string_is_bounded() {
    none(&findings(|node| {
        let free = node.is("string") && !node.has("enum") && node.schema["format"] != "date-time";
        let either = node.schema["x-kubernetes-int-or-string"] == true;
        ((free || either) && !node.has("maxLength")).then(|| "has no maxLength".to_owned())
    }));
}

#[test]
fn every_list_is_bounded_and_says_its_type() {
    none(&findings(|node| {
        if !node.is("array") {
            return None;
        }
        let keys = node.schema["x-kubernetes-list-map-keys"].as_array();
        let list_type = node.schema["x-kubernetes-list-type"].as_str();
        match (list_type, node.has("maxItems"), keys) {
            (_, false, _) => Some("has no maxItems".to_owned()),
            (Some("atomic" | "set"), true, None) => None,
            (Some("map"), true, Some(keys)) if !keys.is_empty() => {
                let required = node.schema["items"]["required"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let defaulted = |key: &Value| {
                    node.schema["items"]["properties"][key.as_str().unwrap()]
                        .get("default")
                        .is_some()
                };
                keys.iter()
                    .find(|key| !required.contains(key) && !defaulted(key))
                    .map(|key| format!("has the key {key} that an item may lack"))
            }
            (list_type, true, _) => Some(format!(
                "has x-kubernetes-list-type {list_type:?} with keys {keys:?}"
            )),
        }
    }));
}

#[test]
fn every_map_is_bounded() {
    none(&findings(|node| {
        (node.has("additionalProperties") && !node.has("maxProperties"))
            .then(|| "has no maxProperties".to_owned())
    }));
}

#[test]
fn keywords_stand_where_the_api_server_takes_them() {
    none(&findings(|node| {
        let misplaced = (node.has("x-kubernetes-map-type") && !node.is("object"))
            || (node.has("x-kubernetes-list-type") && !node.is("array"))
            || (node.has("default") && node.path.contains("{}"));
        misplaced.then(|| "has a keyword that belongs to another type".to_owned())
    }));
}

#[test]
fn selectors_are_owned_whole() {
    none(&findings(|node| {
        let selector = node.path.ends_with("Selector") && !node.path.ends_with("nodeSelector");
        (selector && node.is("object") && node.schema["x-kubernetes-map-type"] != "atomic")
            .then(|| "is a selector and not atomic: two owners would make a third selector".to_owned())
    }));
}

#[test]
fn nothing_is_open_or_nullable() {
    none(&findings(|node| {
        [
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
            "nullable",
            "$ref",
            "anyOf",
            "oneOf",
        ]
        .into_iter()
        .find(|key| node.has(key))
        .map(|key| format!("has {key}"))
    }));
}

#[test]
fn every_node_has_a_type() {
    none(&findings(|node| {
        let known = ["object", "array", "string", "integer", "boolean"]
            .iter()
            .any(|kind| node.is(kind));
        (!known && node.schema["x-kubernetes-int-or-string"] != true)
            .then(|| format!("has type {}", node.schema["type"]))
    }));
}

#[test]
fn every_integer_of_a_spec_has_bounds() {
    none(&findings(|node| {
        let ours =
            node.path.starts_with("spec.") && node.is("integer") && !node.path.ends_with("tolerationSeconds");
        (ours && !node.has("minimum")).then(|| "has no minimum".to_owned())
    }));
}

#[test]
fn numbers_are_integers() {
    none(&findings(|node| {
        (node.is("number")).then(|| "is a floating-point number: use an integer or a quantity".to_owned())
    }));
}

#[test]
fn booleans_are_the_few_that_have_a_reason() {
    none(&findings(|node| {
        let allowed = BOOLEANS.iter().any(|(path, reason)| {
            let inside = node.path.rsplit_once('.').map_or("", |(_, name)| name);
            !reason.is_empty() && (node.path == *path || path.strip_prefix("spec.") == Some(inside))
        });
        (node.is("boolean") && !allowed).then(|| "is a boolean: use an enum, which can grow".to_owned())
    }));
}

#[test]
fn names_are_camel_case_and_say_no_phase() {
    none(&findings(|node| {
        let name = node.path.rsplit('.').next().unwrap_or_default();
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric())
            && name.starts_with(|c: char| c.is_ascii_lowercase());
        if node.field && !plain {
            Some("is not camelCase".to_owned())
        } else if node.field
            && ["phase", "state"].contains(&name)
            && node.path.starts_with("status.")
            && !node.path.contains("[]")
        {
            Some("is a phase: use conditions".to_owned())
        } else {
            None
        }
    }));
}

#[test]
fn enum_words_are_camel_case_or_versions() {
    none(&findings(|node| {
        let values = node.schema["enum"].as_array()?;
        let wrong = |word: &str| {
            let pascal = word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.chars().all(|c| c.is_ascii_alphanumeric());
            !pascal && node.path != "spec.profile"
        };
        values
            .iter()
            .find(|word| word.as_str().is_none_or(wrong))
            .map(|word| format!("has the word {word}"))
    }));
}

#[test]
fn every_rule_says_what_to_write_instead() {
    none(&findings(|node| {
        for rule in node.schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let message = rule["message"].as_str().unwrap_or_default();
            if message.len() < 20 || message.len() > 200 || message.contains('\n') {
                return Some(format!("has a rule with the message {message:?}"));
            }
        }
        None
    }));
}

#[test]
fn durations_and_times_say_so() {
    none(&findings(|node| {
        let name = node.path.rsplit('.').next().unwrap_or_default();
        // Kubernetes' own field, whose name we cannot choose.
        let seconds = name.ends_with("Seconds") && name != "tolerationSeconds";
        (node.field && (seconds || name.ends_with("Minutes") || name.ends_with("Millis")))
            .then(|| "counts a unit of time: use an ISO 8601 duration".to_owned())
    }));
}

fn each(check: impl Fn(&str, &Value, &CustomResourceDefinition)) {
    let all = mim_crds::all();
    assert!(all.len() >= 2);
    for (value, crd) in definitions().iter().zip(&all) {
        check(&crd.spec.names.kind, value, crd);
    }
}

#[test]
fn names_group_and_category_are_ours() {
    each(|kind, _, crd| {
        assert_eq!(crd.spec.group, mim_crds::GROUP, "{kind}");
        assert_eq!(crd.spec.scope, "Namespaced", "{kind}");
        assert_eq!(
            crd.spec.names.categories.as_deref(),
            Some([mim_crds::CATEGORY.to_owned()].as_slice()),
            "{kind}"
        );
        let short = crd.spec.names.short_names.clone().unwrap_or_default();
        assert!(
            short.len() == 1 && (2..=6).contains(&short[0].len()),
            "{kind}: {short:?}"
        );
        let stored: Vec<_> = crd
            .spec
            .versions
            .iter()
            .filter(|version| version.storage)
            .collect();
        assert_eq!(stored.len(), 1, "{kind}");
        assert_eq!(stored[0].name, mim_crds::VERSION, "{kind}");
    });
}

#[test]
fn short_names_are_different() {
    let mut names: Vec<_> = mim_crds::all()
        .into_iter()
        .flat_map(|crd| crd.spec.names.short_names.unwrap_or_default())
        .collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn columns_show_ready_reason_and_age() {
    each(|kind, crd, _| {
        let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
            .as_array()
            .unwrap();
        let path = |name: &str| {
            let column = columns.iter().find(|column| column["name"] == name);
            column.unwrap_or_else(|| panic!("{kind} has no column {name}"))["jsonPath"]
                .as_str()
                .unwrap()
        };
        assert_eq!(
            path("Ready"),
            ".status.conditions[?(@.type==\"Ready\")].status",
            "{kind}"
        );
        assert_eq!(
            path("Reason"),
            ".status.conditions[?(@.type==\"Ready\")].reason",
            "{kind}"
        );
        assert_eq!(path("Age"), ".metadata.creationTimestamp", "{kind}");
        assert_eq!(columns.first().unwrap()["name"], "Ready", "{kind}");
        assert_eq!(columns.last().unwrap()["name"], "Age", "{kind}");
    });
}

#[test]
fn status_is_a_subresource_with_conditions_and_is_never_current_before_a_pass() {
    each(|kind, crd, _| {
        let version = &crd["spec"]["versions"][0];
        assert!(version["subresources"]["status"].is_object(), "{kind}");
        let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
        assert_eq!(
            status["default"],
            serde_json::json!({"observedGeneration": -1}),
            "{kind}"
        );
        assert_eq!(
            status["properties"]["observedGeneration"]["type"], "integer",
            "{kind}"
        );
        let conditions = &status["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{kind}");
        assert_eq!(
            conditions["x-kubernetes-list-map-keys"],
            serde_json::json!(["type"]),
            "{kind}"
        );
        assert!(
            conditions["items"]["properties"]["observedGeneration"].is_object(),
            "{kind}"
        );
        assert!(
            status.get("required").is_none(),
            "{kind}: a status may not require a field, the first write has few"
        );
    });
}

#[test]
fn what_has_replicas_can_be_scaled() {
    each(|kind, crd, _| {
        let version = &crd["spec"]["versions"][0];
        let replicas = &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"];
        if replicas.is_object() {
            let scale = &version["subresources"]["scale"];
            assert_eq!(scale["specReplicasPath"], ".spec.replicas", "{kind}");
            assert_eq!(scale["statusReplicasPath"], ".status.replicas", "{kind}");
            assert_eq!(scale["labelSelectorPath"], ".status.selector", "{kind}");
            assert!(
                replicas["default"].is_i64(),
                "{kind}: without a default /scale reads 0"
            );
        }
    });
}

#[test]
fn the_platform_leaves_replicas_to_the_component() {
    let platform = definitions()
        .into_iter()
        .find(|crd| crd["spec"]["names"]["kind"] == "UrbanDataPlatform")
        .unwrap();
    let broker = &platform["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        ["broker"];
    assert!(broker["properties"]["replicas"].is_object());
    assert!(broker["properties"]["replicas"].get("default").is_none());
    assert!(broker["properties"]["deletionPolicy"].get("default").is_none());
    assert_eq!(broker["properties"]["engine"]["default"], "Native");
}

#[test]
fn manifests_are_small_enough() {
    for (name, text) in mim_crds::generate::manifests().unwrap() {
        assert!(
            text.len() <= MAX_BYTES,
            "{name} has {} bytes, more than {MAX_BYTES}",
            text.len()
        );
    }
}

#[test]
fn what_is_committed_is_what_the_types_say() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let manifests = mim_crds::generate::manifests().unwrap();
    let charts = mim_crds::generate::chart_manifests().unwrap();
    let folders = [
        ("crds", manifests),
        ("charts/mim-crds/templates", charts),
        ("docs/kinds", mim_crds::generate::pages()),
    ];
    for (folder, wanted) in folders {
        for (name, text) in wanted {
            let path = format!("{root}/{folder}/{name}");
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == text, "{folder}/{name} is out of date: run make generate");
        }
    }
}
