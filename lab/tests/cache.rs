//! The cache of built programs: whole entries only, however many ask and whatever was broken off.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Builds the smallest program into a cache of its own. Go's own cache stays where it is, under any cache folder.
fn build(cache: &Path) -> Command {
    let go = Command::new("go").args(["env", "GOCACHE"]).output().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mim-lab"));
    command
        .args(["binaries", "pause"])
        .env("XDG_CACHE_HOME", cache)
        .env("GOCACHE", String::from_utf8(go.stdout).unwrap().trim())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The program that a finished build names.
fn program(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    told.trim().strip_prefix("pause ").unwrap().to_owned()
}

#[test]
fn several_processes_at_once_get_the_same_program_which_is_built_once() {
    let cache = tempfile::tempdir().unwrap();
    let running: Vec<_> = (0..3).map(|_| build(cache.path()).spawn().unwrap()).collect();
    let outputs: Vec<Output> = running
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let programs: Vec<String> = outputs.iter().map(program).collect();
    assert!(
        programs
            .iter()
            .all(|path| path == &programs[0] && Path::new(path).is_file()),
        "{programs:?}"
    );
    let built = std::fs::metadata(&programs[0]).unwrap().modified().unwrap();

    let again = build(cache.path()).output().unwrap();
    assert_eq!(program(&again), programs[0]);
    assert_eq!(
        std::fs::metadata(&programs[0]).unwrap().modified().unwrap(),
        built
    );
    assert!(again.stderr.is_empty(), "nothing to build, nothing to tell");
}

#[test]
fn a_build_that_was_killed_is_never_taken_for_a_whole_one() {
    let cache = tempfile::tempdir().unwrap();
    let scratch = cache.path().join("mim-lab/building");
    // However far it comes before it is killed: nothing, sources, a file half written, or all of it.
    for pause in [0, 20, 60, 150, 400] {
        let mut child = build(cache.path()).spawn().unwrap();
        let start = Instant::now();
        while !scratch.exists() && start.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(pause));
        // It may have finished by then: that is one of the cases.
        let _ = child.kill();
        child.wait().unwrap();
    }
    // What a killed build may leave at worst: a file of the right name that is none.
    std::fs::create_dir_all(scratch.join("out")).unwrap();
    std::fs::write(scratch.join("out/pause"), "half").unwrap();
    let path = program(&build(cache.path()).output().unwrap());
    let head = std::fs::read(path).unwrap();
    assert!(head.starts_with(b"\x7fELF") && head.len() > 500_000);
}

#[test]
fn an_unknown_program_is_refused_with_the_names_there_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_mim-lab"))
        .args(["binaries", "ls"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no program \"ls\"; there are etcd"));
}
