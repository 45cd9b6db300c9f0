//! What is built, as files: a change of a builder shows in them, and a pod template that a release was published with never changes.

use insta::{assert_yaml_snapshot, with_settings};
use serde_json::Value;

use super::{build, fixtures, preflight};
use crate::reconcile::child::APPLIED_ANNOTATION;

/// Without the digest of the body, which says nothing that the body does not.
fn plain(mut body: Value) -> Value {
    body["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove(APPLIED_ANNOTATION)
        .unwrap();
    body
}

/// One file per plan, a document per child, in the order of apply.
#[test]
fn children() {
    for (name, plan) in fixtures::all() {
        let bodies: Vec<Value> = build(&plan)
            .iter()
            .map(|child| plain(child.body.clone()))
            .collect();
        with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
            assert_yaml_snapshot!(name, bodies);
        });
    }
}

#[test]
fn preflight_pods() {
    for (name, plan) in [
        ("minimal", fixtures::minimal()),
        ("everything", fixtures::everything()),
    ] {
        with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
            assert_yaml_snapshot!(format!("preflight-{name}"), plain(preflight(&plan, "vienna-database-5c9f").unwrap()));
        });
    }
}
