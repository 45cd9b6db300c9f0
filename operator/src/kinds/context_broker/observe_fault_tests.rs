//! The table of faults: what is wrong is told, in whose words, and who is asked where nobody says it.

use super::*;

fn waiting(container: &str, reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [
        {"name": container, "state": {"waiting": {"reason": reason, "message": message}}}]})
}

fn crashed(restarts: i32, state: &Value, ended: &Value) -> Value {
    json!({"phase": "Running", "containerStatuses": [
        {"name": "broker", "restartCount": restarts, "state": state, "lastState": {"terminated": ended}}]})
}

fn unscheduled(message: &str) -> Value {
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]})
}

/// The row of the table of faults: the real reason in the condition.
#[test]
fn what_is_wrong_with_a_pod_is_told_in_its_own_words() {
    let backoff = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container"}});
    for (status, reason, words) in [
        (
            waiting("broker", "ErrImagePull", "rpc error: not found"),
            Reason::ImagePullFailed,
            "pod p, container broker: the image cannot be pulled: rpc error: not found",
        ),
        (
            waiting(
                "broker",
                "ImagePullBackOff",
                "Back-off pulling image \"x\": ErrImagePull: rpc error: not found",
            ),
            Reason::ImagePullFailed,
            "pod p, container broker: the image cannot be pulled: rpc error: not found",
        ),
        (
            waiting("broker", "InvalidImageName", "couldn't parse image name"),
            Reason::ImagePullFailed,
            "pod p, container broker: the image cannot be pulled: couldn't parse image name",
        ),
        (
            waiting("broker", "CreateContainerConfigError", "secret \"s\" not found"),
            Reason::ContainerConfigError,
            "pod p, container broker: the container cannot be made: secret \"s\" not found",
        ),
        (
            crashed(
                4,
                &backoff,
                &json!({"exitCode": 2, "reason": "Error", "message": "starting\nno such file: broker.yaml\n"}),
            ),
            Reason::CrashLooping,
            "pod p, container broker ends again and again: no such file: broker.yaml (exit code 2)",
        ),
        (
            crashed(4, &backoff, &json!({"exitCode": 137, "reason": "OOMKilled"})),
            Reason::CrashLooping,
            "pod p, container broker ends again and again: it needs more memory than its limit (OOMKilled); raise limits.memory in resources",
        ),
        (
            crashed(4, &backoff, &json!({"exitCode": 3, "reason": "Error"})),
            Reason::CrashLooping,
            "pod p, container broker ends again and again: exit code 3; see its log",
        ),
        (
            crashed(
                4,
                &json!({"terminated": {"exitCode": 2, "message": "bad"}}),
                &json!({"exitCode": 2, "message": "bad"}),
            ),
            Reason::CrashLooping,
            "pod p, container broker ends again and again: bad (exit code 2)",
        ),
        (
            unscheduled("0/3 nodes are available: 3 Insufficient cpu."),
            Reason::Unschedulable,
            "no node takes pod p: 0/3 nodes are available: 3 Insufficient cpu.",
        ),
    ] {
        let mut world = settled(2);
        deployment(&mut world, 1, [3, 1, 2, 2]);
        broker(&mut world, "p", &status);
        assert_eq!(complaint(&minimal(), &world), (reason, words.to_owned(), false));
    }
}

#[test]
fn a_pod_that_is_merely_on_its_way_complains_of_nothing() {
    let first_end = crashed(0, &json!({"terminated": {"exitCode": 1}}), &json!(null));
    for status in [
        waiting("broker", "ContainerCreating", ""),
        waiting("broker", "PodInitializing", ""),
        ready("False"),
        first_end,
        unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
    ] {
        let mut world = settled(2);
        deployment(&mut world, 1, [2, 2, 1, 1]);
        broker(&mut world, "p", &status);
        assert_eq!(verdict(&minimal(), &world), Verdict::Progressing, "{status}");
    }
}

#[test]
fn what_once_was_wrong_is_not_told_when_all_is_ready() {
    let mut world = settled(2);
    let mut past = crashed(7, &json!({}), &json!({"exitCode": 2}));
    past["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    broker(&mut world, "p", &past);
    assert!(verdict(&minimal(), &world).is_ready());
}

#[test]
fn pods_that_are_refused_are_told_without_names_that_change() {
    for (message, reason, words) in [
        (
            "pods \"vienna-broker-5d6f7-x2x9z\" is forbidden: exceeded quota: small, requested: cpu=100m",
            Reason::QuotaExceeded,
            "pods of vienna-broker are refused: exceeded quota: small, requested: cpu=100m",
        ),
        (
            "pods \"vienna-broker-5d6f7-x2x9z\" is forbidden: violates PodSecurity \"restricted:latest\"",
            Reason::AdmissionRefused,
            "pods of vienna-broker are refused: violates PodSecurity \"restricted:latest\"",
        ),
    ] {
        let mut world = settled(2);
        let status = json!({"observedGeneration": 1, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]});
        world.show(ChildKind::Deployment, "vienna-broker", &json!({}), &status);
        assert_eq!(complaint(&minimal(), &world), (reason, words.to_owned(), false));
    }
}

