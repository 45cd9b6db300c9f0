//! What the types of Kubernetes that our specs embed may hold, field by field.
//!
//! Kubernetes' own schema has essays for descriptions and leaves every bound to code. Here each field has one sentence and, where a pattern or
//! a cheap rule can say it, what the API server would check at the child: shape of keys, values and ports, which operator wants values,
//! ranges, address blocks. Such a mistake is refused when the user applies. What is left is refused at the child, and then stands in the
//! condition (`ApplyFailed`): keys of `matchLabels`, how long the parts of a key are, which fields of a node may be matched, values of Gt and
//! Lt, what an extended resource asks for.

use serde_json::{Map, Value, json};

use crate::names;

/// Whether a field of ours has the shape of a type of Kubernetes, which is documented there.
pub(crate) fn is_type(field: &str) -> bool {
    [
        "affinity",
        "clients",
        "conditions",
        "ports",
        "to",
        "tolerations",
        "topologySpreadConstraints",
    ]
    .contains(&field)
}

/// Operators of a requirement on nodes.
pub(crate) const NODE_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
/// Operators of a requirement on labels.
pub(crate) const LABEL_OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist"];
/// Operators of a toleration.
const TOLERATION_OPERATORS: &[&str] = &["Equal", "Exists"];

/// The shape of a qualified name; it stands in a definition some forty times, so it leaves the lengths of its parts to the API server.
const KEY: &str = "([-a-z0-9.]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?";

/// The operators that hold below an object, if it is one that says so.
pub(crate) fn operators_of(node: &Map<String, Value>) -> Option<&'static [&'static str]> {
    let has = |name: &str| node.get("properties").is_some_and(|of| of.get(name).is_some());
    if has("matchLabels") && has("matchExpressions") {
        Some(LABEL_OPERATORS)
    } else if has("tolerationSeconds") {
        Some(TOLERATION_OPERATORS)
    } else {
        None
    }
}

/// The rules of an object, if it is a requirement or a toleration.
pub(crate) fn rules_of(node: &Map<String, Value>) -> Option<Value> {
    let has = |name: &str| node.get("properties").is_some_and(|of| of.get(name).is_some());
    if has("operator") && has("values") {
        return Some(json!([{
            "rule": "(self.operator in ['Exists', 'DoesNotExist']) != (has(self.values) && self.values.size() > 0)",
            "message": "write values, or operator Exists or DoesNotExist, which take none",
        }]));
    }
    has("tolerationSeconds").then(|| {
        json!([
            {
                "rule": "has(self.operator) && self.operator == 'Exists' ? !has(self.value) || self.value == '' : has(self.key) && self.key != ''",
                "message": "write key, with a value or not, or operator Exists without value",
            },
            {
                "rule": "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "message": "tolerationSeconds is for effect NoExecute: write that effect, or remove it",
            },
        ])
    })
}

/// Description and bounds of a field of an embedded type.
pub(crate) fn field(name: &str, operators: &[&str]) -> Map<String, Value> {
    let keywords = affinity(name)
        .or_else(|| scheduling(name, operators))
        .or_else(|| network(name))
        .or_else(|| condition(name));
    match keywords {
        Some(Value::Object(keywords)) => keywords,
        _ => Map::new(),
    }
}

fn affinity(name: &str) -> Option<Value> {
    Some(match name {
        "nodeAffinity" => json!({"description": "Nodes that the pods want or need."}),
        "podAffinity" => json!({"description": "Pods that the pods want or need to be near."}),
        "podAntiAffinity" => json!({"description": "Pods that the pods want or need to be away from."}),
        "preferredDuringSchedulingIgnoredDuringExecution" => {
            json!({"description": "Wishes, with weights; the scheduler takes the node with the largest sum."})
        }
        "requiredDuringSchedulingIgnoredDuringExecution" => {
            json!({"description": "Needs; without them a pod is not scheduled."})
        }
        "nodeSelectorTerms" => json!({"description": "Terms of which one must hold.", "minItems": 1}),
        "preference" | "podAffinityTerm" => json!({"description": "The term that the weight belongs to."}),
        "weight" => json!({"description": "Weight of the wish, 1 to 100.", "minimum": 1, "maximum": 100}),
        "namespaces" => {
            json!({"description": "Namespaces of the pods; with namespaceSelector absent too: the pod's own."})
        }
        "matchFields" => {
            json!({"description": "Requirements on fields of the node, for example metadata.name."})
        }
        "mismatchLabelKeys" => json!({"description": "Labels whose values must differ from the pod's own."}),
        _ => return None,
    })
}

