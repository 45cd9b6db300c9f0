//! What machine a table comes from.

use std::fs;

/// What stands beside the machine where the lab is measured in: its Kubernetes.
#[must_use]
pub fn lab() -> String {
    format!(
        "Kubernetes {}, etcd on tmpfs without fsync",
        mim_lab::KUBERNETES_VERSION
    )
}

/// One line on the machine: processor, cores, kernel, load, and what else runs on it.
#[must_use]
pub fn rig_line(beside: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(": ")
            .map(|(_, model)| model.to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load: Vec<String> = read("/proc/loadavg")
        .split(' ')
        .take(3)
        .map(str::to_owned)
        .collect();
    format!(
        "rig: {}, {cores} cores, Linux {}, load {} at the start; {beside}, everything on this host",
        model.unwrap_or_else(|| "unknown processor".to_owned()),
        read("/proc/sys/kernel/osrelease").trim(),
        load.join(" "),
    )
}
