use serde_json::json;

use super::*;
use crate::kinds::context_broker::build::fixtures::{
    IDENTIFIER, World, changed, everything, external_broker, external_database, lost, managed, minimal,
    native, single, stopped,
};
use crate::reconcile::status::Verdict;

const POD: &str = "vienna-database-0";
const REVISION: &str = "vienna-database-7d";

/// Deployment and StatefulSet as their controllers would leave them when all is done.
fn settled(replicas: i32) -> World {
    let mut world = World::default();
    set(&mut world, 1, i32::from(replicas > 0));
    deployment(&mut world, 1, [replicas; 4]);
    if replicas > 0 {
        database(&mut world, &ready("True"));
    }
    claim(
        &mut world,
        &json!({}),
        &json!({"phase": "Bound", "capacity": {"storage": "10Gi"}}),
    );
    world
}

fn set(world: &mut World, observed: i64, pods: i32) {
    let status = json!({"observedGeneration": observed, "replicas": pods, "readyReplicas": pods, "updatedReplicas": pods,
                        "availableReplicas": pods, "updateRevision": REVISION});
    world.show(ChildKind::StatefulSet, "vienna-database", &json!({}), &status);
}

fn deployment(world: &mut World, observed: i64, [all, updated, ready, available]: [i32; 4]) {
    let status = json!({"observedGeneration": observed, "replicas": all, "updatedReplicas": updated,
                        "readyReplicas": ready, "availableReplicas": available});
    world.show(ChildKind::Deployment, "vienna-broker", &json!({}), &status);
}

fn claim(world: &mut World, metadata: &Value, status: &Value) {
    world.show(
        ChildKind::PersistentVolumeClaim,
        "vienna-database",
        metadata,
        status,
    );
}

fn ready(status: &str) -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": status}]})
}

fn database(world: &mut World, status: &Value) {
    let labels =
        json!({"labels": {"controller-revision-hash": REVISION, "app.kubernetes.io/component": "database"}});
    world.show(ChildKind::Pod, POD, &labels, status);
}

fn broker(world: &mut World, name: &str, status: &Value) {
    world.show(
        ChildKind::Pod,
        name,
        &json!({"labels": {"app.kubernetes.io/component": "broker"}}),
        status,
    );
}

fn preflight(world: &mut World, status: &Value) {
    let labels = json!({"labels": {"app.kubernetes.io/component": "database-preflight"}});
    world.show(ChildKind::Pod, "vienna-database-preflight", &labels, status);
}

fn verdict(plan: &Plan, world: &World) -> Verdict {
    Verdict::from_facts(&observe(plan, &world.live()))
}

fn complaint(plan: &Plan, world: &World) -> (Reason, String, bool) {
    match verdict(plan, world) {
        Verdict::Failing(complaint) | Verdict::Stalled(complaint) => {
            (complaint.reason, complaint.message, complaint.terminal)
        }
        other => panic!("no complaint: {other:?}"),
    }
}

#[test]
fn ready_is_when_every_part_is() {
    let words = Verdict::Ready(Reason::Ready, "Broker and database are ready.".into());
    assert_eq!(verdict(&minimal(), &settled(2)), words);
    let mut world = World::default();
    deployment(&mut world, 1, [2; 4]);
    assert!(
        verdict(&external_database(), &world).is_ready(),
        "the database is somebody else's"
    );
}

#[test]
fn stopped_is_ready_with_its_own_reason() {
    assert_eq!(verdict(&stopped(), &settled(0)).reason(), Reason::Stopped);
    assert_eq!(
        verdict(&stopped(), &settled(2)),
        Verdict::Progressing,
        "pods still run"
    );
    let mut going = settled(0);
    database(&mut going, &ready("False"));
    assert_eq!(
        verdict(&stopped(), &going),
        Verdict::Progressing,
        "the database still ends"
    );
}

