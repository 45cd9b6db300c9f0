//! Taking a node away, whole or half-made.

use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;

use super::Node;
use crate::cgroup;
use crate::error::Error;
use crate::files;
use crate::host::KUBELET_SOCKET;
use crate::mounts;
use crate::network;

/// Where libcni keeps the results of its plugins; the folder cannot be set in containerd.
const CNI_RESULTS: &str = "/var/lib/cni/results";
/// Where the kubelet links to the logs of containers; the folder cannot be set.
const LOG_LINKS: &str = "/var/log/containers";

impl Node {
    /// Ends every process, mount, interface, table, control group and file of the node. Each step is fine where there is
    /// nothing to do, so it may be broken off and run again.
    pub(super) fn remove(&self) -> Result<(), Error> {
        if !self.is_there()? {
            return Ok(());
        }
        for name in self.state.names()? {
            if let Some(process) = self.state.process(&name)? {
                process.signal(Signal::KILL);
            }
        }
        // Everything that those started: shims, and the processes of pods.
        cgroup::remove()?;
        mounts::unmount_below(&self.state.folder)?;
        // A stamp that is not readable says nothing about the kernel's switches, so those stay as they are.
        let switches = self
            .state
            .stamp()
            .ok()
            .flatten()
            .map(|stamp| stamp.switches)
            .unwrap_or_default();
        network::remove(&switches)?;
        self.remove_strays()?;
        files::remove_folder(&self.state.folder)
    }

    /// Whether anything of a node is on this machine, be it only what an unfinished removal left.
    pub(super) fn is_there(&self) -> Result<bool, Error> {
        Ok(self.state.folder.exists() || network::is_there() || cgroup::is_there()?)
    }

    /// Files that the lab's programs write outside its folder.
    fn remove_strays(&self) -> Result<(), Error> {
        for path in files::list(Path::new(CNI_RESULTS))? {
            let ours = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("mim-lab-"));
            if ours {
                files::remove(&path)?;
            }
        }
        for path in files::list(Path::new(LOG_LINKS))? {
            if std::fs::read_link(&path).is_ok_and(|target| target.starts_with(&self.state.folder)) {
                files::remove(&path)?;
            }
        }
        if UnixStream::connect(KUBELET_SOCKET).is_err() {
            files::remove(Path::new(KUBELET_SOCKET))?;
        }
        for folder in [
            "/var/lib/kubelet/device-plugins",
            "/var/lib/kubelet",
            CNI_RESULTS,
            "/var/lib/cni",
            LOG_LINKS,
        ] {
            // Stays where somebody else has something in it.
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }
}
