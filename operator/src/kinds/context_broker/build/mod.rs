//! What a ContextBroker becomes: pure functions from the plan to manifests. The same plan gives the same bytes.
//!
//! Bodies are written as manifests, so that the code reads like what it makes; a test sends each through the types of
//! `k8s-openapi`, so a misspelt member cannot stay. Members that say nothing (an empty list, an absent option) are not written: the API server would drop them,
//! and the next pass would find its own body changed.

mod broker;
mod config;
mod database;
mod generated;
mod network;
mod parts;
mod pod;
mod resources;

#[cfg(test)]
mod change_tests;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod published_tests;
#[cfg(test)]
mod rules_tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use database::identity_name;
pub use database::preflight;
pub use generated::generated;
pub use parts::why;
pub(crate) use resources::amount;

use super::plan::{self, Plan};
use crate::reconcile::child::{Children, Owner};

/// What must exist: nothing for a broker that somebody else runs; else the broker, and its database where that is ours.
#[must_use]
pub fn build(plan: &Plan) -> Children {
    let mut children = Children::new(plan.owner.clone());
    if let Some(native) = plan.native() {
        broker::add(plan, native, &mut children);
        network::add(plan, native, &mut children);
    }
    if let Some((native, managed)) = plan.managed() {
        database::add(plan, native, managed, &mut children);
    }
    children
}

/// The parts of the database's pod template, as the running pod's annotation has them: compare with [`why`].
#[must_use]
pub fn database_parts(plan: &Plan) -> Option<String> {
    plan.managed()
        .map(|(native, managed)| parts::of(&database::template(plan, native, managed)))
}

/// One of the programs that a ContextBroker runs.
#[derive(Clone, Copy, Debug)]
struct Component {
    /// Value of the label `app.kubernetes.io/component`, and the end of its children's names.
    label: &'static str,
    /// Value of the label `app.kubernetes.io/name`.
    product: &'static str,
}

const BROKER: Component = Component {
    label: plan::BROKER,
    product: "mim-broker",
};
const DATABASE: Component = Component {
    label: plan::DATABASE,
    product: "mim-database",
};
const PREFLIGHT: Component = Component {
    label: plan::PREFLIGHT,
    product: "mim-database",
};

impl Component {
    /// What selects its pods. Part of immutable fields: it depends on the name of the ContextBroker and on nothing else (invariant 11).
    fn selector(self, plan: &Plan) -> BTreeMap<String, String> {
        self.selector_of(&plan.owner)
    }

    fn selector_of(self, owner: &Owner) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), self.product.to_owned()),
            ("app.kubernetes.io/instance".to_owned(), owner.name.clone()),
            ("app.kubernetes.io/component".to_owned(), self.label.to_owned()),
        ])
    }

    /// All labels of ours, on objects and pods: those of the selector, those by which an object is found, and the whole it is a part of.
    fn labels(self, plan: &Plan) -> BTreeMap<String, String> {
        self.labels_of(&plan.owner, &plan.part_of)
    }

    fn labels_of(self, owner: &Owner, part_of: &str) -> BTreeMap<String, String> {
        let mut labels = self.selector_of(owner);
        labels.extend(owner.labels());
        labels.insert("app.kubernetes.io/part-of".to_owned(), part_of.to_owned());
        labels
    }

    /// Ours over what the user added.
    fn labels_over(self, plan: &Plan, added: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut labels = added.clone();
        labels.extend(self.labels(plan));
        labels
    }
}

/// A Service's host, as it is reached from any namespace.
fn host(owner: &Owner, service: &str) -> String {
    format!("{service}.{}.svc", owner.namespace)
}

/// The name by which the broker knows who comes in over mutual TLS: the host of a Service of that component.
fn client_name(owner: &Owner, component: &str) -> String {
    host(owner, &owner.child(component))
}

/// The selector as a query, for the scale subresource.
#[must_use]
pub fn broker_selector(plan: &Plan) -> String {
    let pairs: Vec<_> = BROKER
        .selector(plan)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// Adds a member where there is something to say.
fn put(members: &mut Map<String, Value>, key: &str, value: impl Serialize) {
    // Cannot fail: keys of what is put are strings.
    let value = serde_json::to_value(value).unwrap_or_default();
    let says_nothing = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if !says_nothing {
        members.insert(key.to_owned(), value);
    }
}

/// The members of an object that was written as a literal.
fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
