use serde_json::{Value, json};

use super::*;
use crate::kinds::context_broker::build::fixtures::{
    IDENTIFIER, World, changed, external_broker, external_database, managed, minimal, native, stopped,
};

const OLD: &str = "vienna-database-old";
const NEW: &str = "vienna-database-new";
const POD: &str = "vienna-database-0";
const PREFLIGHT_POD: &str = "vienna-database-preflight";

/// How a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Ready,
    Starting,
    Crashing,
    NoImage,
    NoNode,
    Evicted,
    Going,
}

fn status(is: Is) -> Value {
    let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
    let waiting = |reason: &str| json!([{"name": "postgres", "state": {"waiting": {"reason": reason}}}]);
    match is {
        Is::Ready | Is::Going => json!({"phase": "Running", "conditions": ready("True"),
            "containerStatuses": [{"name": "postgres", "ready": true}]}),
        Is::Starting => json!({"phase": "Running", "conditions": ready("False"),
            "containerStatuses": [{"name": "postgres", "ready": false}]}),
        Is::Crashing => json!({"phase": "Running", "conditions": ready("False"),
            "containerStatuses": [{"name": "postgres", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        Is::NoImage => {
            json!({"phase": "Pending", "conditions": ready("False"), "containerStatuses": waiting("PodInitializing"),
            "initContainerStatuses": [{"name": "initialise", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]})
        }
        Is::NoNode => json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}),
        Is::Evicted => json!({"phase": "Failed", "reason": "Evicted"}),
    }
}

/// The StatefulSet, seen by its controller, with a newest revision.
fn set(world: &mut World, revision: &str) {
    let status = json!({"observedGeneration": 1, "replicas": 1, "updateRevision": revision});
    world.show(ChildKind::StatefulSet, "vienna-database", &json!({}), &status);
}

fn going(is: Is) -> Value {
    if is == Is::Going {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})
    } else {
        json!({})
    }
}

fn pod(world: &mut World, revision: &str, is: Is, parts: &str) {
    let mut metadata = going(is);
    metadata["labels"] =
        json!({"controller-revision-hash": revision, "app.kubernetes.io/component": "database"});
    metadata["annotations"] = json!({PARTS_ANNOTATION: parts});
    world.show(ChildKind::Pod, POD, &metadata, &status(is));
}

fn preflight(world: &mut World, revision: &str, is: Is) {
    let mut metadata = going(is);
    metadata["labels"] = json!({"app.kubernetes.io/component": "database-preflight"});
    metadata["annotations"] = json!({REVISION_ANNOTATION: revision});
    world.show(ChildKind::Pod, PREFLIGHT_POD, &metadata, &status(is));
}

/// A step in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Prove,
    EndProof,
    Replace(Why),
    Forget,
}

fn short(step: Option<Step>) -> Then {
    match step {
        None => Then::Nothing,
        Some(Step::Create {
            kind: ChildKind::Pod,
            body,
            why: Why::Preflight,
        }) => {
            assert_eq!(body["metadata"]["annotations"][REVISION_ANNOTATION], NEW);
            Then::Prove
        }
        Some(Step::Delete {
            kind: ChildKind::Pod,
            name,
            uid,
            why: Why::PreflightOver,
        }) => {
            assert_eq!(
                (name.as_str(), uid.as_str()),
                (PREFLIGHT_POD, "uid-of-vienna-database-preflight")
            );
            Then::EndProof
        }
        Some(Step::Delete {
            kind: ChildKind::Pod,
            name,
            uid,
            why,
        }) => {
            assert_eq!((name.as_str(), uid.as_str()), (POD, "uid-of-vienna-database-0"));
            Then::Replace(why)
        }
        Some(Step::Delete {
            kind: ChildKind::ConfigMap,
            name,
            why: Why::DataLossAccepted,
            ..
        }) => {
            assert_eq!(name, "vienna-database-identity");
            Then::Forget
        }
        Some(other) => panic!("{other:?} is no step of a database"),
    }
}

fn parts() -> String {
    build::database_parts(&minimal()).unwrap()
}

