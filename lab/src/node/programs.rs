//! The node's programs and their arguments.

use std::path::Path;

use super::Node;
use super::config::NODE_NAME;
use crate::binaries::{Binaries, Binary};
use crate::components::display;
use crate::error::Error;
use crate::network::NODE_ADDRESS;
use crate::process::Program;

/// In the order in which they start.
pub(super) struct Programs {
    pub etcd: Program,
    pub containerd: Program,
    pub api_server: Program,
    /// What needs the API server.
    pub rest: Vec<Program>,
}

impl Node {
    pub(super) fn programs(&self, binaries: &Binaries) -> Result<Programs, Error> {
        let site = self.site();
        let folder = &self.state.folder;
        let shim = binaries.path(Binary::ContainerdShim)?;
        let path = search_path(shim.parent());
        let containerd = Program::new("containerd", binaries.path(Binary::Containerd)?)
            .flag("config", display(&self.runtime().join("config.toml")))
            .flag("log-level", "warn")
            .env("PATH", &path);
        let kubelet = Program::new("kubelet", binaries.path(Binary::Kubelet)?)
            .flag("config", display(&folder.join("kubelet.json")))
            .flag("kubeconfig", display(&site.kubeconfig("kubelet")))
            .flag("root-dir", display(&folder.join("kubelet")))
            .flag("cert-dir", display(&folder.join("kubelet/pki")))
            .flag("hostname-override", NODE_NAME)
            .flag("node-ip", NODE_ADDRESS)
            .env("PATH", &path);
        let proxy = Program::new("kube-proxy", binaries.path(Binary::KubeProxy)?)
            .flag("config", display(&folder.join("kube-proxy.json")))
            .env("PATH", &path);
        // This program itself enforces policies and makes volumes, as processes of their own.
        let own = std::env::current_exe().map_err(Error::file("find", "/proc/self/exe"))?;
        let admin = display(&site.admin());
        let policies = Program::new("netpol", &own)
            .arg("netpol")
            .flag("kubeconfig", &admin)
            .env("PATH", &path);
        let volumes = Program::new("volumes", &own)
            .arg("volumes")
            .flag("kubeconfig", &admin)
            .flag("folder", display(&folder.join("volumes")));
        Ok(Programs {
            etcd: site.etcd(binaries)?,
            containerd,
            api_server: site.api_server(binaries)?,
            rest: vec![
                kubelet,
                site.controller_manager(binaries)?,
                site.scheduler(binaries)?,
                proxy,
                policies,
                volumes,
            ],
        })
    }
}

/// PATH for programs that call others: `nft`, `mount`, `runc`, the shim.
fn search_path(first: Option<&Path>) -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    let first = first.map(display).unwrap_or_default();
    format!("{first}:{inherited}:/usr/sbin:/sbin:/usr/bin:/bin")
}
