//! Control planes in the background, as `mim-lab up --control-plane` makes them.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs `mim-lab` for the control plane of this name, with a folder of the test's own.
fn lab(folder: &Path, name: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mim-lab"))
        .args(["--control-plane", "--name", name])
        .args(args)
        .env("XDG_RUNTIME_DIR", folder)
        .output()
        .unwrap()
}

fn run(folder: &Path, name: &str, args: &[&str]) -> (String, String) {
    let output = lab(folder, name, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out}\n{err}");
    (out, err)
}

/// Waits until a process that was killed has ended: the signal is only noted when `kill` comes back.
fn until_ended(pid: &str) {
    let file = format!("/proc/{pid}/stat");
    // The state is behind the name, which is in brackets (`proc(5)`); Z is one whose parent has not looked.
    let ended = || match std::fs::read_to_string(&file) {
        Ok(text) => text
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    };
    let start = Instant::now();
    while !ended() {
        assert!(start.elapsed() < Duration::from_secs(30), "{pid} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_run_by_name_and_go_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["a", "b"] {
        run(folder, name, &["up"]);
    }
    run(folder, "a", &["kubectl", "create", "configmap", "only-in-a"]);
    run(folder, "a", &["kubectl", "get", "configmap", "only-in-a"]);
    assert!(
        !lab(folder, "b", &["kubectl", "get", "configmap", "only-in-a"])
            .status
            .success()
    );

    // Up twice is harmless: the same one goes on.
    let before = run(folder, "a", &["env"]).0;
    assert!(run(folder, "a", &["up"]).1.contains("up already"));
    assert_eq!(run(folder, "a", &["env"]).0, before);
    run(folder, "a", &["kubectl", "get", "configmap", "only-in-a"]);

    let kubeconfig = before.strip_prefix("export KUBECONFIG=").unwrap();
    assert!(Path::new(kubeconfig).is_file());
    run(folder, "a", &["down"]);
    assert!(!Path::new(kubeconfig).exists());
    let refused = lab(folder, "a", &["env"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no lab is up"));
    run(folder, "b", &["kubectl", "get", "namespaces"]);
    run(folder, "b", &["down"]);
    run(folder, "b", &["down"]);
}

#[test]
fn one_of_another_checkout_is_replaced_and_one_that_was_killed_is_started_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, "x", &["up"]);
    let stamp = folder.join("mim-lab/x/stamp.json");
    let text = std::fs::read_to_string(&stamp).unwrap();
    std::fs::write(
        &stamp,
        text.replace("\"checkout\": \"", "\"checkout\": \"/elsewhere"),
    )
    .unwrap();
    let told = run(folder, "x", &["up"]).1;
    assert!(
        told.contains("it belongs to another checkout, /elsewhere"),
        "{told}"
    );

    let record = std::fs::read_to_string(folder.join("mim-lab/x/run/control-plane.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let pid = record.get("pid").unwrap().to_string();
    let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success());
    until_ended(&pid);
    let told = run(folder, "x", &["up"]).1;
    assert!(told.contains("it has ended"), "{told}");
    run(folder, "x", &["kubectl", "get", "namespaces"]);
    run(folder, "x", &["down"]);
}