/// Every state of running pod and preflight pod, for a StatefulSet whose newest template is `NEW`.
#[test]
fn every_state_has_one_next_step() {
    use Is::{Crashing, Evicted, Going, NoImage, NoNode, Ready, Starting};
    use Then::{EndProof, Nothing, Prove, Replace};
    let changed = Why::PodTemplateChanged;
    let stuck = Why::StuckOnOldTemplate;
    for (pod_is, preflight_is, then) in [
        // On the newest template, or none: nothing is to be done, and no proof is needed.
        (Some((NEW, Ready)), None, Nothing),
        (Some((NEW, Starting)), None, Nothing),
        (Some((NEW, Crashing)), None, Nothing),
        (Some((NEW, NoImage)), None, Nothing),
        (None, None, Nothing),
        (Some((NEW, Ready)), Some((NEW, Ready)), EndProof),
        (Some((NEW, Starting)), Some((NEW, Starting)), EndProof),
        (Some((NEW, Ready)), Some((OLD, NoImage)), EndProof),
        (None, Some((NEW, Ready)), EndProof),
        (Some((NEW, Ready)), Some((NEW, Going)), Nothing),
        // On an older one and running: first the proof.
        (Some((OLD, Ready)), None, Prove),
        (Some((OLD, Ready)), Some((NEW, Starting)), Nothing),
        (Some((OLD, Ready)), Some((NEW, NoImage)), Nothing),
        (Some((OLD, Ready)), Some((NEW, NoNode)), Nothing),
        (Some((OLD, Ready)), Some((NEW, Crashing)), Nothing),
        (Some((OLD, Ready)), Some((NEW, Ready)), Replace(changed)),
        // A proof of something else, or one that has ended, proves nothing.
        (Some((OLD, Ready)), Some((OLD, Ready)), EndProof),
        (
            Some((OLD, Ready)),
            Some(("vienna-database-between", Ready)),
            EndProof,
        ),
        (Some((OLD, Ready)), Some((NEW, Evicted)), EndProof),
        (Some((OLD, Ready)), Some((NEW, Going)), Nothing),
        // It may recover, and the newer template may be worse: the proof comes first.
        (Some((OLD, Starting)), None, Prove),
        (Some((OLD, Starting)), Some((NEW, NoImage)), Nothing),
        (Some((OLD, Starting)), Some((NEW, Ready)), Replace(stuck)),
        (Some((OLD, Crashing)), None, Prove),
        (Some((OLD, Crashing)), Some((NEW, Ready)), Replace(stuck)),
        // It never ran and will not by itself: nothing can be lost.
        (Some((OLD, NoImage)), None, Replace(stuck)),
        (Some((OLD, NoImage)), Some((NEW, NoImage)), Replace(stuck)),
        (Some((OLD, NoNode)), None, Replace(stuck)),
        // Deleted a pass ago: the proof has done its work, and its room is wanted.
        (Some((OLD, Going)), Some((NEW, Ready)), EndProof),
        (Some((OLD, Going)), None, Nothing),
    ] {
        let mut world = World::default();
        set(&mut world, NEW);
        if let Some((revision, is)) = pod_is {
            pod(&mut world, revision, is, &parts());
        }
        if let Some((revision, is)) = preflight_is {
            preflight(&mut world, revision, is);
        }
        assert_eq!(
            short(step(&minimal(), &world.live())),
            then,
            "pod {pod_is:?}, preflight {preflight_is:?}"
        );
    }
}

#[test]
fn nothing_is_concluded_from_a_statefulset_that_its_controller_has_not_seen() {
    for status in [
        json!({}),
        json!({"observedGeneration": 0, "updateRevision": NEW}),
        json!({"observedGeneration": 1}),
        json!({"observedGeneration": 1, "updateRevision": ""}),
    ] {
        let mut world = World::default();
        world.show(ChildKind::StatefulSet, "vienna-database", &json!({}), &status);
        pod(&mut world, OLD, Is::Ready, &parts());
        preflight(&mut world, NEW, Is::Ready);
        assert_eq!(step(&minimal(), &world.live()), None, "{status}");
    }
    let mut world = World::default();
    pod(&mut world, OLD, Is::Ready, &parts());
    assert_eq!(step(&minimal(), &world.live()), None);
}

/// A change of the plan.
type Change = fn(&mut Plan);

#[test]
fn every_restart_has_its_reason() {
    let reasons: [(Change, Why); 4] = [
        (
            |plan| managed(plan).image = "i@sha256:2".into(),
            Why::ReleaseChanged,
        ),
        (
            |plan| managed(plan).resources = serde_json::from_value(json!({"limits": {"cpu": "9"}})).unwrap(),
            Why::ResourcesChanged,
        ),
        (
            |plan| managed(plan).pod_template.priority_class_name = Some("high".into()),
            Why::PodTemplateChanged,
        ),
        (
            |plan| native(plan).restarted_at = Some("now".into()),
            Why::RestartRequested,
        ),
    ];
    for (change, why) in reasons {
        let mut world = World::default();
        set(&mut world, NEW);
        pod(&mut world, OLD, Is::Ready, &parts());
        preflight(&mut world, NEW, Is::Ready);
        assert_eq!(
            short(step(&changed(minimal(), change), &world.live())),
            Then::Replace(why)
        );
    }
}

