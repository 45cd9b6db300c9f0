//! What the machine must bring for a node: a few small programs that every distribution packages.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::command;
use crate::error::Error;
use crate::progress::Progress;

/// Where distributions put the CNI plugins.
const CNI_FOLDERS: [&str; 4] = [
    "/usr/lib/cni",
    "/opt/cni/bin",
    "/usr/libexec/cni",
    "/usr/local/lib/cni",
];
/// Programs and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 5] = [
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("setsid", "util-linux"),
];

/// The socket of a kubelet for device plugins: its path cannot be set, so two kubelets on one machine take it from each other.
pub(crate) const KUBELET_SOCKET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";

/// What was found.
pub(crate) struct Host {
    pub runc: PathBuf,
    pub cni: PathBuf,
}

/// An error where this user can neither make nor end a node. `command` is what was asked for: `up` or `down`.
pub(crate) fn refuse_without_root(command: &str) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "a node needs root: it makes a bridge, cgroups and mounts. Run `mim-lab {command}` with sudo, or \
         `mim-lab {command} --control-plane`, which needs no root and has no node"
    )))
}

/// Looks for everything that a node needs; installs Debian packages where that is possible, and says so.
pub(crate) fn prepare(progress: &Progress) -> Result<Host, Error> {
    let missing = missing_packages();
    if !missing.is_empty() {
        install(&missing, progress)?;
    }
    let still = missing_packages();
    match (command::find("runc"), cni()) {
        (Some(runc), Some(cni)) if still.is_empty() => Ok(Host { runc, cni }),
        _ => Err(ask_for(&still)),
    }
}

fn missing_packages() -> Vec<&'static str> {
    let mut missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| package)
        .collect();
    if cni().is_none() {
        missing.push("containernetworking-plugins");
    }
    missing
}

fn cni() -> Option<PathBuf> {
    let complete = |folder: &&Path| folder.join("bridge").is_file() && folder.join("host-local").is_file();
    CNI_FOLDERS
        .iter()
        .map(Path::new)
        .find(complete)
        .map(Path::to_owned)
}

fn install(packages: &[&str], progress: &Progress) -> Result<(), Error> {
    let Some(apt) = command::find("apt-get") else {
        return Err(ask_for(packages));
    };
    progress.say(&format!(
        "installing Debian packages that are missing: {}",
        packages.join(" ")
    ));
    let mut args = vec![
        "-y",
        "-q",
        "-o",
        "DPkg::Lock::Timeout=300",
        "install",
        "--no-install-recommends",
    ];
    args.extend(packages);
    if command::run(&apt, &args, None).is_err() {
        // Most often the package lists are old or absent.
        command::run(&apt, &["-q", "update"], None)?;
        command::run(&apt, &args, None)?;
    }
    Ok(())
}

fn ask_for(packages: &[&str]) -> Error {
    Error::Missing {
        what: format!(
            "part of what a node needs (Debian packages {})",
            packages.join(", ")
        ),
        install: format!(
            "install it: `apt-get install {}`, or your distribution's packages of those names",
            packages.join(" ")
        ),
    }
}

/// An error where a kubelet that is not the lab's runs on this machine.
pub(crate) fn refuse_other_kubelet() -> Result<(), Error> {
    match UnixStream::connect(KUBELET_SOCKET) {
        Ok(_) => Err(Error::Refused(format!(
            "another kubelet runs on this machine (it listens on {KUBELET_SOCKET}); stop it first: the lab's kubelet would take its \
             device plugins away"
        ))),
        Err(_) => Ok(()),
    }
}
