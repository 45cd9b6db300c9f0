//! Configuration files of the node's programs.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::cgroup;
use crate::components::display;
use crate::network::{BRIDGE, LOOPBACK, NODE_ADDRESS, POD_CIDR};
use crate::system_images::PAUSE_IMAGE;

/// The address of the DNS Service, as kubeadm and others choose it.
pub(crate) const DNS_ADDRESS: &str = "10.96.0.10";
/// The name of the only node.
pub const NODE_NAME: &str = "mim-lab";

/// containerd, configuration version 4. Everything it writes stays below its folder, so that `down` leaves nothing and a
/// containerd of the host is not disturbed.
pub(crate) fn containerd(folder: &Path, cni_plugins: &Path, runc: &Path) -> String {
    let folder = display(folder);
    let cni_plugins = display(cni_plugins);
    let runc = display(runc);
    format!(
        r#"version = 4
root = "{folder}/root"
state = "{folder}/state"
imports = []
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.internal.v1.opt",
  "io.containerd.image-verifier.v1.bindir",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
]

[plugins."io.containerd.server.v1.grpc"]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.server.v1.ttrpc"]
  address = "{folder}/containerd.sock.ttrpc"
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "{folder}/s"
# A lab that loses power is made anew.
[plugins."io.containerd.metadata.v1.bolt"]
  no_sync = true

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE a lower score cannot be set, and every pod would fail.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  enable_criu = false
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  Root = "{folder}/runc"
  SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{cni_plugins}"]
  conf_dir = "{folder}/cni"
  use_internal_loopback = true
"#
    )
}

/// Pods on one bridge; addresses are kept below the lab's folder. The lab translates addresses itself ([`crate::network`]).
pub(crate) fn cni(folder: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "mim-lab",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipMasq": false,
            // A pod reaches itself through its Service.
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_ADDRESS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": display(&folder.join("addresses")),
            },
        }],
    })
}

/// The kubelet, with its default sync intervals: what a test sees here it sees elsewhere.
pub(crate) fn kubelet(folder: &Path, pki: &Path, socket: &Path, resolv_conf: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzBindAddress": LOOPBACK,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": display(&pki.join("ca.crt"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": display(&pki.join("kubelet.crt")),
        "tlsPrivateKeyFile": display(&pki.join("kubelet.key")),
        "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
        "podLogsDir": display(&folder.join("pods")),
        "volumePluginDir": display(&folder.join("kubelet/plugins")),
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": display(resolv_conf),
        "cgroupRoot": format!("/{}", cgroup::ROOT),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": false,
        // Images come from files and cannot be pulled again; a disk that is nearly full must not cost them.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "serializeImagePulls": false,
    })
}

/// kube-proxy with nftables.
pub(crate) fn kube_proxy(kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": display(kubeconfig)},
        "hostnameOverride": NODE_NAME,
        "bindAddress": NODE_ADDRESS,
        "clusterCIDR": POD_CIDR,
        "nodePortAddresses": [POD_CIDR],
        "healthzBindAddress": format!("{LOOPBACK}:10256"),
        "metricsBindAddress": format!("{LOOPBACK}:10249"),
        // The host's connection tracking stays as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

/// CoreDNS. Names outside the cluster go to the host's servers, where a pod can reach those.
pub(crate) fn corefile(upstream: &[IpAddr]) -> String {
    let forward = if upstream.is_empty() {
        String::new()
    } else {
        let servers: Vec<String> = upstream.iter().map(ToString::to_string).collect();
        format!("    forward . {}\n", servers.join(" "))
    };
    format!(
        ".:5353 {{\n    errors\n    health :8080\n    ready :8181\n    \
         kubernetes cluster.local in-addr.arpa ip6.arpa {{\n        pods insecure\n        \
         fallthrough in-addr.arpa ip6.arpa\n        ttl 5\n    }}\n{forward}    cache 5\n    loadbalance\n}}\n"
    )
}

/// The name servers in a `resolv.conf(5)` that a pod can reach: not those on the host's loopback.
pub(crate) fn reachable_servers(resolv_conf: &str) -> Vec<IpAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .filter(|address| !address.is_loopback())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_the_loopback_are_left_out() {
        let text = "search example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.53 \nnameserver ::1\noptions edns0\n";
        assert_eq!(reachable_servers(text), ["192.0.2.53".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn without_servers_nothing_is_forwarded() {
        assert!(!corefile(&[]).contains("forward"));
        assert!(corefile(&["192.0.2.53".parse().unwrap()]).contains("forward . 192.0.2.53\n"));
    }
}
