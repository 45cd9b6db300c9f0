//! The program as a container runs it: first process of its own process namespace, nothing writable but the mounts of
//! the contract. Needs root, as making namespaces does.

#![allow(clippy::unwrap_used, reason = "tests")]

mod pod;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use pod::client::Login;
use pod::{Pod, wait_for};
use rustix::process::Signal;

/// Makes everything read-only but the volume, the sockets, the termination message and /dev/shm, then becomes the
/// user postgres and the program. `$1`: the pod's folder, `$2` and `$3`: uid and gid, the rest: the program.
const CONTAINER: &str = r#"
set -e
pod=$1 uid=$2 gid=$3
shift 3
mount --make-rprivate /
for writable in volume sockets termination; do mount --bind "$pod/$writable" "$pod/$writable"; done
mount -t tmpfs tmpfs /dev/shm
mount -o remount,bind,ro /
if mountpoint -q /tmp; then mount -o remount,bind,ro /tmp; fi
for closed in / /tmp "$pod"; do
  if touch "$closed/written" 2>/dev/null; then echo "$closed is writable" >&2; exit 9; fi
done
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups --no-new-privs --bounding-set=-all "$@"
"#;

/// `mim-database <command>` in such a container.
fn contained(pod: &Pod, command: &str) -> Command {
    assert!(
        rustix::process::geteuid().is_root(),
        "run this test as root: it makes namespaces"
    );
    let mut unshare = Command::new("unshare");
    unshare
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            CONTAINER,
            "container",
        ])
        .arg(pod.path(""))
        .args(pod.user_and_group())
        .arg(pod.path("mim-database"))
        .arg(command)
        .args(pod.flags());
    unshare
}

/// The process that is the first of the namespace: the only child of `unshare`.
fn first_process(unshare: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Children of a process that have ended and were not waited for.
fn zombies(parent: i32) -> Vec<String> {
    let stats = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| stat.contains(&format!(") Z {parent} ")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_of_a_container_needs_no_writable_root_and_leaves_no_zombie() {
    let pod = Pod::new("x");
    let output = contained(&pod, "initialise").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(pod.termination_message().starts_with("{\"systemIdentifier\": \""));

    let mut server = pod.start_with(contained(&pod, "run"));
    pod.wait_ready(&server);
    Login::app("x").connect(&pod).await.unwrap();
    let mut first = None;
    wait_for(
        || {
            first = first_process(server.child.id());
            first.is_some()
        },
        || server.log(),
    );
    let first = first.unwrap();
    assert!(
        Path::new(&format!("/proc/{first}/exe"))
            .read_link()
            .unwrap()
            .ends_with("mim-database")
    );

    // A process whose parent ends becomes a child of the first one, as after an `exec` into a container.
    let nsenter = Command::new("nsenter")
        .args([
            "--target",
            &first.to_string(),
            "--pid",
            "--mount",
            "sh",
            "-c",
            "sleep 0.2 & exit 0",
        ])
        .process_group(0)
        .status()
        .unwrap();
    assert!(nsenter.success());
    let children = format!("/proc/{first}/task/{first}/children");
    wait_for(
        || fs::read_to_string(&children).unwrap().split_whitespace().count() == 1,
        || format!("zombies: {:?}", zombies(first)),
    );
    assert_eq!(zombies(first), Vec::<String>::new());

    rustix::process::kill_process(rustix::process::Pid::from_raw(first).unwrap(), Signal::TERM).unwrap();
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
}
