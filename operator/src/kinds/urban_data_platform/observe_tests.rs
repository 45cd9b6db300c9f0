use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::plan::fixtures::minimal;
use super::*;
use crate::reconcile::live::LiveObject;
use crate::reconcile::status::Verdict;

/// A view of one ContextBroker with this generation and status.
fn live(generation: i64, status: &Value) -> Live {
    let object: LiveObject = serde_json::from_value(json!({
        "metadata": {"name": "vienna", "namespace": "city", "uid": "u", "resourceVersion": "1", "generation": generation,
                     "labels": {"mim.city/kind": "UrbanDataPlatform", "mim.city/name": "vienna"}},
        "status": status,
    }))
    .unwrap();
    let index = crate::reconcile::live::Index::default();
    let owner = index.apply(ChildKind::ContextBroker, object).unwrap();
    index.of(&owner)
}

fn condition(r#type: &str, status: &str, reason: &str) -> Value {
    json!({"type": r#type, "status": status, "reason": reason, "message": format!("{reason} words")})
}

fn facts(generation: i64, observed: i64, conditions: &[Value]) -> Observation {
    observe(
        &minimal(),
        &live(
            generation,
            &json!({"observedGeneration": observed, "conditions": conditions}),
        ),
    )
}

fn component(facts: &Observation) -> Value {
    facts.status["components"][0].clone()
}

fn mim1(facts: &Observation) -> Value {
    facts.status["mims"][0].clone()
}

#[test]
fn a_platform_is_ready_when_its_components_are_current() {
    let facts = facts(2, 2, &[condition("Ready", "True", "Ready")]);
    assert!(Verdict::from_facts(&facts).is_ready());
    assert_eq!(
        component(&facts),
        json!({"kind": "ContextBroker", "name": "vienna", "ready": "True", "message": "Ready words", "observedGeneration": 2})
    );
    assert_eq!(
        mim1(&facts),
        json!({"mim": "MIM1", "state": "Provided", "by": ["ContextBroker/vienna"]})
    );
    assert_eq!(facts.status["release"], "2026.1");
}

/// Nothing that is merely under way may look ready, or cost a write of its own.
#[test]
fn invariants_2_and_4_a_component_on_its_way_changes_nothing_but_is_never_ready() {
    let ready = condition("Ready", "True", "Ready");
    let progressing = [
        condition("Ready", "False", "Progressing"),
        condition("Reconciling", "True", "Progressing"),
    ];
    let absent = observe(&minimal(), &Live::new(BTreeMap::new()));
    for facts in [
        facts(3, 2, std::slice::from_ref(&ready)),
        facts(3, -1, &[]),
        facts(3, 3, &[]),
        facts(3, 3, &progressing),
        facts(3, 3, &[condition("Ready", "Unknown", "Suspended")]),
        facts(3, 3, &[ready, condition("Reconciling", "True", "Progressing")]),
    ] {
        assert_eq!(Verdict::from_facts(&facts), Verdict::Progressing);
        assert_eq!(facts.status, absent.status);
    }
    assert_eq!(
        component(&absent),
        json!({"kind": "ContextBroker", "name": "vienna", "ready": "False"})
    );
    assert_eq!(mim1(&absent)["state"], "Degraded");
    assert_eq!(absent.parts[0].what, "ContextBroker vienna");
}

#[test]
fn what_a_component_complains_of_is_told_in_its_own_words() {
    let reconciling = condition("Reconciling", "True", "ImagePullFailed");
    let failing = facts(
        1,
        1,
        &[condition("Ready", "False", "ImagePullFailed"), reconciling],
    );
    let complaint = failing.complaints[0].clone();
    assert_eq!(
        (complaint.reason, complaint.terminal),
        (Reason::ComponentNotReady, false)
    );
    assert_eq!(
        complaint.message,
        "ContextBroker vienna: ImagePullFailed: ImagePullFailed words"
    );
    assert_eq!(component(&failing)["message"], "ImagePullFailed words");
    assert_eq!(mim1(&failing)["state"], "Degraded");
}

#[test]
fn invariant_4_a_stalled_component_stalls_the_platform() {
    let facts = facts(
        1,
        1,
        &[
            condition("Ready", "False", "DataLost"),
            condition("Stalled", "True", "DataLost"),
        ],
    );
    assert!(matches!(Verdict::from_facts(&facts), Verdict::Stalled(_)));
}

#[test]
fn an_old_complaint_is_not_told_of_a_new_spec() {
    let facts = facts(
        2,
        1,
        &[
            condition("Ready", "False", "DataLost"),
            condition("Stalled", "True", "DataLost"),
        ],
    );
    assert_eq!(Verdict::from_facts(&facts), Verdict::Progressing);
}

#[test]
fn a_stopped_broker_is_as_asked_but_provides_nothing() {
    let facts = facts(1, 1, &[condition("Ready", "True", "Stopped")]);
    assert_eq!(
        Verdict::from_facts(&facts),
        Verdict::Ready(
            Reason::Ready,
            "All components are ready; stopped as asked: ContextBroker vienna.".into()
        )
    );
    assert_eq!(mim1(&facts)["state"], "Degraded");
}

#[test]
fn a_suspended_platform_keeps_what_its_suspended_components_keep() {
    let plan = Plan {
        suspend: true,
        ..minimal()
    };
    let reason = |ready: &str| {
        let conditions = [condition("Ready", ready, "Suspended")];
        Verdict::from_facts(&observe(
            &plan,
            &live(1, &json!({"observedGeneration": 1, "conditions": conditions})),
        ))
        .reason()
    };
    assert_eq!(reason("True"), Reason::Suspended);
    assert_eq!(reason("False"), Reason::ComponentNotReady);
}

#[test]
fn a_platform_without_components_is_ready_and_provides_nothing() {
    let plan = Plan {
        broker: None,
        ..minimal()
    };
    let facts = observe(&plan, &Live::new(BTreeMap::<_, Arc<Seen>>::new()));
    assert!(Verdict::from_facts(&facts).is_ready());
    assert_eq!(facts.status.get("components"), None);
    assert_eq!(mim1(&facts), json!({"mim": "MIM1", "state": "NotProvided"}));
}

#[test]
fn the_status_reads_back_as_it_was_written() {
    let facts = facts(2, 2, &[condition("Ready", "True", "Ready")]);
    let status: UrbanDataPlatformStatus =
        serde_json::from_value(Value::Object(facts.status.clone())).unwrap();
    assert_eq!(members(&status), facts.status);
}
