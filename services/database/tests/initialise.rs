//! `mim-database initialise` on real volumes: whole or not at all, and never twice.

#![allow(clippy::unwrap_used, reason = "tests")]

mod pod;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pod::{PROGRAMS, Pod, wait_for};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// What `pg_controldata` tells, by label.
fn control(pod: &Pod, label: &str) -> String {
    let output = Command::new(Path::new(PROGRAMS).join("pg_controldata"))
        .arg(pod.data())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn refused(pod: &Pod) -> String {
    let output = pod.initialise();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    let message = pod.termination_message();
    assert!(told.ends_with(&format!("{message}\n")), "{told} / {message}");
    message
}

#[test]
fn a_new_volume_becomes_a_database_once_and_keeps_its_identity() {
    let pod = Pod::new("x");
    assert!(pod.initialise().status.success());
    let identifier = control(&pod, "Database system identifier:");
    assert_eq!(
        pod.termination_message(),
        format!("{{\"systemIdentifier\": \"{identifier}\"}}")
    );
    assert!(identifier.parse::<u64>().is_ok(), "{identifier}");
    assert_eq!(
        control(&pod, "Data page checksum version:"),
        "1",
        "checksums are on"
    );
    assert!(!pod.path("volume/15/data.partial").exists());

    // A second pod on the volume, its folder opened to the group as the kubelet does with fsGroup.
    fs::set_permissions(pod.data(), fs::Permissions::from_mode(0o2770)).unwrap();
    pod.set_identity(&identifier);
    assert!(pod.initialise().status.success());
    assert_eq!(
        pod.termination_message(),
        format!("{{\"systemIdentifier\": \"{identifier}\"}}")
    );
    assert_eq!(
        fs::metadata(pod.data()).unwrap().permissions().mode() & 0o7777,
        0o700
    );
}

#[test]
fn an_empty_volume_where_data_was_is_data_lost_and_stays_empty() {
    let pod = Pod::new("x");
    pod.set_identity("7310000000000000001");
    let message = refused(&pod);
    assert!(
        message.starts_with("DataLost: ") && message.contains("7310000000000000001"),
        "{message}"
    );
    assert_eq!(fs::read_dir(pod.path("volume")).unwrap().count(), 0);
}

#[test]
fn a_volume_with_another_database_is_data_lost_and_preflight_compares_nothing() {
    let pod = Pod::new("x");
    assert!(pod.initialise().status.success());
    pod.set_identity("7310000000000000001");
    let message = refused(&pod);
    assert!(
        message.starts_with("DataLost: ") && message.contains(&control(&pod, "Database system identifier:"))
    );

    let preflight = |pod: &Pod, said: &str| {
        pod.command("initialise")
            .env("MIM_PREFLIGHT", said)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(preflight(&pod, "true"));
    let fresh = Pod::new("x");
    fresh.set_identity("7310000000000000001");
    assert!(!preflight(&fresh, "false"));
    assert!(preflight(&fresh, "true"));
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_that_looks_whole() {
    let pod = Pod::new("x");
    let partial = pod.path("volume/15/data.partial");
    for (moment, file) in [
        ("before anything", ""),
        ("with the new folder", "."),
        ("with the control file", "global/pg_control"),
        ("with the first database", "base/1/PG_VERSION"),
        ("with the last database", "base/5/PG_VERSION"),
    ] {
        let come = || file.is_empty() || partial.join(file).exists();
        // A group of its own, so that the kill takes initdb and its children too, as the end of a container does.
        let mut child = pod.command("initialise").process_group(0).spawn().unwrap();
        wait_for(
            || come() || child.try_wait().unwrap().is_some(),
            || moment.to_owned(),
        );
        kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success(), "killed {moment}, too late to test it");
        assert!(!pod.data().exists(), "killed {moment}");
    }
    assert!(partial.exists(), "the last kill came in the middle");
    let output = pod.initialise();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!partial.exists());
    let server = pod.start();
    pod.wait_ready(&server);
}

#[test]
fn an_initdb_that_outlives_its_parent_is_waited_for() {
    let pod = Pod::new("x");
    let mut first = pod.command("initialise").spawn().unwrap();
    wait_for(
        || pod.path("volume/15/data.partial/base/1").exists(),
        || "initdb began".to_owned(),
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let output = pod.initialise();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!pod.path("volume/15/data.partial").exists());
    assert_eq!(control(&pod, "Data page checksum version:"), "1");
}

#[test]
fn sigterm_ends_it_at_once_and_the_next_start_finishes() {
    let pod = Pod::new("x");
    let mut child = pod.command("initialise").process_group(0).spawn().unwrap();
    wait_for(
        || pod.path("volume/15/data.partial/base/1").exists(),
        || "initdb began".to_owned(),
    );
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!pod.data().exists());
    assert!(pod.initialise().status.success());
}

#[test]
fn a_damaged_folder_is_left_alone() {
    let pod = Pod::new("x");
    assert!(pod.initialise().status.success());
    let control = pod.data().join("global/pg_control");
    fs::rename(&control, pod.path("volume/saved")).unwrap();
    let message = refused(&pod);
    assert!(
        message.contains("global/pg_control") && message.contains("nothing was changed"),
        "{message}"
    );
    pod.set_identity("7310000000000000001");
    assert!(refused(&pod).starts_with("DataLost: "));
    fs::rename(pod.path("volume/saved"), &control).unwrap();
    fs::remove_dir_all(pod.path("identity")).unwrap();
    assert!(pod.initialise().status.success());
}

#[test]
fn a_volume_that_cannot_be_written_is_told_in_a_sentence() {
    let pod = Pod::new("x");
    fs::remove_dir(pod.path("volume")).unwrap();
    fs::create_dir(pod.path("volume")).unwrap();
    fs::set_permissions(pod.path("volume"), fs::Permissions::from_mode(0o555)).unwrap();
    let message = refused(&pod);
    assert!(
        message.starts_with("cannot create ") && message.contains("ermission denied"),
        "{message}"
    );
}

#[test]
fn nothing_waits_where_there_is_nothing_to_do() {
    let pod = Pod::new("x");
    assert!(pod.initialise().status.success());
    let begin = std::time::Instant::now();
    assert!(pod.initialise().status.success());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
