//! What an UrbanDataPlatform becomes: one child of our kinds per section. Pure: the same plan gives the same bytes.

use mim_crds::{ContextBrokerSpec, Engine, annotation};
use serde_json::{Map, Value, json};

use super::plan::Plan;
use crate::reconcile::child::{ChildKind, Children};

/// What must exist: a ContextBroker of the platform's name, where the spec has a section for it.
#[must_use]
pub fn build(plan: &Plan) -> Children {
    let mut children = Children::new(plan.owner.clone());
    if let Some(section) = &plan.broker {
        children.own(&context_broker(plan, section));
    }
    children
}

fn context_broker(plan: &Plan, section: &ContextBrokerSpec) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), plan.owner.name.clone().into());
    metadata.insert(
        "labels".into(),
        json!({
            "app.kubernetes.io/name": "context-broker",
            "app.kubernetes.io/instance": plan.owner.name,
            "app.kubernetes.io/part-of": plan.owner.name,
        }),
    );
    let annotations = annotations(plan);
    if !annotations.is_empty() {
        metadata.insert("annotations".into(), Value::Object(annotations));
    }
    json!({
        "apiVersion": ChildKind::ContextBroker.api_version(),
        "kind": ChildKind::ContextBroker.name(),
        "metadata": metadata,
        "spec": spec(plan, section),
    })
}

/// The section, and what it inherits. What neither says is not applied: a replica count that `/scale` or an autoscaler sets stays theirs.
fn spec(plan: &Plan, section: &ContextBrokerSpec) -> ContextBrokerSpec {
    let mut spec = section.clone();
    // An external broker has no operands, and its schema refuses a release.
    if spec.engine != Engine::External {
        spec.release.get_or_insert_with(|| plan.release.clone());
    }
    spec.deletion_policy.get_or_insert(plan.deletion_policy);
    spec.suspend |= plan.suspend;
    spec
}

/// What a user asks of the platform is asked of its components. The acceptance of a data loss is not passed on: it names one database, and belongs on its
/// ContextBroker.
fn annotations(plan: &Plan) -> Map<String, Value> {
    let confirmation = plan.deletion_confirmed.then(|| plan.owner.name.clone());
    [
        (annotation::CONFIRM_DELETION, confirmation),
        (annotation::RESTARTED_AT, plan.restarted_at.clone()),
        (annotation::REQUESTED_AT, plan.requested_at.clone()),
    ]
    .into_iter()
    .filter_map(|(key, value)| value.map(|value| (key.to_owned(), value.into())))
    .collect()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