/// What a controller or kubelet can show on the way, none of which is Current.
#[test]
fn invariant_4_ready_is_never_said_too_early() {
    type Way = (&'static str, fn(&mut World));
    let ways: [Way; 11] = [
        ("Deployment of an older generation", |world| {
            deployment(world, 0, [2; 4]);
        }),
        ("an old pod still there", |world| {
            deployment(world, 1, [3, 2, 3, 3]);
        }),
        ("a pod of the older template", |world| {
            deployment(world, 1, [2, 1, 2, 2]);
        }),
        ("a pod not ready", |world| deployment(world, 1, [2, 2, 1, 1])),
        ("a pod not available", |world| deployment(world, 1, [2, 2, 2, 1])),
        ("StatefulSet of an older generation", |world| set(world, 0, 1)),
        ("no database pod", |world| set(world, 1, 0)),
        ("a database pod not ready", |world| {
            database(world, &ready("False"));
        }),
        ("a database pod of the older template", |world| {
            world.show(
                ChildKind::Pod,
                POD,
                &json!({"labels": {"controller-revision-hash": "older"}}),
                &ready("True"),
            );
        }),
        ("a database pod on its way out", |world| {
            world.show(
                ChildKind::Pod,
                POD,
                &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
                &ready("True"),
            );
        }),
        ("a volume that still grows", |world| {
            claim(
                world,
                &json!({}),
                &json!({"phase": "Bound", "capacity": {"storage": "5Gi"}}),
            );
        }),
    ];
    for (what, way) in ways {
        let mut world = settled(2);
        way(&mut world);
        assert_eq!(verdict(&minimal(), &world), Verdict::Progressing, "{what}");
    }
    assert_eq!(
        verdict(&minimal(), &World::default()),
        Verdict::Progressing,
        "nothing is there"
    );
    let unknown = changed(minimal(), |plan| managed(plan).data = Data::New);
    assert_eq!(
        verdict(&unknown, &settled(2)),
        Verdict::Progressing,
        "what the data is known by is not on record"
    );
}

/// Invariant 2: on its way an object costs no status write of its own.
#[test]
fn invariant_2_the_status_is_the_plan_s_until_all_is_settled() {
    let plan = changed(minimal(), |plan| managed(plan).recorded = false);
    let nothing = observe(&plan, &World::default().live()).status;
    let mut half = settled(2);
    deployment(&mut half, 1, [3, 1, 1, 1]);
    assert_eq!(observe(&plan, &half.live()).status, nothing);
    assert_eq!(
        Value::Object(nothing),
        json!({
            "release": "2026.1", "endpoint": "http://vienna-broker.city.svc:1026",
            "selector": "app.kubernetes.io/component=broker,app.kubernetes.io/instance=vienna,app.kubernetes.io/name=mim-broker",
        })
    );
}

#[test]
fn numbers_of_pods_that_were_told_once_are_followed() {
    let plan = changed(minimal(), |plan| native(plan).counted = true);
    let mut rolling = settled(2);
    deployment(&mut rolling, 1, [3, 1, 2, 2]);
    let status = Value::Object(observe(&plan, &rolling.live()).status);
    assert_eq!(
        (&status["replicas"], &status["readyReplicas"]),
        (&json!(3), &json!(2))
    );
    let gone = Value::Object(observe(&plan, &World::default().live()).status);
    assert_eq!(
        (&gone["replicas"], &gone["readyReplicas"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn the_status_tells_what_is_settled() {
    let status = Value::Object(observe(&minimal(), &settled(2).live()).status);
    assert_eq!(
        (&status["replicas"], &status["readyReplicas"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        status["storage"],
        json!({"systemIdentifier": IDENTIFIER, "size": "10Gi", "postgresqlMajor": 15})
    );
    let zero = Value::Object(observe(&stopped(), &settled(0).live()).status);
    assert_eq!(
        (&zero["replicas"], &zero["readyReplicas"]),
        (&json!(0), &json!(0))
    );
    let many = Value::Object(observe(&everything(), &settled(5).live()).status);
    assert_eq!(many["tenants"], json!(["air", "parking"]));
}

/// It is a witness of what the volume must hold, so it stays whatever happens to the pods.
#[test]
fn the_identifier_stays_in_the_status_once_it_is_there() {
    let storage =
        |plan: &Plan| Value::Object(observe(plan, &World::default().live()).status)["storage"].clone();
    assert_eq!(
        storage(&minimal()),
        json!({"systemIdentifier": IDENTIFIER, "postgresqlMajor": 15})
    );
    assert_eq!(
        storage(&lost()),
        json!({"systemIdentifier": IDENTIFIER, "postgresqlMajor": 15})
    );
    let accepted = changed(minimal(), |plan| {
        managed(plan).data = Data::LossAccepted {
            identifier: IDENTIFIER.into(),
        }
    });
    assert_eq!(storage(&accepted), Value::Null);
}

#[test]
fn the_status_reads_back_as_it_was_written() {
    for (plan, world) in [
        (minimal(), settled(2)),
        (external_broker(), World::default()),
        (everything(), settled(5)),
    ] {
        let written = observe(&plan, &world.live()).status;
        let read: ContextBrokerStatus = serde_json::from_value(Value::Object(written.clone())).unwrap();
        assert_eq!(members(&read), written);
    }
}

fn probed(result: ProbeResult) -> Plan {
    let at = "2026-02-03T04:05:06Z".parse().unwrap();
    let probe = Some(Probe {
        result,
        message: "it says so".into(),
        at,
    });
    changed(external_broker(), |plan| {
        plan.engine = Engine::External {
            url: "https://broker.example".into(),
            probe,
        };
    })
}

#[test]
fn what_a_look_at_an_external_broker_found_is_told() {
    let nothing = World::default();
    assert_eq!(
        verdict(&external_broker(), &nothing),
        Verdict::Progressing,
        "nobody has looked yet"
    );
    assert!(verdict(&probed(ProbeResult::Answered), &nothing).is_ready());
    for (result, reason, terminal) in [
        (ProbeResult::Unreachable, Reason::ExternalUnreachable, false),
        (ProbeResult::Unauthorised, Reason::ExternalUnauthorised, false),
        (ProbeResult::NotNgsiLd, Reason::ExternalNotNgsiLd, false),
        (ProbeResult::Refused, Reason::ExternalRefused, true),
    ] {
        let words = "external broker https://broker.example: it says so".to_owned();
        assert_eq!(complaint(&probed(result), &nothing), (reason, words, terminal));
    }
    let status = Value::Object(observe(&probed(ProbeResult::Answered), &nothing.live()).status);
    assert_eq!(
        status,
        json!({"endpoint": "https://broker.example", "external":
            {"lastProbeTime": "2026-02-03T04:05:06Z", "result": "Answered", "message": "it says so"}})
    );
}

#[path = "observe_fault_tests.rs"]
mod faults;
