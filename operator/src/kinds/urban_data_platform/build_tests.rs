use insta::{assert_yaml_snapshot, with_settings};
use mim_crds::{ContextBroker, ContextBrokerSpec, DeletionPolicy, External};
use serde_json::{Value, json};

use super::super::plan::fixtures::minimal;
use super::*;
use crate::reconcile::child::APPLIED_ANNOTATION;

fn bodies(plan: &Plan) -> Vec<Value> {
    build(plan).iter().map(|child| child.body.clone()).collect()
}

fn broker(plan: &Plan) -> Value {
    bodies(plan).remove(0)
}

/// Every option of a platform, and a section that says everything itself.
fn everything() -> Plan {
    let section: ContextBrokerSpec = serde_json::from_value(json!({
        "release": "2025.9", "replicas": 3, "tenants": ["air", "parking"], "deletionPolicy": "Retain",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "storage": {"managed": {"size": "50Gi", "storageClassName": "fast"}},
        "network": {"clients": [{"podSelector": {"matchLabels": {"app": "gateway"}}}]},
    }))
    .unwrap();
    Plan {
        broker: Some(section),
        deletion_policy: DeletionPolicy::Delete,
        suspend: true,
        deletion_confirmed: true,
        restarted_at: Some("2026-02-03T04:05:06Z".into()),
        requested_at: Some("42".into()),
        ..minimal()
    }
}

/// Without the digest of the body, which says nothing that the body does not.
fn plain(plan: &Plan) -> Vec<Value> {
    let mut bodies = bodies(plan);
    for body in &mut bodies {
        body["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove(APPLIED_ANNOTATION)
            .unwrap();
    }
    bodies
}

#[test]
fn golden() {
    with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        assert_yaml_snapshot!("minimal", plain(&minimal()));
        assert_yaml_snapshot!("everything", plain(&everything()));
    });
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let bytes = |plan: &Plan| serde_json::to_string(&bodies(plan)).unwrap();
    assert_eq!(bytes(&everything()), bytes(&everything().clone()));
}

#[test]
fn a_platform_without_a_section_has_no_broker() {
    assert!(
        build(&Plan {
            broker: None,
            ..minimal()
        })
        .is_empty()
    );
}

#[test]
fn what_the_section_leaves_out_is_not_applied() {
    let spec = broker(&minimal())["spec"].clone();
    assert_eq!(
        spec,
        json!({"engine": "Native", "release": "2026.1", "deletionPolicy": "Retain"})
    );
}

#[test]
fn what_the_section_says_goes_before_what_the_platform_says() {
    let spec = broker(&everything())["spec"].clone();
    assert_eq!(
        (&spec["release"], &spec["deletionPolicy"]),
        (&json!("2025.9"), &json!("Retain"))
    );
    assert_eq!(spec["suspend"], true);
}

#[test]
fn an_external_broker_gets_no_release_which_its_schema_refuses() {
    let section = ContextBrokerSpec {
        engine: Engine::External,
        external: Some(External {
            url: "https://b.example".into(),
            ..External::default()
        }),
        ..ContextBrokerSpec::default()
    };
    let body = broker(&Plan {
        broker: Some(section),
        ..minimal()
    });
    assert_eq!(body["spec"].get("release"), None);
    let object: ContextBroker = serde_json::from_value(body).unwrap();
    assert_eq!(mim_crds::validate(&object, None), []);
}

#[test]
fn the_child_confirms_with_its_own_name_and_passes_on_what_was_asked() {
    let annotations = broker(&everything())["metadata"]["annotations"].clone();
    assert_eq!(annotations[annotation::CONFIRM_DELETION], "vienna");
    assert_eq!(annotations[annotation::RESTARTED_AT], "2026-02-03T04:05:06Z");
    assert_eq!(annotations[annotation::REQUESTED_AT], "42");
    let bare = broker(&minimal())["metadata"]["annotations"].clone();
    assert_eq!(
        bare.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["mim.city/applied"]
    );
}

#[test]
fn every_child_reads_back_as_what_it_is() {
    for plan in [minimal(), everything()] {
        let object: ContextBroker = serde_json::from_value(broker(&plan)).unwrap();
        assert_eq!(mim_crds::validate(&object, None), []);
    }
}
