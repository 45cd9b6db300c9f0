//! The node's network: one bridge, address translation to the outside, and the kernel's switches; all of it taken back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command;
use crate::error::Error;
use crate::files;

/// The bridge that all pods hang on.
pub const BRIDGE: &str = "mim-lab0";
/// The node's address, on the bridge: also where the API server and the kubelet listen, so no port of the host is taken.
pub(crate) const NODE_ADDRESS: &str = "10.244.0.1";
/// The addresses of pods.
pub(crate) const POD_CIDR: &str = "10.244.0.0/24";
/// What only this host may reach (health, etcd, controllers) listens here and takes no port of 127.0.0.1.
pub(crate) const LOOPBACK: &str = "127.100.0.1";

/// Tables that the lab's programs make: ours, the policy enforcer's and kube-proxy's.
const TABLES: [(&str, &str); 4] = [
    ("ip", "mim-lab-nat"),
    ("inet", "mim-lab"),
    ("ip", "kube-proxy"),
    ("ip6", "kube-proxy"),
];

/// What the lab needs set, and what the kubelet sets by itself: all of it is put back.
const SWITCHES: [(&str, Option<&str>); 6] = [
    ("net/ipv4/ip_forward", Some("1")),
    ("net/bridge/bridge-nf-call-iptables", Some("1")),
    ("vm/overcommit_memory", None),
    ("vm/panic_on_oom", None),
    ("kernel/panic", None),
    ("kernel/panic_on_oops", None),
];

/// The kernel's switches as they were before the lab.
pub(crate) fn switches() -> Result<BTreeMap<String, String>, Error> {
    if !switch("net/bridge/bridge-nf-call-iptables").exists() {
        // Without the module, policies and Services between pods of one bridge do not work.
        command::run("modprobe", &["br_netfilter"], None).map_err(|error| Error::Missing {
            what: format!("the kernel module br_netfilter ({error})"),
            install: "load it, or install the package kmod so that the lab can".to_owned(),
        })?;
    }
    let read = |(name, _): (&str, _)| Ok((name.to_owned(), files::read(&switch(name))?.trim().to_owned()));
    SWITCHES.into_iter().map(read).collect()
}

fn switch(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Makes the bridge and the table, and sets the switches.
pub(crate) fn create() -> Result<(), Error> {
    refuse_taken_addresses()?;
    for (name, value) in SWITCHES {
        if let Some(value) = value {
            files::write(&switch(name), value)?;
        }
    }
    let address = format!("{NODE_ADDRESS}/24");
    command::run("ip", &["link", "add", BRIDGE, "type", "bridge"], None)?;
    command::run("ip", &["address", "add", &address, "dev", BRIDGE], None)?;
    command::run("ip", &["link", "set", BRIDGE, "up"], None)?;
    // The rule of a CNI plugin's own would need the iptables program; this one goes with its table.
    let rules = format!(
        "table ip mim-lab-nat {{\n  chain postrouting {{\n    type nat hook postrouting priority srcnat;\n    \
         ip saddr {POD_CIDR} ip daddr != {POD_CIDR} oifname != \"{BRIDGE}\" masquerade\n  }}\n}}\n"
    );
    command::run("nft", &["-f", "-"], Some(&rules))?;
    Ok(())
}

/// Another network with the same addresses would make a lab that half works.
fn refuse_taken_addresses() -> Result<(), Error> {
    let text = command::run("ip", &["-json", "route", "show", "root", POD_CIDR], None)?;
    let routes: Value = serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text })?;
    let taken = routes
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|route| route.get("dev")?.as_str())
        .find(|device| *device != BRIDGE);
    match taken {
        Some(device) => Err(Error::Refused(format!(
            "the addresses {POD_CIDR}, which the lab gives to pods, belong to the network of {device} on this machine; \
             take that network down first (`ip route show root {POD_CIDR}`)"
        ))),
        None => Ok(()),
    }
}

/// Takes back everything that [`create`] and the lab's programs made, also what is only half there.
pub(crate) fn remove(switches: &BTreeMap<String, String>) -> Result<(), Error> {
    if is_there() {
        command::run("ip", &["link", "delete", BRIDGE], None)?;
    }
    let present = tables()?;
    for (family, name) in TABLES {
        if present
            .iter()
            .any(|table| table == &(family.to_owned(), name.to_owned()))
        {
            command::run("nft", &["delete", "table", family, name], None)?;
        }
    }
    for (name, value) in switches {
        if files::read_optional(&switch(name))?.is_some_and(|now| now.trim() != value) {
            files::write(&switch(name), value)?;
        }
    }
    Ok(())
}

/// Whether the bridge is there.
pub(crate) fn is_there() -> bool {
    Path::new("/sys/class/net").join(BRIDGE).exists()
}

fn tables() -> Result<Vec<(String, String)>, Error> {
    let text = command::run("nft", &["list", "tables"], None)?;
    let parse = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    Ok(text.lines().filter_map(parse).collect())
}