#[test]
fn a_preflight_that_cannot_start_is_told_while_the_database_runs_on() {
    let mut world = settled(2);
    world.show(
        ChildKind::Pod,
        POD,
        &json!({"labels": {"controller-revision-hash": "older"}}),
        &ready("True"),
    );
    preflight(&mut world, &waiting("postgres", "ErrImagePull", "not found"));
    let (reason, message, _) = complaint(&minimal(), &world);
    assert_eq!(reason, Reason::ImagePullFailed);
    assert!(
        message.starts_with("pod vienna-database-preflight, container postgres"),
        "{message}"
    );
}

fn initialise(state: &Value, last: &Value) -> Value {
    json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "initialise", "restartCount": 1, "state": state, "lastState": last}]})
}

#[test]
fn the_identifier_is_read_when_the_init_container_has_ended_well() {
    let read = |state: &Value| {
        let mut world = World::default();
        database(&mut world, &initialise(state, &json!({})));
        identifier(&world.live(), "vienna")
    };
    let said = |code: i32, message: &str| json!({"terminated": {"exitCode": code, "message": message}});
    assert_eq!(
        read(&said(0, r#"{"systemIdentifier": "741"}"#)),
        Some("741".to_owned())
    );
    for state in [
        said(1, r#"{"systemIdentifier": "741"}"#),
        said(0, r#"{"systemIdentifier": ""}"#),
        said(0, r#"{"systemIdentifier": 741}"#),
        said(0, "garbage"),
        json!({"terminated": {"exitCode": 0}}),
        json!({}),
    ] {
        assert_eq!(read(&state), None, "{state}");
    }
    assert_eq!(identifier(&World::default().live(), "vienna"), None);
    let mut world = World::default();
    preflight(
        &mut world,
        &initialise(&said(0, r#"{"systemIdentifier": "999"}"#), &json!({})),
    );
    assert_eq!(
        identifier(&world.live(), "vienna"),
        None,
        "a preflight's scratch database is nobody's data"
    );
}

/// Data that is gone is terminal, in every phase of the pod that misses it, and says how to go on.
#[test]
fn lost_data_stalls_and_tells_the_way_out() {
    let ended = json!({"terminated": {"exitCode": 1, "message": "DataLost: the volume is empty\n"}});
    let crash = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    for (state, last) in [
        (ended.clone(), json!({})),
        (crash, ended.clone()),
        (json!({}), ended.clone()),
    ] {
        let mut world = settled(2);
        database(&mut world, &initialise(&state, &last));
        let (reason, message, terminal) = complaint(&minimal(), &world);
        assert_eq!((reason, terminal), (Reason::DataLost, true));
        assert!(
            message.contains("is not there: the volume is empty. "),
            "{message}"
        );
        let command =
            format!("kubectl annotate contextbroker -n city vienna mim.city/accept-data-loss={IDENTIFIER}");
        assert!(message.contains(&command), "{message}");
    }
    assert_eq!(
        complaint(&lost(), &settled(2)).0,
        Reason::DataLost,
        "found by the operator itself"
    );
    let mut healed = settled(2);
    database(
        &mut healed,
        &initialise(&json!({"terminated": {"exitCode": 0, "message": "{}"}}), &ended),
    );
    assert_eq!(data_lost(&healed.live(), "vienna"), None);
    let new = changed(minimal(), |plan| managed(plan).data = Data::New);
    let mut world = settled(2);
    database(&mut world, &initialise(&ended, &json!({})));
    assert!(
        !matches!(verdict(&new, &world), Verdict::Stalled(_)),
        "accepted: the pod that misses it is replaced"
    );
}

#[test]
fn a_volume_that_is_being_deleted_is_told_while_the_database_still_runs() {
    let mut world = settled(2);
    let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    claim(
        &mut world,
        &deleting,
        &json!({"phase": "Bound", "capacity": {"storage": "10Gi"}}),
    );
    let (reason, message, terminal) = complaint(&minimal(), &world);
    assert_eq!((reason, terminal), (Reason::VolumeDeleting, true));
    assert!(message.contains("Make a dump now"), "{message}");
}

#[test]
fn a_refused_growth_is_told_in_the_words_of_the_storage() {
    let mut world = settled(2);
    let status = json!({"phase": "Bound", "capacity": {"storage": "5Gi"}, "conditions": [
        {"type": "ControllerResizeError", "status": "True", "message": "quota of the pool"}]});
    claim(&mut world, &json!({}), &status);
    let (reason, message, terminal) = complaint(&minimal(), &world);
    assert_eq!((reason, terminal), (Reason::VolumeResizeRefused, false));
    assert!(message.ends_with("cannot grow: quota of the pool"), "{message}");
}

#[test]
fn a_file_system_that_has_not_grown_is_told_with_what_makes_it_grow_and_stops_no_stopped_broker() {
    let mut world = settled(2);
    let status = json!({"phase": "Bound", "capacity": {"storage": "5Gi"}, "conditions": [
        {"type": "FileSystemResizePending", "status": "True", "message": "Waiting for user to (re-)start a pod"}]});
    claim(&mut world, &json!({}), &status);
    let (reason, message, terminal) = complaint(&minimal(), &world);
    assert_eq!((reason, terminal), (Reason::VolumeResizePending, false));
    let command =
        "kubectl annotate contextbroker -n city vienna --overwrite mim.city/restartedAt=$(date +%s)";
    assert!(message.ends_with(command), "{message}");
    broker(&mut world, "p", &waiting("broker", "ErrImagePull", "not found"));
    deployment(&mut world, 1, [3, 1, 2, 2]);
    assert_eq!(
        complaint(&minimal(), &world).0,
        Reason::ImagePullFailed,
        "worse comes first"
    );
    let mut resting = settled(0);
    claim(&mut resting, &json!({}), &status);
    assert_eq!(verdict(&stopped(), &resting).reason(), Reason::Stopped);
}

#[test]
fn a_pod_that_its_volume_keeps_from_its_node_says_so() {
    for words in [
        "0/3 nodes are available: 3 node(s) had volume node affinity conflict.",
        "0/1 nodes are available: persistentvolumeclaim \"vienna-database\" not found.",
        "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.",
    ] {
        let mut world = settled(2);
        database(&mut world, &unscheduled(words));
        assert_eq!(complaint(&minimal(), &world).0, Reason::VolumePending, "{words}");
    }
}

fn suspects(plan: &Plan, world: &World) -> Vec<(ChildKind, String, Reason)> {
    let facts = observe(plan, &world.live());
    assert_eq!(
        facts.complaints,
        [],
        "events are asked for where nothing else tells"
    );
    facts
        .suspects
        .into_iter()
        .map(|of| (of.kind, of.name, of.reason))
        .collect()
}

#[test]
fn who_may_know_more_is_asked_in_order() {
    let mut world = settled(2);
    assert_eq!(
        suspects(&minimal(), &world),
        [],
        "nothing is asked when all is ready"
    );
    database(&mut world, &ready("False"));
    assert_eq!(
        suspects(&minimal(), &world)[0],
        (ChildKind::Pod, POD.into(), Reason::VolumePending)
    );
    let mut running = ready("False");
    running["containerStatuses"] = json!([{"name": "postgres", "state": {}}]);
    database(&mut world, &running);
    assert_eq!(
        suspects(&minimal(), &world),
        [(ChildKind::Pod, POD.to_owned(), Reason::NotReady)]
    );
    claim(&mut world, &json!({}), &json!({"phase": "Pending"}));
    let first = (
        ChildKind::PersistentVolumeClaim,
        "vienna-database".to_owned(),
        Reason::VolumePending,
    );
    assert_eq!(suspects(&minimal(), &world)[0], first);
}

#[test]
fn pods_that_were_never_made_are_asked_for_at_their_controllers() {
    let mut world = World::default();
    assert_eq!(
        suspects(&single(), &world),
        [(
            ChildKind::StatefulSet,
            "vienna-database".to_owned(),
            Reason::AdmissionRefused
        )]
    );
    deployment(&mut world, 1, [0; 4]);
    assert_eq!(
        suspects(&external_database(), &world),
        [(
            ChildKind::Deployment,
            "vienna-broker".to_owned(),
            Reason::AdmissionRefused
        )]
    );
}

#[test]
fn a_broker_that_runs_and_is_not_ready_has_trouble_with_its_database() {
    let mut world = settled(2);
    deployment(&mut world, 1, [2, 2, 1, 1]);
    let mut running = ready("False");
    running["containerStatuses"] = json!([{"name": "broker", "state": {}}]);
    broker(&mut world, "a", &running);
    broker(&mut world, "b", &waiting("broker", "ContainerCreating", ""));
    broker(&mut world, "c", &ready("True"));
    let expected = [
        (ChildKind::Pod, "a".to_owned(), Reason::DatabaseNotReady),
        (ChildKind::Pod, "b".to_owned(), Reason::ContainerConfigError),
    ];
    assert_eq!(suspects(&minimal(), &world), expected);
    database(&mut world, &ready("False"));
    assert!(
        suspects(&minimal(), &world)
            .iter()
            .all(|(_, name, _)| name == POD),
        "first the database"
    );
}

#[test]
fn a_stopped_broker_complains_of_no_pod() {
    let mut world = settled(2);
    broker(&mut world, "p", &waiting("broker", "ErrImagePull", "not found"));
    database(&mut world, &waiting("postgres", "ErrImagePull", "not found"));
    assert_eq!(
        verdict(&changed(minimal(), |plan| native(plan).replicas = 0), &world),
        Verdict::Progressing
    );
}
