//! The lab's control groups: one folder in every hierarchy, with the lab's own processes in one part and its pods in the other.
//!
//! What is in there belongs to the lab and to nobody else, so the lab can end exactly its own processes without knowing them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::Error;
use crate::files;
use crate::mounts;
use crate::process::ProcessId;

/// The kubelet's `cgroupRoot`.
pub(crate) const ROOT: &str = "mim-lab";
/// The part below [`ROOT`] with the lab's own processes.
const SYSTEM: &str = "system";
/// How long killed processes may take to go.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// A mounted hierarchy.
struct Hierarchy {
    mount: PathBuf,
    unified: bool,
}

fn hierarchies() -> Result<Vec<Hierarchy>, Error> {
    Ok(mounts::mounts()?
        .into_iter()
        .filter(|mount| mount.kind == "cgroup" || mount.kind == "cgroup2")
        .map(|mount| Hierarchy {
            unified: mount.kind == "cgroup2",
            mount: mount.path,
        })
        .collect())
}

/// Makes the groups and returns the `cgroup.procs` files that a process of the lab writes itself into.
pub(crate) fn create() -> Result<Vec<PathBuf>, Error> {
    let hierarchies = hierarchies()?;
    for hierarchy in &hierarchies {
        if hierarchy.unified {
            enable_controllers(&hierarchy.mount);
        }
        let root = hierarchy.mount.join(ROOT);
        for folder in [root.clone(), root.join(SYSTEM)] {
            files::folder(&folder)?;
            inherit_cpus(&folder)?;
        }
        if hierarchy.unified {
            enable_controllers(&root);
        }
    }
    // One hierarchy is enough to find the processes again; v1 has one for this alone.
    let join = ["pids", "systemd"]
        .iter()
        .find_map(|name| {
            hierarchies
                .iter()
                .find(|hierarchy| !hierarchy.unified && hierarchy.mount.ends_with(name))
        })
        .or_else(|| hierarchies.iter().find(|hierarchy| hierarchy.unified));
    match join {
        Some(hierarchy) => Ok(vec![hierarchy.mount.join(ROOT).join(SYSTEM).join("cgroup.procs")]),
        None => Err(Error::Missing {
            what: "a cgroup file system".to_owned(),
            install: "mount one: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`".to_owned(),
        }),
    }
}

/// v2: a group may limit what its parent hands down. What is not there cannot be enabled, and the kubelet says which it misses.
fn enable_controllers(folder: &Path) {
    let available = std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        let _ = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// v1: a new cpuset is empty and takes no process until it is given CPUs and memory nodes.
fn inherit_cpus(folder: &Path) -> Result<(), Error> {
    let Some(parent) = folder.parent() else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let (own, inherited) = (folder.join(name), parent.join(name));
        if let (Some(own_value), Some(value)) =
            (files::read_optional(&own)?, files::read_optional(&inherited)?)
            && own_value.trim().is_empty()
        {
            files::write(&own, value.trim())?;
        }
    }
    Ok(())
}

/// Whether there are groups of the lab.
pub(crate) fn is_there() -> Result<bool, Error> {
    Ok(!groups()?.is_empty())
}

/// Every process in the lab's groups.
pub(crate) fn processes() -> Result<Vec<ProcessId>, Error> {
    let mut found = Vec::new();
    for group in groups()? {
        // The group may go between the listing and the reading.
        let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        found.extend(
            text.lines()
                .filter_map(|line| line.parse().ok())
                .filter_map(ProcessId::of),
        );
    }
    found.sort_by_key(|process| process.pid);
    found.dedup();
    Ok(found)
}

/// Kills every process in the lab's groups, waits until they are gone, and removes the groups.
pub(crate) fn remove() -> Result<(), Error> {
    let start = Instant::now();
    loop {
        let left = processes()?;
        if left.is_empty() && remove_empty()? {
            return Ok(());
        }
        if start.elapsed() > KILL_LIMIT {
            let last = format!(
                "processes {:?}",
                left.iter().map(|process| process.pid).collect::<Vec<_>>()
            );
            return Err(Error::Timeout {
                what: "the lab's control groups to go".to_owned(),
                seconds: KILL_LIMIT.as_secs(),
                last,
            });
        }
        for process in left {
            process.signal(Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes the groups from the leaves up; false when one is still in use.
fn remove_empty() -> Result<bool, Error> {
    for group in groups()?.iter().rev() {
        match std::fs::remove_dir(group) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => return Ok(false),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", group)(error));
            }
            _ => {}
        }
    }
    Ok(true)
}

/// The lab's groups in all hierarchies, parents before children.
fn groups() -> Result<Vec<PathBuf>, Error> {
    let mut found: Vec<PathBuf> = hierarchies()?
        .into_iter()
        .map(|hierarchy| hierarchy.mount.join(ROOT))
        .filter(|root| root.is_dir())
        .collect();
    let mut next = 0;
    while let Some(group) = found.get(next).cloned() {
        found.extend(files::list(&group)?.into_iter().filter(|path| path.is_dir()));
        next += 1;
    }
    Ok(found)
}