fn scheduling(name: &str, operators: &[&str]) -> Option<Value> {
    Some(match name {
        "labelSelector" => json!({"description": "Labels of the pods."}),
        "namespaceSelector" => {
            json!({"description": "Labels of the namespaces of the pods; empty: all namespaces."})
        }
        "podSelector" => json!({"description": "Labels of the pods; empty: all pods."}),
        "matchExpressions" => json!({"description": "Requirements that must all hold."}),
        "matchLabels" => json!({
            "description": "Labels that must all be there with these values.",
            "additionalProperties": label_value(),
        }),
        "matchLabelKeys" => json!({"description": "Labels whose values must equal the pod's own."}),
        // A toleration without a key is one for all taints.
        "key" if operators == TOLERATION_OPERATORS => {
            json!({"description": "Key of the taint.", "maxLength": 317, "pattern": format!("^({KEY})?$")})
        }
        "key" => json!({"description": "Key of the label.", "maxLength": 317, "pattern": format!("^{KEY}$")}),
        "operator" => json!({"description": "How key and values are compared.", "enum": operators}),
        "values" if operators == LABEL_OPERATORS => {
            json!({"description": "Values; none with Exists and DoesNotExist.", "items": label_value()})
        }
        "values" => json!({"description": "Values; none with Exists and DoesNotExist."}),
        "value" => {
            json!({"description": "Value of the taint; none with Exists.", "maxLength": 63, "pattern": names::LABEL_VALUE})
        }
        "effect" => {
            json!({"description": "Effect of the taint; absent: all.", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]})
        }
        "tolerationSeconds" => {
            json!({"description": "Seconds that the pod stays after a NoExecute taint; absent: for ever."})
        }
        "topologyKey" => {
            json!({"description": "Label of nodes that makes a place, for example topology.kubernetes.io/zone.", "maxLength": 317, "pattern": format!("^{KEY}$")})
        }
        "maxSkew" => json!({"description": "Pods that a place may have more than another.", "minimum": 1}),
        "minDomains" => json!({"description": "Places that there must be at least.", "minimum": 1}),
        "nodeAffinityPolicy" => {
            json!({"description": "Whether nodes that the pod cannot go to count.", "enum": ["Honor", "Ignore"]})
        }
        "nodeTaintsPolicy" => {
            json!({"description": "Whether nodes with taints count.", "enum": ["Honor", "Ignore"]})
        }
        "whenUnsatisfiable" => {
            json!({"description": "What to do when it cannot be held.", "enum": ["DoNotSchedule", "ScheduleAnyway"]})
        }
        _ => return None,
    })
}

fn label_value() -> Value {
    json!({"type": "string", "maxLength": 63, "pattern": names::LABEL_VALUE})
}

fn network(name: &str) -> Option<Value> {
    Some(match name {
        "ipBlock" => json!({"description": "A block of addresses."}),
        "cidr" => {
            json!({"description": "The block, for example 10.20.0.0/16 or 2001:db8::/32.", "maxLength": 49})
        }
        // Few and short: the rule that looks at each of them is the dearest of all (32 rules of egress with 32 peers each).
        "except" => json!({
            "description": "Blocks inside of it that are left out.",
            "maxItems": 16,
            "items": {"type": "string", "maxLength": 49},
        }),
        // A name is as `IsValidPortName` of `k8s.io/apimachinery` wants it: it has a letter, and '-' only between others.
        "port" => json!({
            "description": "Number or name of the port.",
            "minimum": 1,
            "maximum": 65535,
            "maxLength": 15,
            "pattern": "^([0-9]+-?)*[a-z](-?[a-z0-9])*$",
        }),
        "endPort" => {
            json!({"description": "Last port of a range that starts at port.", "minimum": 1, "maximum": 65535})
        }
        "protocol" => json!({"description": "Protocol.", "enum": ["TCP", "UDP", "SCTP"], "default": "TCP"}),
        _ => return None,
    })
}

fn condition(name: &str) -> Option<Value> {
    Some(match name {
        "type" => json!({"description": "Ready, Reconciling or Stalled.", "maxLength": 316}),
        "status" => {
            json!({"description": "Whether the condition holds.", "enum": ["True", "False", "Unknown"]})
        }
        "reason" => {
            json!({"description": "Why, in one word of docs/kinds/reasons.md.", "minLength": 1, "maxLength": 1024})
        }
        "message" => json!({"description": "Why, in a sentence.", "maxLength": 32768}),
        "observedGeneration" => {
            json!({"description": "Generation of the spec that the condition tells about.", "minimum": 0})
        }
        "lastTransitionTime" => json!({"description": "When the status of the condition changed last."}),
        _ => return None,
    })
}
