//! From what derive makes to what an API server should have.
//!
//! Types of Kubernetes that are embedded in our specs (tolerations, affinity, peers …) come with essays for descriptions and
//! without any bound. [`embed`] gives them the bounds and list types that our own fields say themselves, because a schema
//! without bounds makes CEL rules too expensive and lets one object fill etcd. [`finish`] does what can only be done to a whole
//! definition: defaults that depend on where a type is used, and no `nullable`, so that an explicit null counts as absent.

use k8s_openapi::{
    api::{
        core::v1::{Affinity, Toleration, TopologySpreadConstraint},
        networking::v1::{NetworkPolicyPeer, NetworkPolicyPort},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::Condition,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::{kubernetes, names};

/// Characters of a string of Kubernetes that says no bound itself: a DNS subdomain.
const EMBEDDED_STRING: u32 = 253;
/// Items of a list of Kubernetes that says no bound itself.
const EMBEDDED_ITEMS: u32 = 32;
/// Entries of a map of Kubernetes that says no bound itself.
const EMBEDDED_ENTRIES: u32 = 32;

/// A default that derive cannot say, and where it belongs in the schema.
#[derive(Clone, Copy, Debug)]
pub struct Default {
    /// Names of properties from the root of the object.
    pub path: &'static [&'static str],
    /// The value that the API server fills in.
    pub value: fn() -> Value,
}

/// Completes a derived definition: adds `defaults`, and takes away `nullable`.
///
/// With `nullable` an explicit null would be stored and no default applied; without it the API server drops the null first.
#[must_use]
pub fn finish(mut crd: CustomResourceDefinition, defaults: &[Default]) -> CustomResourceDefinition {
    each_version(&mut crd, |schema| {
        plain(schema);
        for default in defaults {
            set_default(schema, default);
        }
    });
    crd
}

/// Takes away what is said of the inside of Kubernetes' own types in a section that another definition has too, and says there. A definition has
/// 200 KiB of room, and these words would take a tenth of it.
#[must_use]
pub fn abridge(mut crd: CustomResourceDefinition, section: &[&str]) -> CustomResourceDefinition {
    each_version(&mut crd, |schema| {
        if let Some(section) = at(schema, section) {
            abridge_section(section);
        }
    });
    crd
}

fn abridge_section(schema: &mut Value) {
    for (name, property) in schema
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        if kubernetes::is_type(name) {
            for_each_subschema(property, &mut silence);
        } else {
            abridge_section(property);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        abridge_section(items);
    }
}

fn silence(schema: &mut Value) {
    if let Value::Object(node) = schema {
        node.remove("description");
    }
    for_each_subschema(schema, &mut silence);
}

fn each_version(crd: &mut CustomResourceDefinition, mut change: impl FnMut(&mut Value)) {
    for version in &mut crd.spec.versions {
        let Some(props) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        let Ok(mut schema) = serde_json::to_value(&*props) else {
            continue;
        };
        change(&mut schema);
        if let Ok(finished) = serde_json::from_value(schema) {
            *props = finished;
        }
    }
}

/// The schema of a field, by names of properties.
fn at<'a>(schema: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(schema, |schema, name| {
        schema.get_mut("properties")?.get_mut(*name)
    })
}

fn set_default(schema: &mut Value, default: &Default) {
    if let Some(Value::Object(node)) = at(schema, default.path) {
        node.insert("default".to_owned(), (default.value)());
    }
}

/// Takes `nullable` away everywhere and puts each description on one line.
fn plain(schema: &mut Value) {
    if let Value::Object(node) = schema {
        node.remove("nullable");
        if let Some(Value::Array(values)) = node.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        if let Some(Value::String(description)) = node.get_mut("description") {
            *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
    for_each_subschema(schema, &mut plain);
}

fn for_each_subschema(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    let Value::Object(node) = schema else { return };
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        properties.values_mut().for_each(&mut *visit);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child @ Value::Object(_)) = node.get_mut(key) {
            visit(child);
        }
    }
}

/// Gives a schema of a type of Kubernetes bounds, list types and short descriptions.
fn embed(mut schema: Value) -> Value {
    bound(&mut schema, kubernetes::NODE_OPERATORS);
    schema
}

/// `operators`: what a requirement's `operator` may be at this place.
fn bound(schema: &mut Value, operators: &[&str]) {
    let Value::Object(node) = schema else { return };
    // What a type says of itself is said again, better, by the field that holds it.
    node.remove("description");
    match node.get("type").and_then(Value::as_str) {
        Some("string") if !node.contains_key("enum") && !node.contains_key("format") => {
            node.entry("maxLength").or_insert(json!(EMBEDDED_STRING));
        }
        Some("array") => {
            node.entry("maxItems").or_insert(json!(EMBEDDED_ITEMS));
            node.entry("x-kubernetes-list-type").or_insert(json!("atomic"));
        }
        Some("object") if node.contains_key("additionalProperties") => {
            node.entry("maxProperties").or_insert(json!(EMBEDDED_ENTRIES));
        }
        _ => {}
    }
    let own = kubernetes::operators_of(node);
    if own == Some(kubernetes::LABEL_OPERATORS) {
        node.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    let operators = own.unwrap_or(operators);
    if let Some(rules) = kubernetes::rules_of(node) {
        node.insert("x-kubernetes-validations".to_owned(), rules);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(key) {
            bound(child, operators);
        }
    }
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        for (name, property) in properties {
            bound(property, operators);
            if let Value::Object(property) = property {
                property.extend(kubernetes::field(name, operators));
            }
        }
    }
}

fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    embed(generator.subschema_for::<T>().to_value())
}

fn schema(value: Value) -> Schema {
    // Every caller passes an object; `Schema` refuses only what is neither object nor bool.
    Schema::try_from(value).unwrap_or_default()
}

/// Labels: at most 32, values as Kubernetes wants them.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": names::LABEL_VALUE},
    })
}

/// Annotations: at most 32, values of at most 4096 characters.
pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}

/// Resource names and quantities (`apimachinery/pkg/api/resource`); a number is taken as well as a string. An exponent has two digits: no
/// quantity of a container needs a third.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "maxLength": 32,
            "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(Ki|[MGTPE]i?|[numk]|[eE][-+]?[0-9]{1,2})?$",
        },
    })
}

pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    schema(json!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "atomic",
        "items": of::<Toleration>(generator),
    }))
}

pub(crate) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    schema(of::<Affinity>(generator))
}

/// Keyed as Kubernetes keys them in a pod.
pub(crate) fn topology_spread_constraints(generator: &mut SchemaGenerator) -> Schema {
    schema(json!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
        "items": of::<TopologySpreadConstraint>(generator),
    }))
}

pub(crate) fn image_pull_secrets(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {
                    "type": "string",
                    "description": "Name of the Secret, in the namespace of this object.",
                    "minLength": 1,
                    "maxLength": 253,
                    "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
                },
            },
        },
    })
}

/// Peers of a NetworkPolicy, with the rules that the API server has for them.
pub(crate) fn network_peers(generator: &mut SchemaGenerator) -> Schema {
    let mut peer = of::<NetworkPolicyPeer>(generator);
    if let Value::Object(peer) = &mut peer {
        peer.insert(
            "x-kubernetes-validations".to_owned(),
            json!([
                {
                    "rule": "has(self.ipBlock) || has(self.podSelector) || has(self.namespaceSelector)",
                    "message": "write ipBlock, or podSelector, or namespaceSelector: an empty peer selects nothing",
                    "reason": "FieldValueRequired",
                },
                {
                    "rule": "!has(self.ipBlock) || !(has(self.podSelector) || has(self.namespaceSelector))",
                    "message": "ipBlock stands alone: write a second entry for podSelector and namespaceSelector",
                },
                {
                    "rule": "!has(self.ipBlock) || isCIDR(self.ipBlock.cidr)",
                    "message": "ipBlock.cidr must be an address block such as 10.20.0.0/16",
                    "fieldPath": ".ipBlock.cidr",
                },
                {
                    "rule": "!has(self.ipBlock) || !has(self.ipBlock.except) || !isCIDR(self.ipBlock.cidr) || self.ipBlock.except.all(e, \
                             isCIDR(e) && e != self.ipBlock.cidr && cidr(self.ipBlock.cidr).containsCIDR(e))",
                    "message": "ipBlock.except must be address blocks inside of ipBlock.cidr and smaller, such as 10.20.1.0/24 in 10.20.0.0/16",
                    "fieldPath": ".ipBlock.except",
                },
            ]),
        );
    }
    schema(json!({
        "type": "array",
        "minItems": 1,
        "maxItems": 32,
        "x-kubernetes-list-type": "atomic",
        "items": peer,
    }))
}

/// Ports of a NetworkPolicy, with the rule that the API server has for ranges.
pub(crate) fn network_ports(generator: &mut SchemaGenerator) -> Schema {
    let mut port = of::<NetworkPolicyPort>(generator);
    if let Value::Object(port) = &mut port {
        port.insert(
            "x-kubernetes-validations".to_owned(),
            json!([{
                "rule": "!has(self.endPort) || (has(self.port) && string(self.port).matches('^[0-9]+$') \
                         && self.endPort >= int(string(self.port)))",
                "message": "endPort needs a port that is a number and not larger: a range goes from port to endPort",
                "fieldPath": ".endPort",
            }]),
        );
    }
    schema(json!({
        "type": "array",
        "minItems": 1,
        "maxItems": 32,
        "x-kubernetes-list-type": "atomic",
        "items": port,
    }))
}

/// Names of tenants: the narrowest of what brokers take (elsewhere a tenant becomes a PostgreSQL schema or a Mongo database), so that a
/// tenant can move between engines. It may be widened later, never narrowed.
pub(crate) fn tenants(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 40, "pattern": "^[a-z][a-z0-9_]*$"},
    })
}

/// Names of attributes, short or as IRIs, and of other members of entities.
pub(crate) fn attribute_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 512, "pattern": r"^[^\s]+$"},
    })
}

/// `datasetId` as a list (ETSI GS CIM 009, 5.2.12): URIs, and `@none` for the instance without one.
pub(crate) fn datasets(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 32,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 3, "maxLength": 1024, "pattern": r"^(@none|[A-Za-z][-A-Za-z0-9+.]*:[^\s]+)$"},
    })
}

/// Names of namespaces, or `*` for all.
pub(crate) fn namespaces(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 256,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?|\*)$"},
    })
}

pub(crate) fn component_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "maxLength": 128},
    })
}

/// Conditions of `metav1`, keyed by type, with the bounds that Kubernetes states for them.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    schema(json!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": of::<Condition>(generator),
    }))
}

/// Writes the schema of an enum of words: the type says no description, so that the field's own stands.
macro_rules! words {
    ($name:ident: $($word:literal),+) => {
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": [$($word),+]})
            }
        }
    };
}
pub(crate) use words;
