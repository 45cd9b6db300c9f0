//! What a change of the spec may and may not change in the children.

use mim_crds::{PodTemplate, PreloadedContext, Resources};
use serde_json::{Value, json};

use super::build;
use super::fixtures::{body, changed, contexts, everything, managed, native, parse};
use crate::kinds::context_broker::plan::{Data, PARTS_ANNOTATION, Plan};
use crate::reconcile::child::ChildKind;

/// A change of the spec, and whether it may change the broker's and the database's pod template.
type Change = (&'static str, fn(&mut Plan), bool, bool);

const CHANGES: [Change; 25] = [
    ("nothing", |_| {}, false, false),
    ("replicas", |plan| native(plan).replicas = 7, false, false),
    ("stopped", |plan| native(plan).replicas = 0, false, false),
    ("size", |plan| managed(plan).size = "90Gi".into(), false, false),
    (
        "service",
        |plan| native(plan).service = parse(json!({"labels": {"a": "b"}, "annotations": {"c": "d"}})),
        false,
        false,
    ),
    (
        "tenants",
        |plan| native(plan).tenants = vec!["noise".into()],
        false,
        false,
    ),
    (
        "contexts",
        |plan| native(plan).contexts = native(&mut contexts()).contexts.clone(),
        true,
        false,
    ),
    (
        "compatibility",
        |plan| native(plan).compatibility = native(&mut contexts()).compatibility.clone(),
        false,
        false,
    ),
    (
        "dropped tenants",
        |plan| native(plan).dropped_tenants = Vec::new(),
        false,
        false,
    ),
    (
        "tenant creation",
        |plan| native(plan).tenant_creation = Some(mim_crds::TenantCreation::Configured),
        false,
        false,
    ),
    ("quotas", |plan| native(plan).quotas = None, false, false),
    (
        "temporal",
        |plan| native(plan).temporal = mim_crds::Temporal::default(),
        false,
        false,
    ),
    (
        "notifications",
        |plan| native(plan).notifications = None,
        false,
        false,
    ),
    (
        "allowed ranges",
        |plan| native(plan).allowed_private_cidrs = vec!["10.0.0.0/8".into()],
        false,
        false,
    ),
    (
        "clients",
        |plan| native(plan).clients = Some(Vec::new()),
        false,
        false,
    ),
    ("egress", |plan| native(plan).egress = Vec::new(), false, false),
    (
        "name of the release",
        |plan| native(plan).release = Some("2027.1".into()),
        false,
        false,
    ),
    ("identity", |plan| managed(plan).data = Data::New, false, false),
    (
        "image of the broker",
        |plan| native(plan).image = "x@sha256:1".into(),
        true,
        false,
    ),
    (
        "image of the database",
        |plan| managed(plan).image = "x@sha256:1".into(),
        false,
        true,
    ),
    (
        "resources of the broker",
        |plan| native(plan).resources = None,
        true,
        false,
    ),
    (
        "resources of the database",
        |plan| managed(plan).resources = Some(Resources::default()),
        false,
        true,
    ),
    (
        "template of the broker",
        |plan| native(plan).pod_template = PodTemplate::default(),
        true,
        false,
    ),
    (
        "template of the database",
        |plan| managed(plan).pod_template = PodTemplate::default(),
        false,
        true,
    ),
    (
        "restart",
        |plan| native(plan).restarted_at = Some("now".into()),
        true,
        true,
    ),
];

#[test]
fn a_change_of_the_spec_rolls_only_what_it_concerns() {
    let template = |plan: &Plan, kind, name| body(&build(plan), kind, name)["spec"]["template"].clone();
    for (what, change, broker, database) in CHANGES {
        let (before, after) = (everything(), changed(everything(), change));
        for (kind, name, rolls) in [
            (ChildKind::Deployment, "vienna-broker", broker),
            (ChildKind::StatefulSet, "vienna-database", database),
        ] {
            assert_eq!(
                template(&before, kind, name) != template(&after, kind, name),
                rolls,
                "{what}: {name}"
            );
        }
    }
}

/// A change of the list of contexts.
type OfContexts = fn(&mut Vec<PreloadedContext>);

#[test]
fn only_a_config_map_that_is_new_or_no_longer_named_rolls_the_broker_for_its_contexts() {
    let children = |change: OfContexts| {
        let plan = changed(contexts(), |plan| change(&mut native(plan).contexts));
        let children = build(&plan);
        let of = |kind| body(&children, kind, "vienna-broker");
        let template = of(ChildKind::Deployment)["spec"]["template"].clone();
        (template, of(ChildKind::ConfigMap)["data"]["broker.yaml"].clone())
    };
    let (template, config) = children(|_| {});
    let changes: [(OfContexts, bool); 4] = [
        (|contexts| contexts[0].url.push_str("/v2"), false),
        (|contexts| contexts[2].config_map_ref.key.push_str(".v2"), false),
        (|contexts| contexts[2].config_map_ref.name.push_str("-v2"), true),
        (|contexts| drop(contexts.remove(1)), true),
    ];
    for (n, (change, rolls)) in changes.into_iter().enumerate() {
        let (other_template, other_config) = children(change);
        assert_eq!(template != other_template, rolls, "change {n}");
        assert_ne!(config, other_config, "change {n}");
    }
}

/// The annotation of the parts is in the template, so it must be quiet exactly when the rest is.
#[test]
fn the_digests_of_the_parts_change_when_the_template_does() {
    let parts = |plan: &Plan| {
        let set = body(&build(plan), ChildKind::StatefulSet, "vienna-database");
        set["spec"]["template"]["metadata"]["annotations"][PARTS_ANNOTATION]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (what, change, _, database) in CHANGES {
        let after = changed(everything(), change);
        assert_eq!(parts(&everything()) != parts(&after), database, "{what}");
        assert_eq!(super::database_parts(&after).unwrap(), parts(&after), "{what}");
    }
}

/// Fields that the API server refuses to change (its validation of updates).
fn immutable(kind: ChildKind, body: &Value) -> Value {
    let mut spec = body["spec"].clone();
    let mutable: &[&str] = match kind {
        ChildKind::StatefulSet => &[
            "replicas",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "minReadySeconds",
            "ordinals",
            "persistentVolumeClaimRetentionPolicy",
        ],
        ChildKind::PersistentVolumeClaim => &["resources"],
        ChildKind::Deployment => return spec["selector"].clone(),
        ChildKind::Service => return spec["clusterIP"].clone(),
        _ => return Value::Null,
    };
    for field in mutable {
        spec.as_object_mut().unwrap().remove(*field);
    }
    spec
}

/// The class of the volume is immutable in the spec too (CEL), so it is not among the changes.
#[test]
fn invariant_11_no_immutable_field_depends_on_a_mutable_one() {
    let fields = |plan: &Plan| -> Vec<_> {
        let children = build(plan);
        children
            .iter()
            .map(|child| (child.kind, child.name.clone(), immutable(child.kind, &child.body)))
            .collect()
    };
    let before = fields(&everything());
    let part_of: Change = ("platform", |plan| plan.part_of = "elsewhere".into(), true, true);
    for (what, change, ..) in CHANGES.into_iter().chain([part_of]) {
        for field in fields(&changed(everything(), change)) {
            assert!(before.contains(&field), "{what}: {field:?}");
        }
    }
}