#[test]
fn the_last_pod_that_holds_a_volume_being_deleted_is_left_alone() {
    let mut world = World::default();
    set(&mut world, NEW);
    pod(&mut world, OLD, Is::Ready, &parts());
    let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    world.show(
        ChildKind::PersistentVolumeClaim,
        "vienna-database",
        &deleting,
        &json!({}),
    );
    assert_eq!(step(&minimal(), &world.live()), None);
    preflight(&mut world, NEW, Is::Ready);
    assert_eq!(step(&minimal(), &world.live()), None);
}

#[test]
fn stopped_leaves_the_pods_to_the_statefulset_and_ends_a_proof() {
    let mut world = World::default();
    set(&mut world, NEW);
    pod(&mut world, OLD, Is::Ready, &parts());
    assert_eq!(step(&stopped(), &world.live()), None);
    preflight(&mut world, NEW, Is::Ready);
    assert_eq!(short(step(&stopped(), &world.live())), Then::EndProof);
}

#[test]
fn a_database_of_somebody_else_has_no_steps() {
    let mut world = World::default();
    set(&mut world, NEW);
    pod(&mut world, OLD, Is::Ready, &parts());
    assert_eq!(step(&external_database(), &world.live()), None);
    assert_eq!(step(&external_broker(), &world.live()), None);
}

/// The init container misses the data.
fn misses_data(world: &mut World) {
    let ended = json!({"terminated": {"exitCode": 1, "message": format!("DataLost: the volume is empty, not {IDENTIFIER}")}});
    let status = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "initialise", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}]});
    let metadata = json!({"labels": {"controller-revision-hash": NEW}});
    world.show(ChildKind::Pod, POD, &metadata, &status);
}

/// Record, then pod; a crash between the two is a state like any other.
#[test]
fn an_accepted_loss_is_forgotten_and_the_pod_that_misses_the_data_is_made_anew() {
    let accepted = changed(minimal(), |plan| {
        managed(plan).data = Data::LossAccepted {
            identifier: IDENTIFIER.into(),
        }
    });
    let new = changed(minimal(), |plan| managed(plan).data = Data::New);
    let lost = changed(minimal(), |plan| {
        managed(plan).data = Data::Lost {
            identifier: IDENTIFIER.into(),
            found: "nothing".into(),
        };
    });
    let mut world = World::default();
    set(&mut world, NEW);
    misses_data(&mut world);
    assert_eq!(
        step(&lost, &world.live()),
        None,
        "nothing is done before the loss is accepted"
    );
    assert_eq!(
        short(step(&new, &world.live())),
        Then::Replace(Why::DataLossAccepted)
    );
    assert_eq!(step(&accepted, &world.live()), None, "already forgotten");
    world.show(
        ChildKind::ConfigMap,
        "vienna-database-identity",
        &json!({}),
        &json!({}),
    );
    assert_eq!(short(step(&accepted, &world.live())), Then::Forget);
}

/// The whole way from one template to the next, each step taken as the API server would, and the operator killed at will in between: what is left is always
/// a state of the table, so taking the same step twice is all that a crash can do, and a uid makes the second a nothing.
#[test]
fn invariant_3_a_rollout_reaches_its_end_from_every_state_in_between() {
    let mut world = World::default();
    set(&mut world, NEW);
    pod(&mut world, OLD, Is::Ready, &parts());
    assert_eq!(short(step(&minimal(), &world.live())), Then::Prove);
    preflight(&mut world, NEW, Is::Starting);
    assert_eq!(step(&minimal(), &world.live()), None);
    preflight(&mut world, NEW, Is::Ready);
    assert_eq!(
        short(step(&minimal(), &world.live())),
        Then::Replace(Why::PodTemplateChanged)
    );
    pod(&mut world, OLD, Is::Going, &parts());
    assert_eq!(short(step(&minimal(), &world.live())), Then::EndProof);
    preflight(&mut world, NEW, Is::Going);
    assert_eq!(step(&minimal(), &world.live()), None);
    pod(&mut world, NEW, Is::Starting, &parts());
    assert_eq!(step(&minimal(), &world.live()), None);
    pod(&mut world, NEW, Is::Ready, &parts());
    assert_eq!(step(&minimal(), &world.live()), None);
}
